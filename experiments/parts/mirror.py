"""The mirror: do jvae and PyTorch train to the same test-set ELBO?

Question: are the test ELBOs of both frameworks, over many seeds of the same setting, from one distribution?
Source:   the exercise's own model in PyTorch, experiments/peers/pytorch.py.
Command:  python -m experiments mirror --output report     (16 seeds at least)
Expected: gaussian -94.5 ± 1.0 and -94.0 ± 0.9 nats, mog -92.1 ± 0.8 and -91.9 ± 0.8: within 2 standard errors.
Minutes:  25. Needs the extra `pytorch`.
"""

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from experiments.reporting.comparison import table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.settings import Settings
from experiments.reporting.verdicts import LEVEL, SURE, mean_and_sd, what_is_shown
from jvae.cli.near import Choice
from jvae.errors import JvaeError
from jvae.runs.config import Config

if TYPE_CHECKING:
    from jvae.data.dataset import Dataset

PROSE = Prose(__file__)
WITHIN, FULL = 2.0, 16
"""The bar, in standard errors of the difference of the means; and the seeds that can show an error of the program."""
POWER = 0.8
"""The probability that a difference called visible would be seen."""
NAMES = {"gaussian": "Gaussian", "mog": "mixture of Gaussians"}


def without_torch(settings: Settings) -> str:
    """Return why PyTorch cannot be compared with here, if it cannot."""
    from importlib.util import find_spec

    return "" if find_spec("torch") else "PyTorch is not installed (pip install 'jvae[pytorch]')"


def peer_images(data: "Dataset", network: str = "mlp") -> np.ndarray:
    """Return the training images as the peers in PyTorch take them: uint8, [n, h, w].

    Raises:
        JvaeError: they are not grey; or the network is the convolutional one, and they are not of 28x28.
    """
    shape = data.train_images.shape[1:]
    found = f"{data.name} has data of {'x'.join(map(str, shape))}"
    if len(shape) != 3 or shape[2] != 1:
        raise JvaeError(f"{found}: PyTorch's program is for images of one channel")
    if network == "cnn" and shape[:2] != (28, 28):
        raise JvaeError(f"{found}: PyTorch's convolutional network is for images of 28x28")
    return data.train_images[..., 0]


def measure(lab: Lab, prior: tuple[str, ...] = ("gaussian", "mog"), num_components: int = 50) -> Measured:
    """Measure the test ELBO of every seed in both frameworks, by one estimator: PyTorch's weights are imported."""
    from jvae.evaluation import spread

    peer_images(lab.data)  # before anything is trained
    runs = max(lab.settings.runs, lab.settings.choose(FULL, 3))
    results = {}
    for name in prior:
        variation: dict[str, Any] = {} if name == "gaussian" else {"prior": name, "num_components": num_components}
        ours = [e.elbo.value for e in lab.evaluations(lab.models(runs, **variation))]
        theirs = train_theirs(lab, lab.settings.config(**variation), runs)
        one, other = spread(ours), spread(theirs)
        noise = float(np.hypot(one.standard_error, other.standard_error))
        results[name] = {"jvae": ours, "pytorch": theirs, "difference": one.mean - other.mean, "standard_error": noise}
    return {"runs": runs, "priors": results}, {}


def train_theirs(lab: Lab, config: Config, runs: int) -> list[float]:
    """Return the test ELBO of every seed in PyTorch."""
    import torch

    from experiments.peers.pytorch import MoGPrior, build_vae, train_epoch_resident, tuned
    from jvae.runs.api import evaluate
    from jvae.tools.pytorch import model_from_weights

    data = lab.data
    binary = torch.from_numpy((peer_images(data) >= 128).astype(np.float32))
    elbos = []
    for seed in range(runs):
        lab.say(f"PyTorch, {config.prior} prior, run {seed + 1}/{runs}")
        torch.manual_seed(seed)
        model = build_vae(config.latent_dim, image_shape=binary.shape[1:])
        if config.prior == "mog":
            model.prior = MoGPrior(config.latent_dim, config.num_components)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
        with tuned():
            for _ in range(config.epochs):
                train_epoch_resident(model, model.elbo, optimizer, binary, config.batch_size)
        weights = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
        imported = model_from_weights(weights, config, data.train_images.shape[1:], data.fingerprint)
        elbos.append(evaluate(imported, data)[0].elbo.value)
    return elbos


def tell(values: Values) -> Story:
    """Tell the table, and whether the means lie within two standard errors of each other."""
    from scipy.stats import t

    lines, apart, visible, chance, surely = [], [], [], [], []
    for prior, result in values["priors"].items():
        difference, noise = result["difference"], result["standard_error"]
        low, high, freedom = welch(result["jvae"], result["pytorch"])
        least, most, _ = welch(result["jvae"], result["pytorch"], SURE)
        surely.append(not least <= 0 <= most)
        ratio = abs(difference) / noise
        if ratio > WITHIN:
            apart.append(f"{NAMES[prior]} ({ratio:.1f} standard errors)")
        visible.append(f"{(WITHIN + t.ppf(POWER, freedom)) * noise:.1f} ({NAMES[prior]})")
        chance.append(200 * t.sf(WITHIN, freedom))
        both = mean_and_sd(result["jvae"]), mean_and_sd(result["pytorch"])
        numbers = f"{difference:+.2f} ± {noise:.2f}", f"{ratio:.1f}", f"{low:+.2f} to {high:+.2f}"
        lines.append([NAMES[prior], *both, *numbers])
    if apart:
        verdict = PROSE("apart", within=WITHIN, apart=", ".join(apart))
    else:
        verdict = PROSE("together", within=WITHIN, visible=" or ".join(visible), power=POWER)
    seeds = "; ".join(
        f"{prior} {who}, {', '.join(f'{value:.2f}' for value in result[name])}"
        for prior, result in values["priors"].items()
        for name, who in (("jvae", "in jvae"), ("pytorch", "in PyTorch"))
    )
    header = ["prior", "jvae", "PyTorch", "difference ± s.e.", "in standard errors", "Welch's 95 % interval"]
    text = PROSE(
        "text",
        results=table(header, lines),
        shown=what_is_shown(values["runs"]),
        within=WITHIN,
        chance=max(chance),
        sure=100 * SURE,
        verdict=verdict,
        seeds=seeds,
    )
    return Story(verdict.replace("**", ""), text, sound=not any(surely) or values["runs"] < FULL)


def welch(ours: list[float], theirs: list[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Return Welch's interval of the difference of the means, ours - theirs, and its degrees of freedom."""
    from scipy.stats import ttest_ind

    found = ttest_ind(ours, theirs, equal_var=False)
    interval = found.confidence_interval(level)
    return float(interval.low), float(interval.high), float(found.df)


PART = Part(
    name="mirror",
    title="Study: the mirror of PyTorch",
    question="Do jvae and PyTorch train the same setting to the same test-set ELBO?",
    help=__doc__,
    minutes=lambda s: 0.4 + max(s.runs, s.choose(FULL, 3)) * 2 * (0.06 + s.epochs * (3.6 + 5.1) / 60),
    measure=measure,
    tell=tell,
    obstacle=without_torch,
    packages=("torch",),
    options=(
        click.option("--num-components", type=click.IntRange(1), help="of the mixture; 50"),
        click.option("--prior", type=Choice(["gaussian", "mog"]), multiple=True, help="by default both"),
    ),
)
