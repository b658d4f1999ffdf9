"""Networks, array -> array: what stands between x and the parameters of q(z|x), and between z and those of p(x|z)."""

import math
from collections.abc import Sequence

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from jvae.nn.convolutions import Conv, ConvTranspose, Linear
from jvae.nn.initializers import uniform_fan_in
from jvae.nn.matmul import Matmul, float32

CHANNELS = (32, 64)
HIDDEN = 256


class Dense(nn.Module):
    """The affine layer x @ kernel + bias, started by `init`, or else as PyTorch starts `nn.Linear`."""

    features: int
    matmul: Matmul = float32
    init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b f"]:
        """Map every row."""
        init = self.init or uniform_fan_in(x.shape[1])
        y = self.matmul(x, self.param("kernel", init, (x.shape[1], self.features)))
        return y + self.param("bias", init, (self.features,))


class MLP(nn.Module):
    """A fully connected network with ReLUs: flattens each datum, and shapes its output."""

    hidden: Sequence[int]
    """The widths of the hidden layers."""
    out_shape: Sequence[int]
    zero_output: bool = False
    """Start the last layer at zero, so that the network starts as the zero function."""
    matmul: Matmul = float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *in_shape"]) -> Float[Array, "b *out_shape"]:
        """Map a batch of data to a batch of outputs."""
        h = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            h = nn.relu(Dense(width, self.matmul, name=f"linear_{i}")(h))
        init = nn.initializers.zeros if self.zero_output else None
        h = Dense(math.prod(self.out_shape), self.matmul, init, name=f"linear_{len(self.hidden)}")(h)
        return h.reshape(x.shape[0], *self.out_shape)


class ConvEncoderNet(nn.Module):
    """A convolutional network, image -> numbers: two convolutions that halve the image, and two linear layers."""

    out_shape: Sequence[int]
    matmul: Matmul = float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b *out_shape"]:
        """Map a batch of images of at least 4x4 pixels to a batch of outputs."""
        h = x.transpose(3, 1, 2, 0)
        for i, channels in enumerate(CHANNELS):
            h = nn.relu(Conv(channels, self.matmul, name=f"conv_{i}")(h))
        h = nn.relu(Linear(HIDDEN, self.matmul, name="linear_0")(h.reshape(-1, x.shape[0])))
        h = Linear(math.prod(self.out_shape), self.matmul, name="linear_1")(h)
        return h.T.reshape(x.shape[0], *self.out_shape)


class ConvDecoderNet(nn.Module):
    """A convolutional network, z -> image: two linear layers, and two transposed convolutions that double the image.

    It starts from ceil(h/4) x ceil(w/4) pixels, and the image's own h x w are cut from what comes out.
    """

    out_shape: Sequence[int]
    """The image's (h, w, c)."""
    matmul: Matmul = float32

    @nn.compact
    def __call__(self, z: Float[Array, "b m"]) -> Float[Array, "b h w c"]:
        """Map a batch of latents to a batch of images."""
        height, width, channels = self.out_shape
        start = (CHANNELS[-1], math.ceil(height / 4), math.ceil(width / 4))
        h = nn.relu(Linear(HIDDEN, self.matmul, name="linear_0")(z.T))
        h = nn.relu(Linear(math.prod(start), self.matmul, name="linear_1")(h)).reshape(*start, z.shape[0])
        h = nn.relu(ConvTranspose(CHANNELS[0], self.matmul, name="conv_transpose_0")(h))
        h = ConvTranspose(channels, self.matmul, name="conv_transpose_1")(h)[:, :height, :width]
        # written out once: without the barrier every use of the image would walk across memory to transpose it anew
        images = jax.lax.optimization_barrier(h.reshape(-1, z.shape[0]).T)
        return images.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
