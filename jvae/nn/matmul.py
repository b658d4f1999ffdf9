"""Matmul: the matrix products of a network, in float32 or with bfloat16 operands."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, BFloat16, Float

Matmul = Callable[[Float[Array, "i k"], Float[Array, "k j"]], Float[Array, "i j"]]
"""`(a[i, k], b[k, j]) -> a @ b`, from float32 to float32."""


def float32(a: Float[Array, "i k"], b: Float[Array, "k j"]) -> Float[Array, "i j"]:
    """Return a @ b."""
    return a @ b


def make_bfloat16_matmul(
    dot: Callable[[BFloat16[Array, "i k"], BFloat16[Array, "k j"]], Float[Array, "i j"]],
) -> Matmul:
    """Return a function (a, b) -> a @ b that rounds operands to bfloat16 and sums in float32, also in its gradient.

    Parameters and everything between the products stay float32. Matrix units (AMX on a CPU, tensor cores) are faster
    with bfloat16 operands. If the *result* were bfloat16 too, a CPU would lose that speed, and every device digits.

    Args:
        dot: `(a[i, k], b[k, j]) -> a @ b`, from bfloat16 to float32.
    """

    @jax.custom_vjp
    def matmul(a: Array, b: Array) -> Array:
        return dot(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16))

    def backward(operands: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
        a, b = operands
        return matmul(gradient, b.T), matmul(a.T, gradient)

    matmul.defvjp(lambda a, b: (matmul(a, b), (a, b)), backward)
    return matmul


def dot_on_matrix_unit(a: BFloat16[Array, "i k"], b: BFloat16[Array, "k j"]) -> Float[Array, "i j"]:
    """Return a @ b computed by a matrix unit, with sums in float32."""
    return jax.lax.dot(a, b, preferred_element_type=jnp.float32)


def dot_in_float32(a: BFloat16[Array, "i k"], b: BFloat16[Array, "k j"]) -> Float[Array, "i j"]:
    """Return a @ b without a matrix unit: XLA's CPU backend uses none for transposed bfloat16 operands."""
    return a.astype(jnp.float32) @ b.astype(jnp.float32)


bfloat16 = make_bfloat16_matmul(dot_on_matrix_unit)
"""The matmul of networks whose batch is the first axis."""
bfloat16_columns = make_bfloat16_matmul(
    lambda a, b: jax.lax.platform_dependent(a, b, cpu=dot_in_float32, default=dot_on_matrix_unit)
)
"""The matmul of networks whose batch is the last axis, which transpose their kernels."""
