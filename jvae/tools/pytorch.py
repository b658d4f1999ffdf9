"""The bridge to PyTorch: a model as the state dict of the exercise's modules, and back.

The names are those of the exercise's file: `encoder.encoder_net.1.weight` and so on, `decoder.decoder_net.0.weight`,
`prior.mean` and `prior.std`; for a mixture `prior.logits` [K], `prior.means` [K, M] and `prior.log_stds` [K, M]. Other
names of the networks are understood where the layers' order says which is which.
"""

import io
import math
import pickle
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jvae.errors import ModelFileError
from jvae.files import write_file
from jvae.priors import LOG_SCALE_LIMIT, bounded
from jvae.runs.checkpoint import TrainedModel, current_versions, run_shapes
from jvae.runs.config import Config, build_recipe, plan_of
from jvae.runs.state import init_loop_state
from jvae.training import TrainState

Weights = dict[str, np.ndarray]
IGNORED = "decoder.std"  # the exercise's decoder has it, and uses it nowhere
MIXTURE = {"prior.logits": "logits", "prior.means": "loc", "prior.log_stds": "log_scale"}


class Layer(NamedTuple):
    """A layer here and there."""

    theirs: str
    """Such as `encoder.encoder_net.1`."""
    part: str
    """`encoder` or `decoder`."""
    name: str
    """In the part's network, such as `linear_0`."""
    to_theirs: tuple[int, ...]
    """The axes of our kernel in the order of their weight's."""


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
        ModelFileError: the exercise's modules have no counterpart of it.
    """
    config = model.config
    if config is None:
        raise ModelFileError(
            "the model is a recipe of one's own: only those of a configuration have a counterpart in PyTorch"
        )
    check_bridge(config)
    params = model.run_params()["params"]
    weights: Weights = {}
    if config.prior == "gaussian":
        weights["prior.mean"] = np.zeros(config.latent_dim, np.float32)
        weights["prior.std"] = np.ones(config.latent_dim, np.float32)
    weights |= {name: np.ascontiguousarray(array) for name, array in renamed(params, config).items()}
    if config.decoder == "bernoulli":
        weights[IGNORED] = np.full(model.data_shape[:2], 0.5, np.float32)
    return weights


def renamed(params: PyTree, config: Config) -> dict[str, Any]:
    """Return a single run's parameters as the state dict has them."""
    weights = {}
    if config.prior == "mog":
        prior = {**params["prior"], "log_scale": bounded(params["prior"]["log_scale"])}
        weights = {theirs: prior[ours] for theirs, ours in MIXTURE.items()}
    for layer in layers_of(config):
        found = params[layer.part]["net"][layer.name]
        weights[f"{layer.theirs}.weight"] = found["kernel"].transpose(layer.to_theirs)
        weights[f"{layer.theirs}.bias"] = found["bias"]
    return weights


def import_weights(weights: Weights, config: Config, image_shape: tuple[int, ...]) -> PyTree:
    """Return the parameters of a configuration's model, taken from a state dict.

    Raises:
        ModelFileError: naming every array that is missing, unexpected or of another shape.
    """
    check_bridge(config)
    found = canonical(weights, config)
    wanted = wanted_shapes(config, image_shape)
    optional = {"prior.mean", "prior.std", IGNORED} if config.prior == "gaussian" else {IGNORED}
    problems = [f"{name} is missing" for name in wanted.keys() - found.keys()]
    problems += [f"{name} is not expected" for name in found.keys() - wanted.keys() - optional]
    problems += [
        f"{name} is {list(found[name].shape)}, not {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name].shape != shape
    ]
    for name, value in (("prior.mean", 0), ("prior.std", 1)):
        if config.prior == "gaussian" and name in found and not np.all(found[name] == value):
            problems.append(f"{name} is not {value} everywhere, as that of a Gaussian prior here is")
    if problems:
        raise ModelFileError("the state dict does not fit: " + "; ".join(sorted(problems)))
    params: dict[str, Any] = {"encoder": {"net": {}}, "decoder": {"net": {}}}
    for layer in layers_of(config):
        kernel = found[f"{layer.theirs}.weight"].transpose(np.argsort(layer.to_theirs))
        bias = found[f"{layer.theirs}.bias"]
        params[layer.part]["net"][layer.name] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    if config.prior == "mog":
        mixture = {ours: found[theirs] for theirs, ours in MIXTURE.items()}
        ratio = mixture["log_scale"].astype(np.float64) / LOG_SCALE_LIMIT
        if np.any(np.abs(ratio) >= 1):
            raise ModelFileError(f"prior.log_stds must lie between -{LOG_SCALE_LIMIT:g} and {LOG_SCALE_LIMIT:g}")
        mixture["log_scale"] = (LOG_SCALE_LIMIT * np.arctanh(ratio)).astype(np.float32)
        params["prior"] = jax.tree.map(jnp.asarray, mixture)
    return {"params": params}


def check_bridge(config: Config) -> None:
    """Raise a ModelFileError unless the exercise's modules, or their variants, have a counterpart of a model."""
    if config.levels == 2:
        raise ModelFileError("levels is 2: only a model of one level has a counterpart in PyTorch")
    if config.prior not in ("gaussian", "mog"):
        raise ModelFileError(f"prior is {config.prior}: only gaussian and mog have a counterpart in PyTorch")
    if config.variance != "fixed":
        raise ModelFileError(f"variance is {config.variance}: only a fixed one has a counterpart in PyTorch")
    if config.runs > 1:
        raise ModelFileError(f"runs is {config.runs}: choose one with --run")


def wanted_shapes(config: Config, image_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the state dict of a configuration."""
    runs = run_shapes(build_recipe(config, image_shape), image_shape, 1).params["params"]
    wanted = jax.eval_shape(lambda runs: renamed(jax.tree.map(lambda leaf: leaf[0], runs), config), runs)
    return {name: array.shape for name, array in wanted.items()}


def canonical(weights: Weights, config: Config) -> Weights:
    """Return the state dict with the exercise's names of the networks' layers, where as many are there in order."""
    stems: dict[str, str] = {}
    for part in ("encoder", "decoder"):
        layers = [layer.theirs for layer in layers_of(config) if layer.part == part]
        found = [name.removesuffix(".weight") for name in weights if re.fullmatch(rf"{part}\..*\.weight", name)]
        if len(found) == len(layers):
            stems |= dict(zip(found, layers, strict=True))
    parts = {name: name.rpartition(".") for name in weights}
    return {f"{stems.get(stem, stem)}.{kind}": weights[name] for name, (stem, _, kind) in parts.items()}


def infer_config(weights: Weights, **fields: Any) -> Config:
    """Return the configuration that a state dict speaks of; what it cannot tell comes as fields: output, activation.

    Raises:
        ModelFileError: it is no model's.
    """
    biases = [array for name, array in weights.items() if name.startswith("encoder.") and name.endswith(".bias")]
    if not biases or any(bias.ndim != 1 for bias in biases) or len(biases[-1]) % 2:
        raise ModelFileError("the state dict has no encoder.*.bias, the last of which has 2 M numbers")
    channels = [len(array) for name, array in weights.items() if name.startswith("encoder.") and array.ndim == 4]
    inferred: dict[str, Any] = {"latent_dim": len(biases[-1]) // 2}
    if channels:
        inferred |= {"network": "cnn", "channels": tuple(channels)}
    else:
        inferred |= {"network": "mlp", "hidden": tuple(map(len, biases[:-1]))}
    mixture = weights.get("prior.means", weights.get("prior.logits"))
    if mixture is not None:
        inferred |= {"prior": "mog", "num_components": len(mixture)}
    try:
        return Config(**{**inferred, **fields})
    except ValueError as error:
        raise ModelFileError(f"the state dict is not a model's: {error}") from error


def model_from_weights(
    weights: Weights, config: Config, image_shape: tuple[int, ...], fingerprint: str
) -> TrainedModel:
    """Return a model file of imported weights: no epoch is trained yet, and the optimizer starts anew.

    Raises:
        ModelFileError: the weights do not fit the configuration.
    """
    recipe, params = build_recipe(config, image_shape), import_weights(weights, config, image_shape)
    one = TrainState(params, recipe.optimizer.init(params), jnp.zeros((), jnp.int32))
    state = init_loop_state(jax.tree.map(lambda leaf: leaf[None], one), 1, validated=False)
    about = (config.dataset, image_shape, fingerprint, current_versions())
    return TrainedModel(recipe, plan_of(config), state.params, state, [], *about, config)


def load_state_dict(path: Path) -> Weights:
    """Load the arrays in a `.pt` file that holds a state dict and nothing else.

    Raises:
        ModelFileError: it cannot be read, or holds anything but tensors of finite numbers; nothing in it is run.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles, which are refused in a line of ours
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelFileError(f"{path}: is not a state dict: {reason[:150]}") from error
    if not isinstance(found, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise ModelFileError(f"{path}: is not a state dict: names and tensors are expected, and nothing else")
    weights = {str(name): tensor.detach().to(torch.float32).numpy() for name, tensor in found.items()}
    broken = [name for name, array in weights.items() if not np.all(np.isfinite(array))]
    if broken:
        raise ModelFileError(f"{path}: {', '.join(broken)} holds numbers that are not finite")
    return weights


def save_state_dict(path: Path, weights: Weights) -> None:
    """Write a state dict that `model.load_state_dict(torch.load(path))` takes.

    Raises:
        JvaeError: the file cannot be written.
    """
    import torch

    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in weights.items()}, buffer)
    write_file(path, buffer.getvalue())


def count_weights(weights: Weights) -> int:
    """Return how many numbers there are."""
    return sum(math.prod(array.shape) for array in weights.values())
