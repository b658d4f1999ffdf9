"""Recipes that reproduce published tables, one file per paper."""
