"""Tools: benchmarks of a training step, and the bridge to PyTorch."""
