"""The bridge to PyTorch: a model as the state dict of the exercise's modules, and back.

The names are those of the exercise's file: `encoder.encoder_net.1.weight` and so on, `decoder.decoder_net.0.weight`,
`prior.mean` and `prior.std`; for a mixture `prior.logits` [K], `prior.means` [K, M] and `prior.log_stds` [K, M]; for a
learned scale of the output `decoder.log_std`. Other names of the networks are accepted if the layers are in order;
`jvae.tools.conventions` translates students' names of the other tensors.
"""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jvae.decoders import LOG_SCALE_FLOOR
from jvae.errors import ModelFileError
from jvae.priors import LOG_SCALE_LIMIT, bounded
from jvae.runs.checkpoint import TrainedModel, current_versions, run_shapes
from jvae.runs.config import Config, build_recipe
from jvae.runs.plan import plan_of
from jvae.runs.state import init_loop_state
from jvae.tools.conventions import LOG_STD, LOG_STDS, LOGITS, MEANS, UNUSED
from jvae.tools.state_dict import Weights
from jvae.training import TrainState

IGNORED = "decoder.std"  # the exercise's decoder has it, but does not use it
MIXTURE = {LOGITS: "logits", MEANS: "loc", LOG_STDS: "log_scale"}
CONSTANT = {"prior.mean": 0, "prior.std": 1, IGNORED: UNUSED}
"""Constants that a state dict may hold: the prior's parameters, and a value that nothing uses."""
SHOWN = 12  # problems in one line


class Layer(NamedTuple):
    """A layer of jvae, and its counterpart in PyTorch."""

    theirs: str
    """PyTorch's name, such as `encoder.encoder_net.1`."""
    part: str
    """`encoder` or `decoder`."""
    name: str
    """jvae's name in the part's network, such as `linear_0`."""
    to_theirs: tuple[int, ...]
    """The axes of jvae's kernel in the order of PyTorch's weight."""


LINEAR, CONV, CONV_TRANSPOSE = (1, 0), (3, 2, 0, 1), (2, 3, 0, 1)


def layers_of(config: Config) -> list[Layer]:
    """Return the layers of both networks.

    Their numbers are those in the exercise's `nn.Sequential`, where an activation follows every layer but the last, and
    an `nn.Flatten` or `nn.Unflatten` stands at the start of an encoder and beside the convolutions.
    """
    depth = len(config.hidden if config.network == "mlp" else config.channels)

    def layer(part: str, number: int, name: str, axes: tuple[int, ...]) -> Layer:
        return Layer(f"{part}.{part}_net.{number}", part, name, axes)

    if config.network == "mlp":
        starts = ("encoder", 1), ("decoder", 0)
        return [layer(part, start + 2 * i, f"linear_{i}", LINEAR) for part, start in starts for i in range(depth + 1)]
    return [
        *(layer("encoder", 1 + 2 * i, f"conv_{i}", CONV) for i in range(depth)),
        *(layer("encoder", 2 + 2 * (depth + i), f"linear_{i}", LINEAR) for i in range(2)),
        *(layer("decoder", 2 * i, f"linear_{i}", LINEAR) for i in range(2)),
        *(layer("decoder", 5 + 2 * i, f"conv_transpose_{i}", CONV_TRANSPOSE) for i in range(depth)),
    ]


def export_weights(model: TrainedModel) -> Weights:
    """Return the state dict of a single run's model.

    Raises:
        ModelFileError: the exercise's modules have no counterpart for it.
    """
    config = model.config
    if config is None:
        raise ModelFileError(
            "the model has a custom recipe: only those of a configuration have a counterpart in PyTorch"
        )
    check_bridge(config)
    if config.variance != "fixed":
        raise ModelFileError(f"variance is {config.variance}: the exercise's modules need a fixed one")
    params = model.run_params()["params"]
    weights: Weights = {}
    if config.prior == "gaussian":
        weights["prior.mean"] = np.zeros(config.latent_dim, np.float32)
        weights["prior.std"] = np.ones(config.latent_dim, np.float32)
    weights |= {name: np.ascontiguousarray(array) for name, array in renamed(params, config).items()}
    if config.decoder == "bernoulli":
        weights[IGNORED] = np.full(model.data_shape[:2], UNUSED, np.float32)
    return weights


def renamed(params: PyTree, config: Config) -> dict[str, Any]:
    """Return a single run's parameters under the state dict's names."""
    weights = {}
    if config.prior == "mog":
        prior = {**params["prior"], "log_scale": bounded(params["prior"]["log_scale"])}
        weights = {theirs: prior[ours] for theirs, ours in MIXTURE.items()}
    if config.variance != "fixed":
        weights[LOG_STD] = params["decoder"]["log_scale"]
    for layer in layers_of(config):
        found = params[layer.part]["net"][layer.name]
        weights[f"{layer.theirs}.weight"] = found["kernel"].transpose(layer.to_theirs)
        weights[f"{layer.theirs}.bias"] = found["bias"]
    return weights


def import_weights(weights: Weights, config: Config, image_shape: tuple[int, ...]) -> PyTree:
    """Return the parameters of a configuration's model, taken from a state dict.

    Raises:
        ModelFileError: arrays are missing, unexpected or of another shape; the message names them.
    """
    check_bridge(config)
    found = canonical(weights, config)
    check_fit(found, config, image_shape)
    params: dict[str, Any] = {"encoder": {"net": {}}, "decoder": {"net": {}}}
    for layer in layers_of(config):
        kernel = found[f"{layer.theirs}.weight"].transpose(np.argsort(layer.to_theirs))
        bias = found[f"{layer.theirs}.bias"]
        params[layer.part]["net"][layer.name] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    if config.variance != "fixed":
        above = found[LOG_STD].astype(np.float64) - LOG_SCALE_FLOOR
        if np.any(above <= 0):
            raise ModelFileError(f"{LOG_STD} is {found[LOG_STD].min():g}: must be above {LOG_SCALE_FLOOR:g}")
        free = LOG_SCALE_FLOOR + above + np.log(-np.expm1(-above))  # the inverse of the soft floor
        params["decoder"]["log_scale"] = jnp.asarray(free, jnp.float32)
    if config.prior == "mog":
        mixture = {ours: found[theirs] for theirs, ours in MIXTURE.items()}
        ratio = mixture["log_scale"].astype(np.float64) / LOG_SCALE_LIMIT
        if np.any(np.abs(ratio) >= 1):
            raise ModelFileError(f"{LOG_STDS} must lie between -{LOG_SCALE_LIMIT:g} and {LOG_SCALE_LIMIT:g}")
        mixture["log_scale"] = (LOG_SCALE_LIMIT * np.arctanh(ratio)).astype(np.float32)
        params["prior"] = jax.tree.map(jnp.asarray, mixture)
    return {"params": params}


def check_fit(found: Weights, config: Config, image_shape: tuple[int, ...]) -> None:
    """Raise a ModelFileError that names the arrays of a state dict that do not fit a configuration's model."""
    wanted = wanted_shapes(config, image_shape)
    constant = {name for name in CONSTANT if config.prior == "gaussian" or not name.startswith("prior.")}
    if config.decoder == "gaussian":
        constant.discard(IGNORED)
    problems = [f"{name} {list(wanted[name])} is missing" for name in wanted.keys() - found.keys()]
    problems += [
        f"{name} {list(found[name].shape)} is not expected" for name in found.keys() - wanted.keys() - constant
    ]
    problems += [
        f"{name} is {list(found[name].shape)}, not {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name].shape != shape
    ]
    for name in constant & found.keys():
        if not np.all(found[name] == CONSTANT[name]):
            values = f"from {found[name].min():g} to {found[name].max():g}" if found[name].size else "empty"
            problems.append(f"{name} is {values}, not {CONSTANT[name]} everywhere, as where it is not learned")
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        about = f"{config.prior} prior, {config.decoder} output, {config.network}"
        raise ModelFileError(f"the state dict does not fit ({about}): {'; '.join(sorted(problems)[:SHOWN])}{more}")


def check_bridge(config: Config) -> None:
    """Raise a ModelFileError unless the exercise's modules, or their variants, have a counterpart for a model."""
    if config.levels == 2:
        raise ModelFileError("levels is 2: only a model of one level has a counterpart in PyTorch")
    if config.prior not in ("gaussian", "mog"):
        raise ModelFileError(f"prior is {config.prior}: only gaussian and mog have a counterpart in PyTorch")
    if config.runs > 1:
        raise ModelFileError(f"runs is {config.runs}: choose one with --run")


def wanted_shapes(config: Config, image_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a configuration's state dict."""
    runs = run_shapes(build_recipe(config, image_shape), image_shape, 1).params["params"]
    wanted = jax.eval_shape(lambda runs: renamed(jax.tree.map(lambda leaf: leaf[0], runs), config), runs)
    return {name: array.shape for name, array in wanted.items()}


def canonical(weights: Weights, config: Config) -> Weights:
    """Return the state dict with the exercise's names of the networks' layers, if their number and order agree."""
    stems: dict[str, str] = {}
    for part in ("encoder", "decoder"):
        layers = [layer.theirs for layer in layers_of(config) if layer.part == part]
        found = [name.removesuffix(".weight") for name in weights if re.fullmatch(rf"{part}\..*\.weight", name)]
        if len(found) == len(layers):
            stems |= dict(zip(found, layers, strict=True))
    renamed = {f"{stem}.{kind}": f"{layer}.{kind}" for stem, layer in stems.items() for kind in ("weight", "bias")}
    return {renamed.get(name, name): array for name, array in weights.items()}


def infer_config(weights: Weights, **fields: Any) -> Config:
    """Return the configuration of a state dict; `fields` give what it does not show, such as output and activation.

    Raises:
        ModelFileError: it is not a model's.
    """
    biases = [array for name, array in weights.items() if name.startswith("encoder.") and name.endswith(".bias")]
    if not biases or any(bias.ndim != 1 for bias in biases) or len(biases[-1]) % 2:
        found = ", ".join(f"{name} {list(array.shape)}" for name, array in list(weights.items())[:SHOWN])
        more = f" and {len(weights) - SHOWN} more" if len(weights) > SHOWN else ""
        needed = "encoder.*.weight and encoder.*.bias, the last of which has 2 M numbers, or two with M each"
        raise ModelFileError(f"the state dict lacks {needed}; found: {found}{more}")
    channels = [len(array) for name, array in weights.items() if name.startswith("encoder.") and array.ndim == 4]
    inferred: dict[str, Any] = {"latent_dim": len(biases[-1]) // 2}
    if channels:
        inferred |= {"network": "cnn", "channels": tuple(channels)}
    else:
        inferred |= {"network": "mlp", "hidden": tuple(map(len, biases[:-1]))}
    mixture = weights.get(MEANS, weights.get(LOGITS))
    if mixture is not None and mixture.ndim:
        inferred |= {"prior": "mog", "num_components": len(mixture)}
    if LOG_STD in weights:
        inferred |= {"variance": "pixel" if weights[LOG_STD].ndim else "scalar"}
    try:
        return Config(**{**inferred, **fields})
    except ValueError as error:
        raise ModelFileError(f"the state dict is not a model's: {error}") from error


def model_from_weights(
    weights: Weights, config: Config, image_shape: tuple[int, ...], fingerprint: str
) -> TrainedModel:
    """Return a model with imported weights, no trained epoch and a fresh optimizer state.

    Raises:
        ModelFileError: the weights do not fit the configuration.
    """
    try:
        recipe = build_recipe(config, image_shape)
    except ValueError as error:  # more convolutions than such images can be halved
        raise ModelFileError(str(error)) from error
    params = import_weights(weights, config, image_shape)
    one = TrainState(params, recipe.optimizer.init(params), jnp.zeros((), jnp.int32))
    state = init_loop_state(jax.tree.map(lambda leaf: leaf[None], one), 1, validated=False)
    about = (config.dataset, image_shape, fingerprint, current_versions())
    return TrainedModel(recipe, plan_of(config), state.params, state, [], *about, config)
