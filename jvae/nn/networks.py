"""Networks, array -> array: from x to the parameters of q(z|x), and from z to those of p(x|z)."""

import math
from collections.abc import Callable, Sequence

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from jvae.errors import take_sizes
from jvae.nn.convolutions import Conv, ConvTranspose, Linear
from jvae.nn.initializers import uniform_fan_in
from jvae.nn.matmul import Matmul, float32

Activation = Callable[[Float[Array, "..."]], Float[Array, "..."]]
"""A function of every number of an array."""

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
"""The widths of the exercise's hidden layers."""
CHANNELS = (32, 64)
"""The channels of the convolutions by default."""
HIDDEN = 256
"""The width of the hidden linear layer of a convolutional network."""


class Dense(nn.Module):
    """The affine layer x @ kernel + bias, initialised by `initializer`, or by default as PyTorch's `nn.Linear`."""

    features: int
    """f, the number of outputs."""
    matmul: Matmul = float32
    """The product x @ kernel."""
    initializer: nn.initializers.Initializer | None = None
    """The initialiser of kernel and bias; None: uniform in +-1/sqrt(c) for c inputs, as in PyTorch."""

    @nn.compact
    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b f"]:
        """Map every row."""
        init = self.initializer or uniform_fan_in(x.shape[1])
        y = self.matmul(x, self.param("kernel", init, (x.shape[1], self.features)))
        return y + self.param("bias", init, (self.features,))


class MLP(nn.Module):
    """A fully connected network, x[b, ...] -> [b, *out_shape], that flattens each datum and reshapes its output."""

    hidden: Sequence[int]
    """The widths of the hidden layers, from the input to the output."""
    out_shape: Sequence[int]
    """The shape of the output for one datum, such as (2 * m,) of an encoder or (h, w, c) of a decoder."""
    zero_output: bool = False
    """Start the last layer at zero, so that the network starts as the zero function."""
    matmul: Matmul = float32
    """The matrix product of every layer, such as `jvae.nn.matmul.bfloat16`."""
    activation: Activation = nn.relu
    """The activation after every layer but the last."""

    def __post_init__(self) -> None:
        """Take lists, and numbers of NumPy and JAX; refuse what is no size."""
        take_sizes(self, shapes=("hidden", "out_shape"))
        super().__post_init__()

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
    """A convolutional network, image -> numbers: convolutions, each of which halves it, and two linear layers.

    It maps x[b, h, w, c] to [b, *out_shape].
    """

    out_shape: Sequence[int]
    """The shape of the output for one image, such as (2 * m,) of an encoder."""
    matmul: Matmul = float32
    """The matrix product of every layer, such as `jvae.nn.matmul.bfloat16_columns`."""
    channels: Sequence[int] = CHANNELS
    """The channels of the convolutions; each halves the image, which bounds their number (`check_depth`)."""
    activation: Activation = nn.relu
    """The activation after every layer but the last."""

    def __post_init__(self) -> None:
        """Take lists, and numbers of NumPy and JAX; refuse what is no size."""
        take_sizes(self, shapes=("out_shape", "channels"))
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b *out_shape"]:
        """Map a batch of images to a batch of outputs."""
        check_depth(self.channels, x.shape[1:])
        h = x.transpose(3, 1, 2, 0)
        for i, channels in enumerate(self.channels):
            h = self.activation(Conv(channels, self.matmul, name=f"conv_{i}")(h))
        h = self.activation(Linear(HIDDEN, self.matmul, name="linear_0")(h.reshape(-1, x.shape[0])))
        h = Linear(math.prod(self.out_shape), self.matmul, name="linear_1")(h)
        return h.T.reshape(x.shape[0], *self.out_shape)


class ConvDecoderNet(nn.Module):
    """A convolutional network, z -> image: two linear layers, and transposed convolutions, each of which doubles it.

    It maps z[b, m] to [b, h, w, c]. n transposed convolutions start from ceil(h / 2^n) x ceil(w / 2^n) pixels; their
    output is cropped to h x w.
    """

    out_shape: Sequence[int]
    """The image's (h, w, c)."""
    matmul: Matmul = float32
    """The matrix product of every layer, such as `jvae.nn.matmul.bfloat16_columns`."""
    channels: Sequence[int] = CHANNELS
    """The channels of the encoder's convolutions, at least one; they are used in reverse."""
    activation: Activation = nn.relu
    """The activation after every layer but the last."""

    def __post_init__(self) -> None:
        """Take lists, and numbers of NumPy and JAX; refuse what is no size."""
        take_sizes(self, shapes=("out_shape", "channels"))
        super().__post_init__()

    @nn.compact
    def __call__(self, z: Float[Array, "b m"]) -> Float[Array, "b h w c"]:
        """Map a batch of latents to a batch of images."""
        if not len(self.channels):
            raise ValueError("channels is empty: must have at least one number")
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
    """Raise a ValueError unless a shape is that of images, (h, w, c), that can be halved once per entry of channels."""
    if len(image_shape) != 3:
        raise ValueError(f"data have the shape {list(image_shape)}: a convolutional network needs [h, w, c]")
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
