"""Runs: from a configuration and data to a trained model."""
