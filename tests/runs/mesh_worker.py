"""Train one configuration over every mesh of 8 simulated devices, and save each mesh's runs.

Run it with JAX_NUM_CPU_DEVICES=8: the number of simulated CPU devices is fixed when jax starts.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from jvae.data.datasets import load_dataset
from jvae.runs import api
from jvae.runs.archive import named_arrays
from jvae.runs.config import Config
from jvae.runs.mesh import MeshShape, choose_mesh

MESHES = [None, MeshShape(1, 1), MeshShape(2, 1), MeshShape(1, 2), MeshShape(2, 4), MeshShape(8, 1), MeshShape(1, 8)]

if __name__ == "__main__":
    digits = load_dataset("digits")
    data = digits._replace(train_images=digits.train_images[:100])
    config = Config(
        dataset="digits", latent_dim=2, epochs=2, batch_size=32, hidden=(8, 8), runs=8, prior="mog", num_components=3
    )
    for shape, stream in [*((shape, False) for shape in MESHES), (MeshShape(2, 4), True)]:
        mesh = None if shape is None else choose_mesh(shape, config.runs, config.batch_size, jax.devices())
        *_, model = api.train_config_epochs(config, data, how=api.Conditions(mesh, stream))
        used = {device.id for leaf in jax.tree.leaves(model.run_params()) for device in leaf.devices()}
        assert len(used) == (1 if shape is None else shape.runs * shape.data), (shape, used)
        np.savez(Path(sys.argv[1], f"{shape}{',stream' * stream}.npz"), **named_arrays(model.params))
