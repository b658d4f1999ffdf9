"""Config, everything that defines a run, and its builders: the only place where a name becomes an object.

Importing this module imports neither jax nor flax, so that a wrong command line fails at once; each builder
imports what it builds.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from jvae.data.known import DATASETS, check_options, split_source
from jvae.errors import at_least_one, shown
from jvae.runs.fields import ConfigField, OnlyWith, Range, check_together, fields_of

if TYPE_CHECKING:
    from flax import linen as nn

    from jvae.gradients import Estimator
    from jvae.recipe import Recipe
    from jvae.runs.numbers import RunNumbers
    from jvae.transforms import Transform
    from jvae.vae import VAE

UPPER_HIDDEN = 128
ESTIMATED = {"stl": "elbo", "dreg": "iwae"}
"""Estimator -> the bound whose gradient it estimates."""
HELD_OUT, JUDGED = OnlyWith("validation", ("held-out",)), OnlyWith("validation", ("held-out", "test"))


@dataclass(frozen=True)
class Config:
    """Everything that defines a run: `jvae train`'s options, and the JSON inside every model file.

    Raises:
        ValueError: on construction, naming the field, its value and the rule it breaks.
    """

    dataset: Annotated[
        str, f"{', '.join(DATASETS)}; npz:FILE, npy:FILE, folder:DIR, idx:DIR; or tfds:NAME, prepared with tfds"
    ] = "mnist"
    test_share: Annotated[
        float, "share of the images to use as test set, if there is none (npz, npy, folder)", Range(0, 0.9)
    ] = 0.0
    resize: Annotated[str, "size HxW that images are resized to (folder)"] = ""
    transpose: Annotated[bool, "swap the axes of the images, as EMNIST's files need (idx)"] = False
    binarise: Annotated[
        Literal["threshold", "stochastic"],
        "pixels are 1 from 128 on, or drawn x ~ Bernoulli(pixel/255): for every batch, and once for the test set",
        OnlyWith("decoder", ("bernoulli",)),
    ] = "threshold"
    latent_dim: Annotated[int, "dimension of the latent variable z", Range(1, 4096)] = 32
    epochs: Annotated[int, "passes over the training images", Range(1, 10**6)] = 10
    batch_size: Annotated[int, "images per training step", Range(1, 10**6)] = 32
    prior: Annotated[Literal["gaussian", "mog", "vamp", "flow"], "p(z)"] = "gaussian"
    num_components: Annotated[
        int, "components of the mixture, or pseudo-inputs", Range(1, 10_000), OnlyWith("prior", ("mog", "vamp"))
    ] = 50
    pseudo_inputs: Annotated[
        Literal["noise", "data"], "initial pseudo-inputs: near black, or images", OnlyWith("prior", ("vamp",))
    ] = "noise"
    coupling: Annotated[
        Literal["affine", "spline"], "coupling layers: RealNVP or splines", OnlyWith("prior", ("flow",))
    ] = "affine"
    decoder: Annotated[
        Literal["bernoulli", "gaussian", "continuous-bernoulli"],
        "output distribution p(x|z); pixels are binary for bernoulli, in [0, 1] for the others",
    ] = "bernoulli"
    variance: Annotated[
        Literal["fixed", "scalar", "pixel"],
        "variance of the output: fixed, one learned, or one learned per pixel",
        OnlyWith("decoder", ("gaussian",)),
    ] = "fixed"
    output_scale: Annotated[
        float,
        "standard deviation of the output, if it is fixed",
        Range(0, above=True),
        OnlyWith("decoder", ("gaussian",)),
        OnlyWith("variance", ("fixed",)),
    ] = 0.3
    dequantise: Annotated[
        bool,
        "add uniform noise to pixels, (x + u) / 256, so that they have a density",
        OnlyWith("decoder", ("gaussian", "continuous-bernoulli")),
    ] = True
    network: Annotated[Literal["mlp", "cnn"], "architecture of encoder and decoder"] = "mlp"
    hidden: Annotated[
        tuple[int, ...], "widths of the hidden layers, from x to z", Range(1, 65536), OnlyWith("network", ("mlp",))
    ] = (512, 512)
    channels: Annotated[
        tuple[int, ...],
        "channels of the convolutions, each of which halves the image, from x to z",
        Range(1, 4096),
        OnlyWith("network", ("cnn",)),
    ] = (32, 64)
    activation: Annotated[
        Literal["relu", "tanh", "gelu", "elu", "leaky-relu", "silu"], "activation function of the networks"
    ] = "relu"
    levels: Annotated[int, "levels of latents; with 2, the prior is itself a VAE of z", Range(1, 2)] = 1
    upper_dim: Annotated[
        int, "dimension of the upper level's latent variable", Range(1, 4096), OnlyWith("levels", (2,))
    ] = 5
    bound: Annotated[Literal["elbo", "iwae"], "what training maximises"] = "elbo"
    estimator: Annotated[
        Literal["pathwise", "stl", "dreg"],
        "gradient estimator: the bound's own, sticking the landing (elbo) or doubly reparametrised (iwae)",
    ] = "pathwise"
    num_samples: Annotated[int, "draws z ~ q(z|x) per image in a training step", Range(1, 10_000)] = 1
    beta: Annotated[float, "weight of the KL term in training (1 is the ELBO)", Range(0)] = 1.0
    kl_warmup: Annotated[float, "epochs in which the KL's weight rises linearly from 0 to beta", Range(0)] = 0.0
    learning_rate: Annotated[float, "step size of Adam", Range(0, above=True)] = 1e-3
    schedule: Annotated[
        Literal["constant", "linear", "cosine"], "step size over the training: constant, or falling to 0"
    ] = "constant"
    warmup: Annotated[float, "epochs in which the step size rises linearly from 0", Range(0)] = 0.0
    validation: Annotated[
        Literal["none", "held-out", "test"],
        "images whose bound judges every epoch: a part of the training set, or the test set",
    ] = "none"
    held_out: Annotated[float, "share of the training images that is held out", Range(0, 0.9, above=True), HELD_OUT] = (
        0.1
    )
    keep: Annotated[
        Literal["last", "best"], "epoch to keep: the last, or the best bound's after the KL's warm-up", JUDGED
    ] = "last"
    patience: Annotated[
        int, "epochs without a better bound, after the KL's warm-up, that end a run; 0: never", Range(0, 10**6), JUDGED
    ] = 0
    precision: Annotated[
        Literal["float32", "bfloat16"], "operands of the networks' matrix products; the rest is float32"
    ] = "float32"
    seed: Annotated[int, "seed of the initialisation, the shuffles and the noise", Range(0, 2**32 - 1)] = 0
    runs: Annotated[int, "independent runs, with the seeds seed, seed + 1, ...", Range(1, 10_000)] = 1

    def __post_init__(self) -> None:
        for field in config_fields():
            object.__setattr__(self, field.name, field.checked(getattr(self, field.name)))
        check_options(split_source(self.dataset)[0], self.test_share, self.resize, self.transpose)
        if self.seed + self.runs > 2**32:
            raise ValueError(f"runs is {self.runs}: the last seed, {self.seed + self.runs - 1}, must be below 2^32")
        own = self.estimator != "pathwise"
        if own and self.bound != (bound := ESTIMATED[self.estimator]):
            raise ValueError(f"estimator is {self.estimator}: applies only with bound {bound}, not {self.bound}")
        if own and self.levels != 1:
            raise ValueError(f"estimator is {self.estimator}: applies only with levels 1, not {self.levels}")
        for name, none in (("beta", 1), ("kl_warmup", 0)):
            if (own or self.bound == "iwae") and (weight := getattr(self, name)) != none:
                who = f"the estimator {self.estimator}" if own else f"the bound {self.bound}"
                raise ValueError(f"{name} is {weight:g}: {who} takes no KL weight, so it must be {none}")
        if self.warmup > self.epochs:
            raise ValueError(f"warmup is {self.warmup:g}: must be at most the number of epochs, {self.epochs}")
        if self.levels == 2 and self.pseudo_inputs == "data":
            raise ValueError("pseudo_inputs is data: must be noise with two levels, where they are latents, not images")
        check_together(self.ruled_fields(), self)

    @staticmethod
    def ruled_fields() -> list[ConfigField]:
        """Return the fields that must apply with the others, by their rules."""
        return config_fields()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, but with several numbers as a tuple."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """Return the configuration with the values of `to_dict`; a missing field takes its default.

        A list, which is JSON's form of a tuple, becomes a tuple, and `hidden_dim` N of 0.1.0 becomes `hidden` N, N.

        Raises:
            ValueError: a field is unknown or has a bad value.
        """
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        if "hidden_dim" in values and "hidden" not in values:
            values["hidden"] = (values.pop("hidden_dim"),) * 2
        if unknown := values.keys() - {field.name for field in config_fields()}:
            raise ValueError(f"unknown configuration field {', '.join(sorted(unknown))}")
        return cls(**values)


class RecipeConfig(Config):
    """A configuration for a recipe file, which decides what its fields apply to: only the plan's have rules."""

    @staticmethod
    def ruled_fields() -> list[ConfigField]:
        """Return the plan's fields that must apply with the others."""
        return [field for field in config_fields() if {HELD_OUT, JUDGED}.intersection(field.needs)]


def config_fields() -> list[ConfigField]:
    """Return the fields of `Config`, in order."""
    return fields_of(Config)


def build_recipe(
    config: Config, data_shape: tuple[int, ...], steps_per_epoch: int = 1, numbers: "RunNumbers | None" = None
) -> "Recipe":
    """Build a configuration's recipe for images of shape (h, w, c).

    Args:
        config: the configuration.
        data_shape: (h, w, c).
        steps_per_epoch: the steps of an epoch, which convert the schedules' epochs to steps.
        numbers: a run's learning rate and beta, which may be traced; by default those of the configuration.

    Raises:
        ValueError: config is no Config, or its network cannot take images of this shape.
    """
    import optax

    from jvae.bounds import elbo, iwae
    from jvae.priors import start_at_images
    from jvae.recipe import Recipe
    from jvae.runs.schedules import kl_weight, rounded_steps, step_size

    if not isinstance(config, Config):
        raise ValueError(f"config is {shown(config)}: must be a Config")
    rate, beta = (config.learning_rate, config.beta) if numbers is None else (numbers.learning_rate, numbers.beta)
    steps = at_least_one("steps_per_epoch", steps_per_epoch)
    rising, kl_rising = (rounded_steps(epochs, steps) for epochs in (config.warmup, config.kl_warmup))
    last = 0 if config.schedule == "constant" else config.epochs * steps
    weightless = config.bound == "iwae" or config.estimator != "pathwise"
    return Recipe(
        model=build_model(config, data_shape),
        transform=build_transform(config),
        bound=iwae if config.bound == "iwae" else elbo,
        optimizer=optax.adam(step_size(rate, config.schedule, rising, last)),
        num_samples=config.num_samples,
        kl_weight=None if weightless else kl_weight(beta, kl_rising),
        start=partial(start_at_images, config.num_components) if config.pseudo_inputs == "data" else None,
        estimator=build_estimator(config),
        unit=unit(config),
    )


def build_model(config: Config, image_shape: tuple[int, ...]) -> "VAE":
    """Build the model for images of shape (h, w, c).

    Raises:
        ValueError: the network cannot take images of this shape.
    """
    from jvae.encoders import GaussianEncoder
    from jvae.vae import VAE, HierarchicalVAE

    encoder_net, decoder_net = build_networks(config, image_shape)
    decoder, encoder = build_decoder(config, decoder_net), GaussianEncoder(encoder_net)
    if config.levels == 1:
        return VAE(build_prior(config, config.latent_dim, image_shape), decoder, encoder)
    return HierarchicalVAE(build_upper_level(config), decoder, encoder)


def build_upper_level(config: Config) -> "VAE":
    """Build the VAE of z1 that is the prior: p(z2), p(z1|z2) and q(z2|z1), diagonal Gaussians from MLPs."""
    from jvae.encoders import GaussianEncoder
    from jvae.nn.networks import ACTIVATIONS, MLP
    from jvae.vae import VAE

    lower, upper = config.latent_dim, config.upper_dim
    mlp = partial(MLP, (UPPER_HIDDEN,) * 2, activation=ACTIVATIONS[config.activation])
    prior = build_prior(config, upper, (lower,))
    return VAE(prior, GaussianEncoder(mlp((2 * lower,))), GaussianEncoder(mlp((2 * upper,))))


def build_prior(config: Config, latent_dim: int, data_shape: tuple[int, ...]) -> "nn.Module":
    """Build p(z) of a level whose data (images, or the latents of the level below) have this shape."""
    from jvae import priors

    match config.prior:
        case "gaussian":
            return priors.GaussianPrior(latent_dim)
        case "mog":
            return priors.MoGPrior(latent_dim, config.num_components)
        case "vamp":
            return priors.VampPrior(data_shape, config.num_components, images=config.levels == 1)
        case "flow":
            return priors.FlowPrior(latent_dim, config.coupling)


def build_decoder(config: Config, net: "nn.Module") -> "nn.Module":
    """Build p(x|z)."""
    from jvae import decoders

    match config.decoder:
        case "bernoulli":
            return decoders.BernoulliDecoder(net)
        case "gaussian":
            return decoders.GaussianDecoder(net, config.variance, config.output_scale)
        case "continuous-bernoulli":
            return decoders.ContinuousBernoulliDecoder(net)


def build_estimator(config: Config) -> "Estimator | None":
    """Build the gradient estimator; None for the bound's own gradient."""
    from jvae.gradients import doubly_reparametrised, sticking_the_landing

    return {"pathwise": None, "stl": sticking_the_landing, "dreg": doubly_reparametrised}[config.estimator]


def build_networks(config: Config, image_shape: tuple[int, ...]) -> tuple["nn.Module", "nn.Module"]:
    """Build the encoder's network, image -> 2m numbers, and the decoder's, z -> one number per pixel."""
    from jvae.nn import matmul, networks

    outputs, activation = (2 * config.latent_dim,), networks.ACTIVATIONS[config.activation]
    if config.network == "mlp":
        precision = matmul.float32 if config.precision == "float32" else matmul.bfloat16
        mlp = partial(networks.MLP, matmul=precision, activation=activation)
        return mlp(config.hidden, outputs), mlp(config.hidden[::-1], image_shape)
    networks.check_depth(config.channels, image_shape)
    precision = matmul.float32 if config.precision == "float32" else matmul.bfloat16_columns
    options = {"matmul": precision, "channels": config.channels, "activation": activation}
    return networks.ConvEncoderNet(outputs, **options), networks.ConvDecoderNet(image_shape, **options)


def build_transform(config: Config) -> "Transform":
    """Build the transform from uint8 images to the data that the decoder models."""
    from jvae import transforms

    if config.decoder == "bernoulli":
        return transforms.binarise if config.binarise == "threshold" else transforms.stochastic_binarise
    return transforms.dequantise if config.dequantise else transforms.rescale


def unit(config: Config) -> str:
    """Return the unit of this configuration's bound, in words."""
    if config.decoder == "bernoulli":
        how = "" if config.binarise == "threshold" else ", drawn from the grey values"
        return f"nats per image, log-probability of binary pixels{how}"
    pixels = "dequantised pixels" if config.dequantise else "pixels, not dequantised"
    return f"nats per image, log-density of {pixels} in [0, 1]"
