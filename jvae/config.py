"""Config, everything that defines a run, and the builders: the only place where a name becomes an object.

Importing this module imports neither jax nor flax, so that a wrong command line is refused in a moment; each builder
imports what it builds.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    import optax

    from jvae.training import Bound, Transform
    from jvae.vae import VAE

DATASETS = ("mnist", "fashion_mnist", "kmnist", "digits")


class Range(NamedTuple):
    """The rule a number must keep: low <= number <= high, or low < number with `above`."""

    low: float
    high: float = math.inf
    above: bool = False

    def admits(self, number: Any) -> bool:
        """Whether a number, which must be finite, keeps the rule."""
        enough = number > self.low if self.above else number >= self.low
        return math.isfinite(number) and enough and number <= self.high

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        return low if self.high == math.inf else f"{low} and at most {self.high:.10g}"


@dataclass(frozen=True)
class Config:
    """All that defines a run. Its fields are `jvae train`'s options and the JSON inside every model file.

    Raises:
        ValueError: on construction, naming the field, its value and the rule it breaks.
    """

    dataset: Annotated[str, f"{', '.join(DATASETS)}, or tfds:NAME for a set that tfds has prepared"] = "mnist"
    latent_dim: Annotated[int, "dimension of the latent variable z", Range(1, 4096)] = 32
    epochs: Annotated[int, "passes over the training images", Range(1, 10**6)] = 10
    batch_size: Annotated[int, "images per training step", Range(1, 10**6)] = 32
    prior: Annotated[Literal["gaussian"], "p(z)"] = "gaussian"
    decoder: Annotated[Literal["bernoulli"], "output distribution p(x|z)"] = "bernoulli"
    network: Annotated[Literal["mlp"], "architecture of encoder and decoder"] = "mlp"
    hidden_dim: Annotated[int, "width of the networks' two hidden layers", Range(1, 65536)] = 512
    beta: Annotated[float, "weight of the KL term in training (1 is the ELBO)", Range(0)] = 1.0
    learning_rate: Annotated[float, "step size of Adam", Range(0, above=True)] = 1e-3
    seed: Annotated[int, "decides the initialisation, the shuffles and the noise", Range(0, 2**32 - 1)] = 0

    def __post_init__(self) -> None:
        for field in config_fields():
            value, rule = getattr(self, field.name), field.range
            if field.choices:
                if value not in field.choices:
                    raise ValueError(f"{field.name} is {value!r}: must be one of {', '.join(field.choices)}")
            elif not isinstance(value, (int, float) if field.type is float else field.type) or isinstance(value, bool):
                raise ValueError(f"{field.name} is {value!r}: must be {field.type.__name__}")
            elif rule is not None and not rule.admits(value):
                raise ValueError(f"{field.name} is {value}: must be {rule}")
        if self.dataset not in DATASETS and not (self.dataset.startswith("tfds:") and len(self.dataset) > len("tfds:")):
            raise ValueError(f"dataset is {self.dataset!r}: must be one of {', '.join(DATASETS)}, or tfds:NAME")

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """The inverse of `to_dict`; a field that is missing takes its default.

        Raises:
            ValueError: a field is unknown or has a bad value.
        """
        unknown = values.keys() - {field.name for field in config_fields()}
        if unknown:
            raise ValueError(f"unknown configuration field {', '.join(sorted(unknown))}")
        return cls(**values)


class ConfigField(NamedTuple):
    """What a command line needs to know of a field of `Config`."""

    name: str
    type: type
    default: Any
    help: str
    choices: tuple[str, ...]
    range: Range | None


def config_fields() -> list[ConfigField]:
    """The fields of `Config`, in order."""
    hints = get_type_hints(Config, include_extras=True)
    fields = []
    for field in dataclasses.fields(Config):
        kind, text, *rules = get_args(hints[field.name])
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        fields.append(
            ConfigField(field.name, str if choices else kind, field.default, text, choices, rules[0] if rules else None)
        )
    return fields


def build_model(config: Config, image_shape: tuple[int, ...]) -> "VAE":
    """The model for images of shape (h, w, c)."""
    from jvae.decoders import BernoulliDecoder
    from jvae.encoders import GaussianEncoder
    from jvae.networks import MLP
    from jvae.priors import GaussianPrior
    from jvae.vae import VAE

    hidden = (config.hidden_dim,) * 2
    encoder = GaussianEncoder(MLP(hidden, (2 * config.latent_dim,)))
    decoder = BernoulliDecoder(MLP(hidden, image_shape))
    return VAE(GaussianPrior(config.latent_dim), decoder, encoder)


def build_transform(config: Config) -> "Transform":
    """What turns uint8 images into the data that the decoder models."""
    from jvae.transforms import binarise

    return binarise


def build_bound(config: Config) -> "Bound":
    """What training maximises."""
    from functools import partial

    from jvae.bounds import elbo

    return partial(elbo, beta=config.beta)


def build_optimizer(config: Config) -> "optax.GradientTransformation":
    """Adam, as in the exercise."""
    import optax

    return optax.adam(config.learning_rate)
