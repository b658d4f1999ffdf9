"""The convolutions against PyTorch's and XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import rest_slow

from jvae.nn.convolutions import conv, conv_transpose, gather, scatter

SIZES = [(28, 28), (8, 8), (14, 7), (9, 12), (5, 11), (4, 4)]


def arrays(key, h, w, c, f):
    x, kernel = jax.random.split(key)
    return jax.random.normal(x, (c, h, w, 3)), jax.random.normal(kernel, (4, 4, c, f)) / 4


def nchw(x):
    return x.transpose(3, 0, 1, 2)


def xla(x, kernel, **options):
    y = jax.lax.conv_general_dilated(
        nchw(x), kernel, dimension_numbers=("NCHW", "HWIO", "NCHW"), precision="highest", **options
    )
    return y.transpose(1, 2, 3, 0)


def xla_conv(x, kernel):
    return xla(x, kernel, window_strides=(2, 2), padding=((1, 1), (1, 1)))


def xla_conv_transpose(x, kernel):
    return xla(x, kernel[::-1, ::-1], window_strides=(1, 1), padding=((2, 2), (2, 2)), lhs_dilation=(2, 2))


@pytest.mark.parametrize(("h", "w"), rest_slow(SIZES))
def test_convolutions_match_pytorch(h, w, key):
    torch = pytest.importorskip("torch")
    x, kernel = arrays(key, h, w, 3, 9)
    image, weight = torch.tensor(np.asarray(nchw(x))), torch.tensor(np.asarray(kernel))
    down = torch.nn.functional.conv2d(image, weight.permute(3, 2, 0, 1), stride=2, padding=1)
    up = torch.nn.functional.conv_transpose2d(image, weight.permute(2, 3, 0, 1), stride=2, padding=1)
    np.testing.assert_allclose(nchw(conv(x, kernel)), down, atol=2e-5)
    np.testing.assert_allclose(nchw(conv_transpose(x, kernel)), up, atol=2e-5)


@pytest.mark.parametrize(("h", "w"), rest_slow(SIZES))
@pytest.mark.parametrize(
    ("ours", "theirs"), rest_slow([(conv, xla_conv), (gather, xla_conv_transpose), (scatter, xla_conv_transpose)])
)
def test_values_and_gradients_match_xla(ours, theirs, h, w, key):
    x, kernel = arrays(key, h, w, 2, 3)
    y, pullback = jax.vjp(ours, x, kernel)
    expected, expected_pullback = jax.vjp(theirs, x, kernel)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, atol=2e-5)
    cotangent = jax.random.normal(key, y.shape)
    for mine, other in zip(pullback(cotangent), expected_pullback(cotangent), strict=True):
        np.testing.assert_allclose(mine, other, atol=5e-4)


@pytest.mark.slow
def test_vmap_over_runs_is_a_loop_over_runs(key):
    pairs = [arrays(k, 8, 8, 2, 9) for k in jax.random.split(key, 3)]
    xs, kernels = (jnp.stack(arrays) for arrays in zip(*pairs, strict=True))
    for function in (conv, conv_transpose):
        loop = jnp.stack([function(x, kernel) for x, kernel in pairs])
        np.testing.assert_allclose(jax.vmap(function)(xs, kernels), loop, atol=1e-5)
