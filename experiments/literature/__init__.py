"""Published tables, reproduced: one recipe file a paper."""
