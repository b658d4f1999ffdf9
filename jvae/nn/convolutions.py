"""Convolutions with 4x4 kernels, stride 2 and padding 1, as matrix products; they halve and double an image.

They compute the same as PyTorch's Conv2d and ConvTranspose2d(4, 2, 1). The batch is the last axis, so that every
rearrangement of pixels moves whole rows of memory. XLA's own convolution is slow on a CPU inside a scan, and slower
under vmap. kernel[i, j, c, f] is the weight of row i, column j and channel c for feature f.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jvae.nn.initializers import uniform_fan_in
from jvae.nn.matmul import Matmul, float32

TAPS = ((1, 1), (3, 0)), ((2, 1), (0, 2))
"""For the even and the odd output rows of a transposed convolution, its two pairs (kernel row, input shift)."""
FEW = 8


def conv(
    x: Float[Array, "c h w b"], kernel: Float[Array, "4 4 c f"], matmul: Matmul = float32
) -> Float[Array, "f rows columns b"]:
    """Halve an image, h x w to h//2 x w//2.

    y[f, r, s] = sum_{i, j, c} kernel[i, j, c, f] x[c, 2r + i - 1, 2s + j - 1], where x is 0 outside.
    """
    _, h, w, b = x.shape
    return matmul(weights_of(kernel).T, patches(x)).reshape(-1, h // 2, w // 2, b)


def patches(x: Float[Array, "c h w b"]) -> Float[Array, "k n"]:
    """Return the k = 16c inputs of each of the n = h//2 * w//2 * b outputs of `conv`."""
    c, h, w, b = x.shape
    rows, columns = h // 2, w // 2
    # In blocks of 2x2 pixels the kernel is 2x2 with stride 1: four shifted views of the blocks cover the whole kernel.
    x = jnp.pad(x, ((0, 0), (1, 2 * rows + 1 - h), (1, 2 * columns + 1 - w), (0, 0)))
    blocks = x.reshape(c, rows + 1, 2, columns + 1, 2, b).transpose(2, 4, 0, 1, 3, 5)
    views = jnp.stack([blocks[:, :, :, i : i + rows, j : j + columns] for i in (0, 1) for j in (0, 1)])
    return views.reshape(16 * c, -1)


def weights_of(kernel: Float[Array, "4 4 c f"]) -> Float[Array, "k f"]:
    """Return a kernel as a matrix, in the order of `patches`."""
    *_, c, f = kernel.shape
    return kernel.reshape(2, 2, 2, 2, c, f).transpose(0, 2, 1, 3, 4, 5).reshape(16 * c, f)


def kernel_of(weights: Float[Array, "k f"]) -> Float[Array, "4 4 c f"]:
    """Return a matrix as a kernel: the inverse of `weights_of`."""
    c, f = weights.shape[0] // 16, weights.shape[1]
    return weights.reshape(2, 2, 2, 2, c, f).transpose(0, 2, 1, 3, 4, 5).reshape(4, 4, c, f)


def conv_transpose(
    x: Float[Array, "c h w b"], kernel: Float[Array, "4 4 c f"], matmul: Matmul = float32
) -> Float[Array, "f rows columns b"]:
    """Double an image, h x w to 2h x 2w: the transpose of `conv`.

    y[f, 2r + i - 1, 2s + j - 1] sums kernel[i, j, c, f] x[c, r, s] over all r, s, i, j and c that meet there.
    """
    return scatter(x, kernel, matmul) if kernel.shape[-1] < FEW else gather(x, kernel, matmul)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def gather(
    x: Float[Array, "c h w b"], kernel: Float[Array, "4 4 c f"], matmul: Matmul = float32
) -> Float[Array, "f rows columns b"]:
    """Compute `conv_transpose` by output: each output in a 2x2 block depends on its own 2x2 pixels of x."""
    (c, h, w, b), f = x.shape, kernel.shape[-1]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def outputs(rows: Sequence[tuple[int, int]], columns: Sequence[tuple[int, int]]) -> Float[Array, "f h w b"]:
        weights = jnp.concatenate([kernel[i, j] for i, _ in rows for j, _ in columns])
        views = jnp.concatenate([x[:, r : r + h, s : s + w] for _, r in rows for _, s in columns])
        return matmul(weights.T, views.reshape(4 * c, -1)).reshape(f, h, w, b)

    y = jnp.stack([jnp.stack([outputs(rows, columns) for columns in TAPS], axis=3) for rows in TAPS], axis=2)
    return y.reshape(f, 2 * h, 2 * w, b)


def gather_backward(
    matmul: Matmul,
    operands: tuple[Float[Array, "c h w b"], Float[Array, "4 4 c f"]],
    gradient: Float[Array, "f rows columns b"],
) -> tuple[Float[Array, "c h w b"], Float[Array, "4 4 c f"]]:
    """Return the gradients by two matrix products, since `conv` is the transpose; the four blocks would take eight."""
    x, kernel = operands
    seen = patches(gradient)
    dx = matmul(weights_of(kernel.swapaxes(2, 3)).T, seen).reshape(x.shape)
    return dx, kernel_of(matmul(seen, x.reshape(x.shape[0], -1).T)).swapaxes(2, 3)


gather.defvjp(lambda x, kernel, matmul: (gather(x, kernel, matmul), (x, kernel)), gather_backward)


def scatter(
    x: Float[Array, "c h w b"], kernel: Float[Array, "4 4 c f"], matmul: Matmul = float32
) -> Float[Array, "f rows columns b"]:
    """Compute `conv_transpose` by input: every pixel of x adds to 4x4 outputs. It moves less memory if f is small."""
    (c, h, w, b), f = x.shape, kernel.shape[-1]
    terms = matmul(weights_of(kernel.swapaxes(2, 3)), x.reshape(c, -1)).reshape(2, 2, 2, 2, f, h, w, b)

    def moved(i: int, j: int) -> Float[Array, "2 2 f rows columns b"]:
        return jnp.pad(terms[i, j], ((0, 0), (0, 0), (0, 0), (i, 1 - i), (j, 1 - j), (0, 0)))

    blocks = moved(0, 0) + moved(0, 1) + moved(1, 0) + moved(1, 1)
    y = blocks.transpose(2, 3, 0, 4, 1, 5).reshape(f, 2 * h + 2, 2 * w + 2, b)
    return y[:, 1:-1, 1:-1]


class Linear(nn.Module):
    """The affine layer kernel.T @ x + bias with the batch as the last axis, initialised as PyTorch's `nn.Linear`."""

    features: int
    """f, the number of outputs."""
    matmul: Matmul = float32
    """The product kernel.T @ x."""

    @nn.compact
    def __call__(self, x: Float[Array, "c b"]) -> Float[Array, "f b"]:
        """Map every column."""
        c, f = x.shape[0], self.features
        init = uniform_fan_in(c)
        y = self.matmul(self.param("kernel", init, (c, f)).T, x)
        return y + self.param("bias", init, (f,))[:, None]


class Conv(nn.Module):
    """`conv` with a learned kernel and bias, initialised as PyTorch's Conv2d: +-1/sqrt(16 c)."""

    features: int
    """f, the number of output channels."""
    matmul: Matmul = float32
    """The matrix product that computes the convolution."""

    @nn.compact
    def __call__(self, x: Float[Array, "c h w b"]) -> Float[Array, "f rows columns b"]:
        """Halve the image."""
        c, f = x.shape[0], self.features
        init = uniform_fan_in(16 * c)
        y = conv(x, self.param("kernel", init, (4, 4, c, f)), self.matmul)
        return y + self.param("bias", init, (f,))[:, None, None, None]


class ConvTranspose(nn.Module):
    """`conv_transpose` with a learned kernel and bias, initialised as PyTorch's ConvTranspose2d: +-1/sqrt(16 f)."""

    features: int
    """f, the number of output channels."""
    matmul: Matmul = float32
    """The matrix products that compute the transposed convolution."""

    @nn.compact
    def __call__(self, x: Float[Array, "c h w b"]) -> Float[Array, "f rows columns b"]:
        """Double the image."""
        c, f = x.shape[0], self.features
        init = uniform_fan_in(16 * f)  # PyTorch's fan-in of a transposed convolution counts the features, not c
        y = conv_transpose(x, self.param("kernel", init, (4, 4, c, f)), self.matmul)
        return y + self.param("bias", init, (f,))[:, None, None, None]
