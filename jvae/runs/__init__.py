"""Runs: from a configuration and data to trained models."""
