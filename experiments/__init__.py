"""The exercise sheet and the studies, each a short click command: `python -m experiments`."""
