"""Beside the runs: how fast a step is, and the way to and from PyTorch."""
