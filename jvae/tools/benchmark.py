"""Benchmarks: the time of a training step on this machine, of its matrix products, and how near it comes to the peak.

A step's matrix products are read from its program: their FLOPs are counted from their shapes, and each shape is timed
on its own in the same process. Their sum is a lower limit of the step's time.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, Float, UInt8

from jvae.runs.conditions import DEFAULT
from jvae.runs.config import Config
from jvae.runs.ensemble import (
    RecipeOf,
    block_of,
    init_states,
    make_chunk,
    make_numbers,
    make_recipe_of,
    make_step_of,
    resident_batches,
)
from jvae.runs.memory import used_bytes
from jvae.runs.numbers import RunNumbers
from jvae.runs.plan import Plan, plan_of
from jvae.runs.recipe_file import OwnRecipe
from jvae.runs.training import choose_together
from jvae.training import Batch, TrainStep, init_step_metrics, steps_per_epoch

LARGE = 2048
CHUNK_SECONDS = 0.5


class Shape(NamedTuple):
    """A matrix product a[i, k] @ b[k, j]."""

    i: int
    k: int
    j: int
    dtype: str

    @property
    def flops(self) -> int:
        """The FLOPs: a multiplication and an addition for every i, k and j."""
        return 2 * self.i * self.k * self.j


class Timing(NamedTuple):
    """The time of a repeated measurement, in seconds."""

    median: float
    low: float
    """The first quartile."""
    high: float
    """The third."""


class Measurement(NamedTuple):
    """A training step of all runs together."""

    batch_size: int
    runs: int
    precision: str
    """The precision of the operands of its matrix products."""
    compile_seconds: float
    step: Timing
    images_per_second: float
    """The images per second of all runs."""
    products: float
    """The seconds of a step's matrix products, each shape timed on its own."""
    product_flops: int
    """The FLOPs of a step's matrix products, counted from their shapes."""
    xla_flops: float | None
    """The FLOPs of a step by XLA's own analysis; None if it has none."""
    memory: int | None
    """The bytes of one run's step: state, which is updated in place, batch and temporaries; None if XLA tells none."""
    peak: float
    """The FLOP/s of a large square product in the same precision."""

    @property
    def achieved(self) -> float:
        """The FLOP/s of the step's matrix products over the whole step's time."""
        return self.product_flops / self.step.median


class Training(NamedTuple):
    """The training to time: runs of a recipe on data."""

    recipe_of: RecipeOf
    numbers: RunNumbers
    """The runs' numbers, with an axis of runs."""
    batch_size: int
    data: UInt8[np.ndarray, "n ..."]

    @property
    def runs(self) -> int:
        """The number of runs."""
        return len(self.numbers.learning_rate)


class CompiledChunk(NamedTuple):
    """A compiled chunk of an epoch, which can be run repeatedly."""

    program: str
    """The compiled program, as text."""
    compile_seconds: float
    take: Callable[[int], float]
    """Takes a number of an epoch's steps, and returns the elapsed seconds."""
    most: int
    """The number of an epoch's steps."""

    def step_seconds(self, steps: int) -> float:
        """Time one step by the difference of a long and a short chunk, which leaves out the epoch's shuffle."""
        return (self.take(1 + steps) - self.take(1)) / steps


def training_of(config: Config, data: UInt8[np.ndarray, "n ..."], own: OwnRecipe | None = None) -> Training:
    """Return the training of a configuration, or of a recipe file with it, on data.

    Raises:
        ValueError: the configuration does not fit the data.
    """
    seeds, runs = plan_of(config).seeds, config.runs
    steps = steps_per_epoch(len(data), config.batch_size)
    numbers = make_numbers(seeds, [config.learning_rate] * runs, [config.beta] * runs)
    return Training(make_recipe_of(config, data.shape[1:], steps, own), numbers, config.batch_size, data)


def compile_chunk(training: Training) -> CompiledChunk:
    """Compile the training of all runs.

    Raises:
        ValueError: the recipe does not fit the data.
        NotEnoughMemoryError: the runs do not fit in memory.
    """
    recipe_of, numbers, batch_size, data = training
    num_steps = steps_per_epoch(len(data), batch_size)
    at_a_time, _ = choose_together(recipe_of, numbers, Plan(1, batch_size), data[:0], len(data), False, DEFAULT)
    states, resident = init_states(recipe_of(None), numbers, data, np.arange(len(data))), jnp.asarray(data)
    chunk = make_chunk(recipe_of, resident_batches(batch_size), at_a_time, None, block_of(jax.default_backend()))
    record = init_step_metrics(states, num_steps)
    started = time.perf_counter()
    compiled = jax.jit(chunk, donate_argnums=0).lower(states, numbers, resident, (), record, 0, num_steps).compile()
    compile_seconds = time.perf_counter() - started

    def take(steps: int) -> float:
        nonlocal states
        started = time.perf_counter()
        states, metrics = compiled(states, numbers, resident, (), record, jnp.int32(0), jnp.int32(steps))
        jax.block_until_ready((states, metrics))
        return time.perf_counter() - started

    return CompiledChunk(compiled.as_text() or "", compile_seconds, take, num_steps)


def measure(training: Training, repeats: int) -> Measurement:
    """Time the training step of all runs.

    Raises:
        ValueError: the recipe does not fit the data.
    """
    chunk = compile_chunk(training)
    chunk.take(1)
    few = min(chunk.most - 1, 4)
    steps = max(1, min((chunk.most - 1) // 2, round(CHUNK_SECONDS * few / chunk.take(few))))
    step = timing([chunk.step_seconds(steps) for _ in range(repeats)])
    counted = step_products(training)
    times = {shape: time_product(shape, repeats).median for shape in counted}
    flops = {shape: count * shape.flops for shape, count in counted.items()}
    if not counted:
        raise ValueError("the recipe's step has no product of matrices, by which its speed is measured")
    precision = max(counted, key=lambda shape: flops[shape]).dtype
    return Measurement(
        training.batch_size,
        training.runs,
        precision,
        chunk.compile_seconds,
        step,
        training.runs * training.batch_size / step.median,
        training.runs * sum(count * times[shape] for shape, count in counted.items()),
        training.runs * sum(flops.values()),
        *analysis_of(training),
        peak=(large := Shape(LARGE, LARGE, LARGE, precision)).flops / time_product(large, repeats).median,
    )


def timing(seconds: list[float]) -> Timing:
    """Return the median and the quartiles."""
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
    return Timing(median, low, high)


def one_step(training: Training) -> tuple[TrainStep, tuple]:
    """Return a single run's step, and arguments for it."""
    recipe_of, numbers, batch_size, data = training
    first = jax.tree.map(lambda leaf: leaf[:1], numbers)
    states = init_states(recipe_of(None), first, data, np.arange(len(data)))
    number, state = jax.tree.map(lambda leaf: leaf[0], (first, states))
    batch = Batch(jnp.asarray(data[:batch_size]), jnp.ones(batch_size))
    return make_step_of(recipe_of, None)(number), (state, number.key, batch)


def step_products(training: Training) -> Counter[Shape]:
    """Return the matrix products of one run's step, with their counts."""
    step, arguments = one_step(training)
    program = jax.make_jaxpr(step)(*arguments).jaxpr
    needed, _ = dce_jaxpr(program, [True] * len(program.outvars))  # without dead code, which the compiler leaves out
    return Counter(products_in(needed, 1))


def products_in(jaxpr: Any, times: int) -> Iterator[Shape]:
    """Yield the matrix products of a program and of the programs in it; those of a loop once per iteration.

    A convolution counts as the product of its unfolded windows, without the zeros of padding and dilation.
    """
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield from [convolution_shape(equation)] * times
        if equation.primitive.name == "dot_general":
            a, b = (operand.aval for operand in equation.invars)
            (contracted, _), (batched, _) = equation.params["dimension_numbers"]
            k, many = (math.prod(a.shape[axis] for axis in axes) for axes in (contracted, batched))
            shape = Shape(a.size // (k * many), k, b.size // (k * many), str(a.dtype))
            if min(shape.i, shape.j) > 1:  # a matrix-vector product is not counted
                yield from [shape] * (many * times)
        length = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                program = getattr(inner, "jaxpr", inner)
                if hasattr(program, "eqns"):
                    yield from products_in(program, times * length)


def convolution_shape(equation: Any) -> Shape:
    """Return the product that has a convolution's multiplications: [windows, what is in one] by [.., channels]."""
    (image, kernel), result = (operand.aval.shape for operand in equation.invars), equation.outvars[0].aval
    numbers, params = equation.params["dimension_numbers"], equation.params
    channels, features, *axes = numbers.rhs_spec
    inside = kernel[features]  # the values of a window that are not zeros, on average
    for d, axis in enumerate(axes):
        place = np.add.outer(
            np.arange(result.shape[numbers.out_spec[2 + d]]) * params["window_strides"][d],
            np.arange(kernel[axis]) * params["rhs_dilation"][d] - params["padding"][d][0],
        )
        end = (image[numbers.lhs_spec[2 + d]] - 1) * params["lhs_dilation"][d]
        inside *= np.sum((place >= 0) & (place <= end) & (place % params["lhs_dilation"][d] == 0)) / len(place)
    dtype = str(equation.invars[1].aval.dtype)
    return Shape(result.size // kernel[channels], max(1, round(inside)), kernel[channels], dtype)


@partial(jax.jit, static_argnums=2)
def product(a: Float[Array, "i k"], b: Float[Array, "k j"], dtype: str) -> Float[Array, "i j"]:
    """Return a @ b in the given precision with float32 operands in memory, as in a step."""
    return jax.lax.dot(a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32)


def time_product(shape: Shape, repeats: int) -> Timing:
    """Time one product, including its whole result."""
    keys = jax.random.split(jax.random.key(0))
    a, b = jax.random.normal(keys[0], (shape.i, shape.k)), jax.random.normal(keys[1], (shape.k, shape.j))
    jax.block_until_ready(product(a, b, shape.dtype))
    started = time.perf_counter()
    jax.block_until_ready(product(a, b, shape.dtype))
    count = max(1, min(200, round(0.02 / (time.perf_counter() - started))))
    seconds = []
    for _ in range(max(3, repeats)):
        started = time.perf_counter()
        for _ in range(count):
            result = product(a, b, shape.dtype)
        jax.block_until_ready(result)
        seconds.append((time.perf_counter() - started) / count)
    return timing(seconds)


def analysis_of(training: Training) -> tuple[float | None, int | None]:
    """Return XLA's own count of a step's FLOPs, for all runs, and the bytes that one run's step needs."""
    step, arguments = one_step(training)
    compiled = jax.jit(step, donate_argnums=0).lower(*arguments).compile()
    cost = compiled.cost_analysis()
    flops = None if not cost or "flops" not in cost else training.runs * float(cost["flops"])
    return flops, used_bytes(compiled)
