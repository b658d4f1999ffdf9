"""A process that takes training steps of the exercise's model on request, and prints how long one takes.

    python -m experiments.peers.steps mlp 128 --precision bfloat16 --flat

Each line of its input is about how many seconds to fill; each line of its output is the seconds that a step took.
"""

import sys
import time
from functools import partial

import click
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, UInt8

from jvae.runs.config import Config, build_recipe
from jvae.training import StepMetrics, TrainState, init_state, init_step_metrics, make_train_step, shuffled, take_steps

SHAPE, COUNT, LATENT_DIM = (28, 28, 1), 60_000, 10
"""MNIST's shape and size, since a step takes as long on any pixels; and the exercise's M."""


@click.command()
@click.argument("network")
@click.argument("batch_size", type=int)
@click.option("--precision", default="float32")
@click.option("--flat", is_flag=True, help="the optimizer sees all parameters as one array")
def steps(network: str, batch_size: int, precision: str, flat: bool) -> None:
    """Answer every line on stdin with the seconds that a step took."""
    config = Config.from_dict(
        {"network": network, "precision": precision, "latent_dim": LATENT_DIM, "batch_size": batch_size}
    )
    recipe = build_recipe(config, SHAPE, -(-COUNT // batch_size))
    if flat:
        recipe = recipe._replace(optimizer=optax.flatten(recipe.optimizer))
    data = jnp.asarray(np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), np.uint8))
    key, step = jax.random.key(1), make_train_step(recipe)
    state = init_state(recipe, jax.random.key(0), SHAPE)
    metrics = init_step_metrics(state, -(-COUNT // batch_size))

    @partial(jax.jit, donate_argnums=0)
    def take(
        state: TrainState, metrics: StepMetrics, data: UInt8[Array, "n ..."], stop: Int[Array, ""]
    ) -> tuple[TrainState, StepMetrics]:
        return take_steps(step, state, key, metrics, 0, stop, shuffled(key, 0 * state.step, data, batch_size))

    state, _ = jax.block_until_ready(take(state, metrics, data, 1))
    stop = 1
    for line in sys.stdin:
        began = time.perf_counter()
        state, _ = jax.block_until_ready(take(state, metrics, data, stop))
        taken = (time.perf_counter() - began) / stop
        print(taken, flush=True)
        stop = max(1, min(len(metrics.sizes), round(float(line) / taken)))


if __name__ == "__main__":
    steps()
