"""The faults that the campaign injects."""
