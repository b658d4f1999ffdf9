"""Data sets: where images come from, and how they are cached."""
