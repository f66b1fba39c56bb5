"""DCGAN, Radford et al. 2016, https://arxiv.org/abs/1511.06434, without biases, as usual.

A level halves or doubles the map: 64x64 pixels have four levels around a map of 4x4, 28x28 two
around 7x7.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.networks.layers import ACTIVATIONS, OUTPUTS, Conv, Upconv, packed_channels

_NORMAL = nn.initializers.normal(0.02)


def _scale(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    return 1 + _NORMAL(key, shape, dtype)


_BatchNorm = functools.partial(nn.BatchNorm, scale_init=_scale)


class DCGANGenerator(nn.Module):
    """Transposed 4x4 convolutions with batch normalisation and ReLU."""

    widths: tuple[int, ...]  # channels of the map at each level, smallest map first
    out_shape: tuple[int, int, int]  # (height, width, channels)
    output: str = "tanh"
    sample_statistics: str = "running"  # or "recomputed", see `networks.sample_stats`
    momentum: float = 0.9  # of running statistics
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, z: jax.Array, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Maps (batch, z_dim) to (batch, *out_shape); see `networks.apply`."""
        height, width, channels = self.out_shape
        first, scale = self.widths[0], 2 ** len(self.widths)
        shape = (-1, height // scale, width // scale, first)
        size = shape[1] * shape[2] * first
        x = nn.Dense(size, use_bias=False, kernel_init=_NORMAL, dtype=self.dtype)(z).reshape(shape)
        for features in (*self.widths[1:], channels):
            x = nn.relu(_BatchNorm(not train, momentum=self.momentum, dtype=self.dtype)(x))
            x = Upconv(features, _NORMAL, self.dtype)(x)
        return OUTPUTS[self.output](x.astype(jnp.float32))


class DCGANDiscriminator(nn.Module):
    """4x4 convolutions of stride 2 with batch normalisation, but for the first, and LeakyReLU.

    Always normalises by the statistics of the minibatch, real and generated ones apart.
    """

    widths: tuple[int, ...]  # channels of the map at each level, largest map first
    out_shape: tuple[()] = ()
    batch_norm: bool = True
    spectral_norm: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: jax.Array, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Maps (batch, height, width, channels), or packed, to logits (batch,)."""

        def normalised(layer: nn.Module, x: jax.Array) -> jax.Array:
            if self.spectral_norm:
                return nn.SpectralNorm(layer)(x, update_stats=train)
            return layer(x)

        x = packed_channels(x)
        for level, features in enumerate(self.widths):
            conv = Conv(features, 4, 2, use_bias=False, kernel_init=_NORMAL, dtype=self.dtype)
            x = normalised(conv, x)
            if level and self.batch_norm:
                x = _BatchNorm(False, dtype=self.dtype)(x)
            x = ACTIVATIONS["leaky_relu"](x)
        x = x.reshape(x.shape[0], -1)
        logit = nn.Dense(1, use_bias=False, kernel_init=_NORMAL, dtype=self.dtype)
        return normalised(logit, x).astype(jnp.float32).ravel()
