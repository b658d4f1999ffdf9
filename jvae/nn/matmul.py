"""Matrix products, the one thing that a network's time goes into, in the precision of choice."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, BFloat16, Float

Product = Callable[[Float[Array, "i k"], Float[Array, "k j"]], Float[Array, "i j"]]


def float32(a: Float[Array, "i k"], b: Float[Array, "k j"]) -> Float[Array, "i j"]:
    """A @ b."""
    return a @ b


def make_rounded(dot: Callable[[BFloat16[Array, "i k"], BFloat16[Array, "k j"]], Float[Array, "i j"]]) -> Product:
    """A @ b with operands rounded to bfloat16 and sums in float32, as are the products of its gradient.

    Parameters and everything between the products stay float32. Matrix units (AMX of a CPU, tensor cores) are faster
    so; a product whose *result* is bfloat16 too would lose that on a CPU, and digits everywhere.
    """

    @jax.custom_vjp
    def rounded(a: Array, b: Array) -> Array:
        return dot(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16))

    def forward(a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
        return rounded(a, b), (a, b)

    def backward(operands: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
        a, b = operands
        return rounded(gradient, b.T), rounded(a.T, gradient)

    rounded.defvjp(forward, backward)
    return rounded


def accumulated(a: BFloat16[Array, "i k"], b: BFloat16[Array, "k j"]) -> Float[Array, "i j"]:
    """A @ b by a matrix unit, with sums in float32."""
    return jax.lax.dot(a, b, preferred_element_type=jnp.float32)


def widened(a: BFloat16[Array, "i k"], b: BFloat16[Array, "k j"]) -> Float[Array, "i j"]:
    """The same numbers without a matrix unit: XLA's CPU backend has none for transposed bfloat16 operands."""
    return a.astype(jnp.float32) @ b.astype(jnp.float32)


bfloat16 = make_rounded(accumulated)
bfloat16_of_columns = make_rounded(lambda a, b: jax.lax.platform_dependent(a, b, cpu=widened, default=accumulated))
"""For networks whose batch is the last axis, which transpose their kernels."""
