"""jvae: train, compare and understand variational autoencoders in JAX.

The names below are the public ones, documented in the package's README.md; each is imported when it is first used, so
that `import jvae` imports nothing heavy. The root holds the model and what is done with it, `nn` holds networks, `data`
the data sets, `runs` configurations and trained models, `view` pictures and pages, `tools` the benchmark and the bridge
to PyTorch, `cli` the command line.
"""

import sys
from importlib import import_module

TYPE_CHECKING = False
"""As in `typing`, whose import takes long enough for Ctrl-C to arrive before `__main__` handles it."""

if TYPE_CHECKING:  # for type checkers and editors; `_PLACES` says the same at run time
    from typing import Any

    from jvae.bounds import LogDensities as LogDensities, elbo as elbo, iwae as iwae
    from jvae.data.dataset import Dataset as Dataset, make_dataset as make_dataset
    from jvae.data.datasets import load_dataset as load_dataset
    from jvae.decoders import (
        BernoulliDecoder as BernoulliDecoder,
        ContinuousBernoulliDecoder as ContinuousBernoulliDecoder,
        GaussianDecoder as GaussianDecoder,
    )
    from jvae.encoders import GaussianEncoder as GaussianEncoder
    from jvae.nn.networks import MLP as MLP, ConvDecoderNet as ConvDecoderNet, ConvEncoderNet as ConvEncoderNet
    from jvae.priors import (
        FlowPrior as FlowPrior,
        GaussianPrior as GaussianPrior,
        MoGPrior as MoGPrior,
        VampPrior as VampPrior,
    )
    from jvae.recipe import Recipe as Recipe
    from jvae.runs.api import (
        decode as decode,
        diagnose as diagnose,
        encode as encode,
        evaluate as evaluate,
        sample as sample,
        train as train,
        train_config as train_config,
        train_config_epochs as train_config_epochs,
        train_epochs as train_epochs,
    )
    from jvae.runs.checkpoint import TrainedModel as TrainedModel, load as load, save as save
    from jvae.runs.config import Config as Config, build_recipe as build_recipe
    from jvae.transforms import (
        binarise as binarise,
        dequantise as dequantise,
        rescale as rescale,
        stochastic_binarise as stochastic_binarise,
    )
    from jvae.vae import VAE as VAE, HierarchicalVAE as HierarchicalVAE
    from jvae.view import pictures as pictures

_PLACES = {
    "vae": ("VAE", "HierarchicalVAE"),
    "priors": ("GaussianPrior", "MoGPrior", "VampPrior", "FlowPrior"),
    "encoders": ("GaussianEncoder",),
    "decoders": ("BernoulliDecoder", "GaussianDecoder", "ContinuousBernoulliDecoder"),
    "nn.networks": ("MLP", "ConvEncoderNet", "ConvDecoderNet"),
    "bounds": ("LogDensities", "elbo", "iwae"),
    "transforms": ("binarise", "stochastic_binarise", "rescale", "dequantise"),
    "recipe": ("Recipe",),
    "data.dataset": ("Dataset", "make_dataset"),
    "data.datasets": ("load_dataset",),
    "runs.config": ("Config", "build_recipe"),
    "runs.checkpoint": ("TrainedModel", "load", "save"),
    "runs.api": (
        "train",
        "train_epochs",
        "train_config",
        "train_config_epochs",
        "evaluate",
        "diagnose",
        "encode",
        "decode",
        "sample",
    ),
}
"""Module -> its public names."""
_MODULE_OF = {name: f"jvae.{module}" for module, names in _PLACES.items() for name in names}
__all__ = [*_MODULE_OF, "pictures"]


class _GiveBeforeImport:
    """An import hook that restores a deprecated name of `jax.core` just before TFP, which distrax needs, is imported.

    TFP registers an array type under that name; nothing here uses it.
    """

    reader, name = "tensorflow_probability.substrates.jax", "pytype_aval_mappings"

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Find no module; when TFP is about to be imported, set the name and remove this hook."""
        if fullname == self.reader:
            sys.meta_path.remove(self)
            import warnings

            import jax.core
            import numpy as np

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                table = getattr(jax.core, self.name, {np.ndarray: np.asarray})
            setattr(jax.core, self.name, table)


if _GiveBeforeImport.reader not in sys.modules:
    sys.meta_path.insert(0, _GiveBeforeImport())


def __getattr__(name: str) -> "Any":
    """Import a public name on first access (PEP 562)."""
    if name == "pictures":
        return import_module("jvae.view.pictures")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'jvae' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    """Return the public names and the module's own globals."""
    return sorted({*globals(), *__all__})
