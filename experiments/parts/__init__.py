"""The parts of the report, one module each, in the report's order."""

NAMES = (
    "ppca",
    "kl",
    "hierarchical",
    "code",
    "baseline",
    "priors",
    "outputs",
    "networks",
    "bounds",
    "exact",
    "estimators",
    "reparametrisation",
    "slopes",
    "literature",
    "mirror",
    "throughput",
    "settings",
    "faults",
)
"""The modules that define a PART; everything that concerns all parts is made from this list."""
