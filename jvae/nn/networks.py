"""Networks, array -> array: from x to the parameters of q(z|x), and from z to those of p(x|z)."""

import math
from collections.abc import Callable, Sequence

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from jvae.nn.convolutions import Conv, ConvTranspose, Linear
from jvae.nn.initializers import uniform_fan_in
from jvae.nn.matmul import Matmul, float32

Activation = Callable[[Float[Array, "..."]], Float[Array, "..."]]

ACTIVATIONS: dict[str, Activation] = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "gelu": nn.gelu,
    "elu": nn.elu,
    "leaky-relu": nn.leaky_relu,
    "silu": nn.silu,
}
"""The activations by their names on the command line; gelu is the tanh approximation."""
WIDTHS = (512, 512)
CHANNELS = (32, 64)
HIDDEN = 256


class Dense(nn.Module):
    """The affine layer x @ kernel + bias, initialised by `init`, or by default as PyTorch's `nn.Linear`."""

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
    """A fully connected network that flattens each datum and reshapes its output."""

    hidden: Sequence[int]
    """The widths of the hidden layers."""
    out_shape: Sequence[int]
    zero_output: bool = False
    """Start the last layer at zero, so that the network starts as the zero function."""
    matmul: Matmul = float32
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "b *in_shape"]) -> Float[Array, "b *out_shape"]:
        """Map a batch of data to a batch of outputs."""
        h = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            h = self.activation(Dense(width, self.matmul, name=f"linear_{i}")(h))
        init = nn.initializers.zeros if self.zero_output else None
        h = Dense(math.prod(self.out_shape), self.matmul, init, name=f"linear_{len(self.hidden)}")(h)
        return h.reshape(x.shape[0], *self.out_shape)


class ConvEncoderNet(nn.Module):
    """A convolutional network, image -> numbers: convolutions, each of which halves it, and two linear layers."""

    out_shape: Sequence[int]
    matmul: Matmul = float32
    channels: Sequence[int] = CHANNELS
    """The channels of the convolutions; each halves the image, which bounds their number (`check_depth`)."""
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b *out_shape"]:
        """Map a batch of images to a batch of outputs."""
        h = x.transpose(3, 1, 2, 0)
        for i, channels in enumerate(self.channels):
            h = self.activation(Conv(channels, self.matmul, name=f"conv_{i}")(h))
        h = self.activation(Linear(HIDDEN, self.matmul, name="linear_0")(h.reshape(-1, x.shape[0])))
        h = Linear(math.prod(self.out_shape), self.matmul, name="linear_1")(h)
        return h.T.reshape(x.shape[0], *self.out_shape)


class ConvDecoderNet(nn.Module):
    """A convolutional network, z -> image: two linear layers, and transposed convolutions, each of which doubles it.

    n transposed convolutions start from ceil(h / 2^n) x ceil(w / 2^n) pixels; their output is cropped to h x w.
    """

    out_shape: Sequence[int]
    """The image's (h, w, c)."""
    matmul: Matmul = float32
    channels: Sequence[int] = CHANNELS
    """The channels of the encoder's convolutions; they are used in reverse."""
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, z: Float[Array, "b m"]) -> Float[Array, "b h w c"]:
        """Map a batch of latents to a batch of images."""
        height, width, channels = self.out_shape
        first, *others = self.channels[::-1]
        start = (first, *start_size(self.out_shape, len(self.channels)))
        h = self.activation(Linear(HIDDEN, self.matmul, name="linear_0")(z.T))
        h = self.activation(Linear(math.prod(start), self.matmul, name="linear_1")(h)).reshape(*start, z.shape[0])
        for i, features in enumerate(others):
            h = self.activation(ConvTranspose(features, self.matmul, name=f"conv_transpose_{i}")(h))
        h = ConvTranspose(channels, self.matmul, name=f"conv_transpose_{len(others)}")(h)[:, :height, :width]
        # without the barrier, every use of the image would transpose it again, with strided reads
        images = jax.lax.optimization_barrier(h.reshape(-1, z.shape[0]).T)
        return images.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)


def start_size(image_shape: Sequence[int], doublings: int) -> tuple[int, int]:
    """Return the smallest (h, w) that cover an image of shape (h, w, c) after this many doublings."""
    height, width = (math.ceil(side / 2**doublings) for side in image_shape[:2])
    return height, width


def check_depth(channels: Sequence[int], image_shape: Sequence[int]) -> None:
    """Raise a ValueError if images of shape (h, w, c) cannot be halved once per entry of channels."""
    height, width = image_shape[:2]
    most = min(height, width).bit_length() - 1
    if len(channels) > most:
        named = ",".join(map(str, channels))
        raise ValueError(f"channels is {named}: images of {height}x{width} can be halved {most} times at most")


def describe_network(net: nn.Module) -> str:
    """Return a short description of a network, such as `mlp 200-200, tanh`, without what equals the exercise's."""
    match net:
        case MLP():
            kind, layers, usual = "mlp", net.hidden, WIDTHS
        case ConvEncoderNet() | ConvDecoderNet():
            kind, layers, usual = "cnn", net.channels, CHANNELS
        case _:
            return type(net).__name__
    sizes = "" if tuple(layers) == usual else f" {'-'.join(map(str, layers))}"
    names = {function: name for name, function in ACTIVATIONS.items()}
    name = names.get(net.activation, getattr(net.activation, "__name__", "own activation"))
    return f"{kind}{sizes}" + ("" if name == "relu" else f", {name}")
