"""The rows of published tables to reproduce: what each is, its number, and how it is trained."""

from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent


class Row(NamedTuple):
    """A published number. The recipe file says everything else about its training."""

    paper: str
    what: str
    recipe: str
    """The recipe file, in this folder."""
    options: dict[str, Any]
    """Fields of Config that the recipe reads, and how its epochs are judged."""
    epochs: int
    """The paper's number of epochs, or its maximum."""
    batch_size: int
    reference: float
    """The paper's log-likelihood of the test set, by 5,000 importance samples, in nats."""
    within: float | None
    """The tolerance of a reproduced number, in nats; None where other implementations disagree, or none was set."""
    hours: float
    """About, on two cores."""
    others: str = ""
    """Results of other implementations."""


IWAE = "Burda, Grosse & Salakhutdinov 2016, table 1"
VAMP = "Tomczak & Welling 2018, table 1"
JUDGED = {"validation": "held-out", "held_out": 1 / 6, "keep": "best", "patience": 50}
ROWS = {
    "iwae-k1": Row(
        IWAE, "IWAE, k = 1", "iwae.py", {"bound": "iwae"}, 3280, 20, -86.76, 0.5, 9, "-86.35 (nbip), -87.75 (xqding)"
    ),
    "iwae-k5": Row(
        IWAE,
        "IWAE, k = 5",
        "iwae.py",
        {"bound": "iwae", "num_samples": 5},
        3280,
        20,
        -85.54,
        None,
        18,
        "-85.18 (nbip), -85.46 (xqding)",
    ),
    "iwae-k50": Row(
        IWAE,
        "IWAE, k = 50",
        "iwae.py",
        {"bound": "iwae", "num_samples": 50},
        3280,
        20,
        -84.78,
        None,
        170,
        "-84.59 (nbip), -84.59 (xqding)",
    ),
    "vae-k5": Row(IWAE, "VAE, k = 5", "iwae.py", {"bound": "elbo", "num_samples": 5}, 3280, 20, -86.47, None, 18),
    "vamp-standard": Row(
        VAMP, "standard prior", "vampprior.py", {"prior": "gaussian", **JUDGED}, 2000, 100, -84.50, 0.3, 3, "-84.45"
    ),
    "vamp-vamp": Row(
        VAMP, "VampPrior", "vampprior.py", {"prior": "vamp", **JUDGED}, 2000, 100, -82.38, 0.4, 5, "-82.29"
    ),
}
"""Rows by id."""
DEFAULT = ("iwae-k1", "vamp-standard", "vamp-vamp")
"""The rows trained by default: the others need an accelerator, or a day."""
