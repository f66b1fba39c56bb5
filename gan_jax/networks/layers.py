"""Activations, output maps and initialisers by name; layers of convolutional networks."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.networks.convolution import convolution, transposed_convolution

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda x: x,
    "relu": nn.relu,
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "tanh": jnp.tanh,
}
OUTPUTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda x: x,
    "sigmoid": nn.sigmoid,
    "tanh": jnp.tanh,
}
OUTPUT_RANGES = {"sigmoid": (0, 1), "tanh": (-1, 1)}
# Inverse of each output: the bias that makes a network with zero weights output y.
INVERSE_OUTPUTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda y: y,
    "sigmoid": lambda y: jax.scipy.special.logit(jnp.clip(y, 1e-7, 1 - 1e-7)),
    "tanh": lambda y: jnp.arctanh(jnp.clip(y, -1 + 1e-7, 1 - 1e-7)),
}
# Kernel initialisers by scale; biases start at zero.
INITIALIZERS: dict[str, Callable[[float], nn.initializers.Initializer]] = {
    # He et al. 2015 at scale 1: standard deviation scale / sqrt(fan_in / 2).
    "he_normal": lambda s: nn.initializers.variance_scaling(2.0 * s**2, "fan_in", "normal"),
    "uniform": lambda s: (  # on [-scale, scale)
        lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -s, s)
    ),
    "normal": nn.initializers.normal,  # standard deviation scale
}


class Conv(nn.Module):
    """Square convolution, same-padded by default: (batch, h, w, c) to (batch, h', w', features)."""

    features: int
    window: int = 3
    stride: int = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: str = "float32"  # of activations; parameters are float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.window, self.window, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        pad = ((self.window - 1) // 2,) * 2
        x = convolution(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            (self.stride, self.stride),
            (pad, pad),
            self.groups,
        )
        if self.use_bias:
            x += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return x


class Upconv(nn.Module):
    """Transposed 4x4 convolution of stride 2, without bias: doubles height and width."""

    features: int
    kernel_init: nn.initializers.Initializer
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (4, 4, self.features, x.shape[-1]))
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        return transposed_convolution(x, kernel, (2, 2), ((1, 1), (1, 1)))


def packed_channels(x: jax.Array) -> jax.Array:
    """Stacks packed images along channels: (batch, pack, h, w, c) to (batch, h, w, pack * c)."""
    if x.ndim == 4:
        return x
    x = jnp.moveaxis(x, 1, 3)
    return x.reshape(*x.shape[:3], -1)


def _blur(x: jax.Array, axis: int, up: bool) -> jax.Array:
    """Resamples one axis by 2 with the filter [1, 3, 3, 1], zeros beyond the edges."""
    n = x.shape[axis]
    x = jnp.pad(x, [(int(i == axis),) * 2 for i in range(x.ndim)])

    def part(start: int, stride: int, count: int) -> jax.Array:
        return jax.lax.slice_in_dim(x, start, start + stride * (count - 1) + 1, stride, axis)

    if up:
        left, middle, right = (part(i, 1, n) for i in range(3))
        shape = [2 * n if i == axis else size for i, size in enumerate(middle.shape)]
        pair = jnp.stack([left + 3 * middle, 3 * middle + right], axis + 1)
        return pair.reshape(shape) / 4
    a, b, c, d = (part(i, 2, n // 2) for i in range(4))
    return (a + 3 * b + 3 * c + d) / 8


def upsample(x: jax.Array) -> jax.Array:
    """Doubles height and width with the filter [1, 3, 3, 1], as StyleGAN2."""
    return _blur(_blur(x, 1, up=True), 2, up=True)


def downsample(x: jax.Array) -> jax.Array:
    """Halves height and width, both even, with the filter [1, 3, 3, 1], as StyleGAN2."""
    return _blur(_blur(x, 1, up=False), 2, up=False)
