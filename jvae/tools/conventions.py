"""Translation of students' state dicts to the exercise's names and meanings of tensors.

Shapes show the number and widths of the layers; names mostly show which tensor is a mean and which a logarithm. What
neither shows is a convention, which is either given, or assumed and reported.
"""

import contextlib
import re
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from jvae.errors import ModelFileError
from jvae.tools.state_dict import Weights

Log = Callable[[str], None]
MEAN = ("mean", "mu", "loc")
SPREAD = ("std", "sd", "sigma", "scale", "var", "variance", "lv")
LOG_STD, MEANS, LOGITS, LOG_STDS = "decoder.log_std", "prior.means", "prior.logits", "prior.log_stds"
UNUSED = 0.5
"""The constant value of the exercise's `decoder.std`, which nothing there uses."""


Stds = Literal["as-is", "exp", "softplus"]


class Conventions(NamedTuple):
    """The conventions that a state dict does not show; None where none is given."""

    log_var: bool | None = None
    """True if the encoder gives the logarithm of the variance, not of the standard deviation."""
    stds: Stds | None = None
    """The map from a learned number without `log` in its name to a standard deviation (or variance)."""
    output_scale: float | None = None
    """The fixed standard deviation of a Gaussian output."""


def translate(
    weights: Weights, conventions: Conventions, gaussian_output: bool, image_shape: tuple[int, ...], log: Log
) -> Weights:
    """Return a state dict with the exercise's names, and `decoder.log_std` if a Gaussian output's scale is learned.

    One head gives the mean and log-std of q(z|x); a mixture is `prior.logits` [K], `prior.means` [K, M] and
    `prior.log_stds` [K, M]. Nothing is left out; an unknown tensor keeps its name, and is refused later.

    Args:
        weights: the arrays by a student's names.
        conventions: what names do not show.
        gaussian_output: True if p(x|z) is Gaussian.
        image_shape: (h, w, c).
        log: called with a line for every assumption, and for everything concluded from a name.

    Raises:
        ModelFileError: names and values are ambiguous, or contradict a convention.
    """
    weights = join_heads(weights, conventions.log_var, log)
    weights = rename_mixture(weights, conventions.stds, log)
    return rename_output_scale(weights, conventions, image_shape, log) if gaussian_output else weights


def join_heads(weights: Weights, log_var: bool | None, log: Log) -> Weights:
    """Return the encoder's last layer, or its two heads, as one that gives mean and log-std, 2 M numbers."""
    decoder = (w for name, w in weights.items() if re.match(r"decoder\..*weight$", name) and w.ndim == 2)
    latent_dim = next((w.shape[1] for w in decoder), 0)
    stems = [name.removesuffix(".weight") for name in weights if re.match(r"encoder\..*\.weight$", name)]
    layers = {stem: (weights[f"{stem}.weight"], weights.get(f"{stem}.bias")) for stem in stems}
    heads = [stem for stem in stems if layers[stem][0].ndim == 2 and len(layers[stem][0]) == latent_dim]
    named = {kind: [stem for stem in heads if kind == _kind(stem)] for kind in ("mean", "spread")}
    if latent_dim and stems and layers[stems[-1]][0].shape[:1] == (2 * latent_dim,):
        last, spread = stems[-1], "the second half of the encoder's output"
        joined, told = layers[last], None
        heads = [last]
    else:
        if all(len(each) == 1 for each in named.values()):
            (mean,), (scale,) = named.values()
            order = ""
        elif heads[-2:] == stems[-2:] and len(heads) > 1 and not any(map(_kind, heads)):
            mean, scale = heads[-2:]
            order = f"the mean of q(z|x) is {mean}, the first of two (assumed: no name tells)"
        else:
            return weights
        (w_mean, b_mean), (w_scale, b_scale) = layers[mean], layers[scale]
        if w_mean.shape != w_scale.shape or b_mean is None or b_scale is None or b_mean.shape != b_scale.shape:
            return weights
        joined, told = (np.concatenate([w_mean, w_scale]), np.concatenate([b_mean, b_scale])), _log_var(scale)
        last, spread, heads = mean, scale, [mean, scale]
        if order:
            log(order)
    if told is None and len(heads) == 2 and _kind(spread) == "spread" and log_var is None:
        raise ModelFileError(
            f"{spread} is the logarithm of a standard deviation or of a variance: --log-std or --log-var"
        )
    halved = log_var if log_var is not None else bool(told)
    how = "" if log_var is not None else " (its name says so)" if told is not None else " (assumed; else --log-var)"
    log(f"{spread} is {'log-var' if halved else 'log-std'}{how}")
    weight, bias = joined
    if halved:
        factor = np.repeat(np.array([1, 0.5], np.float32), latent_dim)
        weight, bias = weight * factor[:, None], None if bias is None else bias * factor
    others = {name: array for name, array in weights.items() if name.rpartition(".")[0] not in heads}
    return {**others, f"{last}.weight": weight} | ({} if bias is None else {f"{last}.bias": bias})


def rename_mixture(weights: Weights, stds: Stds | None, log: Log) -> Weights:
    """Return a mixture's logits, means and log-stds with these names, whatever a student's names are."""
    found: dict[str, list[str]] = {MEANS: [], LOGITS: [], LOG_STDS: []}
    for name in weights:
        if name.startswith("prior."):
            words = _words(name.removeprefix("prior."))
            if words & {"logit", "weight", "w", "pi", "prob", "alpha"}:
                found[LOGITS].append(name)
            elif words & set(SPREAD) or _log_var(name) is not None:
                found[LOG_STDS].append(name)
            elif words & set(MEAN):
                found[MEANS].append(name)
    if any(len(names) != 1 for names in found.values()) or weights[found[MEANS][0]].ndim != 2:
        return weights
    (means,), (logits,), (spread,) = found.values()
    renamed = {MEANS: weights[means], LOGITS: weights[logits], LOG_STDS: log_std_of(spread, weights[spread], stds, log)}
    if renamed[LOGITS].size == len(renamed[MEANS]):
        renamed[LOGITS] = renamed[LOGITS].reshape(-1)  # some have extra axes for broadcasting
    with contextlib.suppress(ValueError):  # it may be shared by all components, or all dimensions
        renamed[LOG_STDS] = np.broadcast_to(renamed[LOG_STDS], renamed[MEANS].shape)
    if logits != LOGITS:
        log(f"{logits} are logits: the weights are their softmax (assumed)")
    return {name: array for name, array in weights.items() if name not in (means, logits, spread)} | renamed


def rename_output_scale(weights: Weights, conventions: Conventions, image_shape: tuple[int, ...], log: Log) -> Weights:
    """Return a Gaussian output's scale, under any name, as `decoder.log_std`: one number, or one per pixel."""
    names = [name for name in weights if re.fullmatch(r"decoder\.\w+", name) and _kind(name) == "spread"]
    fixed = conventions.output_scale
    if len(names) != 1:
        if not names and fixed is None:
            log("the standard deviation of the output is fixed at 0.3 (assumed; else --output-scale)")
        return weights
    (name,) = names
    array = weights[name]
    others = {other: kept for other, kept in weights.items() if other != name}
    if name == "decoder.std" and np.all(array == UNUSED):
        if fixed is None:
            raise ModelFileError(
                f"{name} is {UNUSED} everywhere, as the exercise's, which nothing uses: "
                f"say by --output-scale which standard deviation the output has"
            )
        log(f"left out: {name}, {UNUSED} everywhere, for the output's standard deviation is said")
        return others
    if fixed is not None:
        raise ModelFileError(f"{name} is learned, from {array.min():g} to {array.max():g}: leave --output-scale out")
    log_std = log_std_of(name, array, conventions.stds, log)
    if log_std.size == 1:
        return {**others, LOG_STD: log_std.reshape(())}
    if log_std.size == np.prod(image_shape) and image_shape[-1] == 1:
        log_std = log_std.reshape(image_shape)
    return {**others, LOG_STD: log_std}


def log_std_of(name: str, array: Shaped[np.ndarray, "*s"], stds: Stds | None, log: Log) -> Float[np.ndarray, "*s"]:
    """Return the log standard deviations of an array, interpreted by its name or else by a convention.

    Raises:
        ModelFileError: a standard deviation or variance is not above 0.
    """
    values, told = array.astype(np.float64), _log_var(name)
    variance = told if told is not None else bool(_words(name) & {"var", "variance"})
    what = "variances" if variance else "standard deviations"
    if told is None:
        match stds or "as-is":
            case "as-is":
                if not np.all(values > 0):
                    raise ModelFileError(
                        f"{name} holds {values.min():g}, and {what} are above 0: --stds exp or softplus"
                    )
                values = np.log(values)
            case "softplus":
                with np.errstate(divide="ignore"):
                    values = np.log(np.logaddexp(0, values))
        if stds is None:
            log(f"{name} holds the {what} themselves (assumed; else --stds exp or softplus)")
    return np.asarray(values / 2 if variance else values, np.float32)


def _log_var(name: str) -> bool | None:
    """Return True if a name means a log-variance, False if a log-std, and None if no logarithm."""
    words = _words(name)
    text = "".join(re.findall("[a-z]+", name.lower()))
    squared = r"log_?(std|sd|sigma|scale)_?sq|log_?sigma2(?!\d)"
    if "lv" in words or re.search("logvar", text) or re.search(squared, name.lower()):
        return True
    return False if re.search("log(std|sd|sigma|scale)", text) else None


def _kind(name: str) -> str:
    """Return `spread` or `mean` if a name means one."""
    words = _words(name)
    spread = _log_var(name) is not None or bool(words & set(SPREAD))
    return "spread" if spread else "mean" if words & set(MEAN) else ""


def _words(name: str) -> set[str]:
    """Return the words of a name, in lower case and the singular."""
    words: Iterable[str] = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    return {word.lower().removesuffix("s") for word in words}
