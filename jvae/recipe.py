"""Recipe: what is trained, as a value. Nothing downstream depends on how it was made."""

from collections.abc import Callable
from typing import NamedTuple

import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PyTree

from jvae.bounds import Bound, elbo, iwae, monte_carlo_elbo
from jvae.errors import at_least_one, check_hashable, shown
from jvae.gradients import ELBO_ESTIMATORS, IWAE_ESTIMATORS, Estimator
from jvae.transforms import Transform
from jvae.vae import VAE, HierarchicalVAE

KlWeight = Callable[[Int[Array, ""]], Float[Array, ""]]
"""The step, from 0 -> the weight of the KL."""
Start = Callable[[PyTree, Key[Array, ""], Float[Array, "n ..."]], PyTree]
"""`(params, key, x[n, ...]) -> params`."""


class Recipe(NamedTuple):
    """A model, the transform of its data, the bound to maximise and the optimizer that does so."""

    model: VAE
    """Prior, decoder and encoder: `(key, x[b, ...]) -> LogDensities[b]`."""
    transform: Transform
    """`(key, uint8[b, ...]) -> x[b, ...]`, data of any rank."""
    bound: Bound
    """`LogDensities[k, b] -> [b]`, in nats per datum; maximised."""
    optimizer: optax.GradientTransformation
    """Minimises the loss, -mean(bound)."""
    num_samples: int = 1
    """K, the draws z ~ q(z|x) per datum in a training step."""
    kl_weight: KlWeight | None = None
    """Step -> w; the step calls bound(d._replace(kl=w * d.kl)), while the metrics read d itself. None: no weight."""
    start: Start | None = None
    """`(params, key, x[n, ...]) -> params`: an initialisation from data, such as of pseudo-inputs or an output bias.
    Called once, after init, with at most 10,000 training data in random order; never on load."""
    estimator: Estimator | None = None
    """Another gradient of the same bound, such as STL, RLOO or DReG from `jvae.gradients`; None: the bound's own."""
    unit: str = "nats per datum"
    """What the numbers of the bound are, in words."""


def check_recipe(recipe: Recipe) -> None:
    """Raise a ValueError unless the recipe's parts are what they must be, and fit each other."""
    if not isinstance(recipe.model, nn.Module):
        raise ValueError(f"model is {shown(recipe.model)}: must be a jvae.VAE")
    upper = "prior" if isinstance(recipe.model, HierarchicalVAE) else None
    for name in ("prior", "decoder", "encoder") if isinstance(recipe.model, VAE) else ():
        part, kind = getattr(recipe.model, name), VAE if name == upper else nn.Module
        if part is not None and not isinstance(part, kind):
            raise ValueError(f"model.{name} is {shown(part)}: must be a {'VAE' if name == upper else 'Flax module'}")
    check_hashable("model", recipe.model)
    if not (hasattr(recipe.optimizer, "init") and hasattr(recipe.optimizer, "update")):
        raise ValueError(f"optimizer is {shown(recipe.optimizer)}: must be optax's, such as optax.adam(1e-3)")
    for name in ("transform", "bound", "kl_weight", "start", "estimator"):
        part = getattr(recipe, name)
        if not callable(part) and (part is not None or name in ("transform", "bound")):
            raise ValueError(f"{name} is {shown(part)}: must be a function")
    at_least_one("num_samples", recipe.num_samples)
    if not isinstance(recipe.unit, str):
        raise ValueError(f"unit is {shown(recipe.unit)}: must be words")
    if recipe.kl_weight is not None and recipe.bound in (iwae, monte_carlo_elbo):
        raise ValueError(f"kl_weight must be None with the bound {recipe.bound.__name__}, which does not read the KL")
    if recipe.estimator is None:
        return
    if recipe.model.num_levels > 1:
        raise ValueError(f"estimator needs a model of one level, not {recipe.model.num_levels}")
    if recipe.kl_weight is not None:
        raise ValueError("estimator takes no KL weight: kl_weight must be None")
    for bound, estimators in ((elbo, ELBO_ESTIMATORS), (iwae, IWAE_ESTIMATORS)):
        if recipe.estimator in estimators.values() and recipe.bound is not bound:
            raise ValueError(f"estimator is of the bound {bound.__name__}: bound must be jvae.bounds.{bound.__name__}")
