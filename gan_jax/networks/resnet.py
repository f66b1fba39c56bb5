"""Residual networks of SNGAN, Miyato et al. 2018, https://arxiv.org/abs/1802.05957, appendix B."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.networks.layers import (
    HIDDEN,
    OUTPUTS,
    Conv,
    batch_norm,
    discriminator_output,
    joined,
    packed_channels,
    to_join,
)


def _glorot(gain: float) -> nn.initializers.Initializer:
    return nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")


_RESIDUAL, _PLAIN = _glorot(math.sqrt(2)), _glorot(1)


class ResNetGenerator(nn.Module):
    """Upsampling residual blocks with batch normalisation and ReLU."""

    widths: tuple[int, ...]  # channels of each block, smallest map first
    out_shape: tuple[int, int, int]  # (height, width, channels)
    output: str = "tanh"
    sample_statistics: str = "running"  # or "recomputed", see `networks.sample_stats`
    momentum: float = 0.9  # of running statistics
    condition: str = "concat"  # or "batch_norm": how labels enter
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        z: jax.Array,
        key: jax.Array | None = None,
        train: bool = False,
        y: jax.Array | None = None,
    ) -> jax.Array:
        """Maps (batch, z_dim) to (batch, *out_shape); see `networks.apply`."""

        def active(x: jax.Array) -> jax.Array:
            return nn.relu(batch_norm(x, modulate, train, self.momentum, self.dtype))

        def doubled(x: jax.Array) -> jax.Array:  # nearest neighbour
            return x.repeat(2, axis=1).repeat(2, axis=2)

        concat = to_join(y, self.condition, self.dtype)
        modulate = y if self.condition == "batch_norm" else None
        height, width, channels = self.out_shape
        first, scale = self.widths[0], 2 ** len(self.widths)
        shape = (-1, height // scale, width // scale, first)
        size = shape[1] * shape[2] * first
        x = nn.Dense(size, kernel_init=_PLAIN, dtype=self.dtype)(joined(z, concat))
        x = x.reshape(shape)
        for features in self.widths:
            residual = doubled(active(x))
            residual = Conv(features, kernel_init=_RESIDUAL, dtype=self.dtype)(residual)
            residual = Conv(features, kernel_init=_RESIDUAL, dtype=self.dtype)(active(residual))
            # A 1x1 convolution commutes with upsampling, and costs a quarter before it.
            x = residual + doubled(Conv(features, 1, kernel_init=_PLAIN, dtype=self.dtype)(x))
        x = Conv(channels, kernel_init=_PLAIN, dtype=self.dtype)(active(x))
        return OUTPUTS[self.output](x.astype(jnp.float32))


class ResNetDiscriminator(nn.Module):
    """Downsampling residual blocks, plain ones, global sum pooling and a linear layer."""

    widths: tuple[int, ...]  # channels of each downsampling block, largest map first
    blocks: int  # plain blocks after them
    out_shape: tuple[()] = ()
    spectral_norm: bool = True
    condition: str = "concat"  # or "projection", "classifier": how labels enter
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        key: jax.Array | None = None,
        train: bool = False,
        y: jax.Array | None = None,
    ) -> jax.Array:
        """Maps (batch, height, width, channels), or packed, to logits (batch,)."""

        def normalised(layer: nn.Module, x: jax.Array) -> jax.Array:
            if self.spectral_norm:
                return nn.SpectralNorm(layer)(x, update_stats=train)
            return layer(x)

        def conv(
            x: jax.Array,
            features: int,
            window: int = 3,
            init: nn.initializers.Initializer = _RESIDUAL,
        ) -> jax.Array:
            return normalised(Conv(features, window, kernel_init=init, dtype=self.dtype), x)

        def halved(x: jax.Array) -> jax.Array:
            return nn.avg_pool(x, (2, 2), (2, 2))

        def dense(x: jax.Array, width: int) -> jax.Array:
            return normalised(nn.Dense(width, kernel_init=_PLAIN, dtype=self.dtype), x)

        x = joined(packed_channels(x), to_join(y, self.condition, self.dtype))
        for level, features in enumerate(self.widths):
            hidden = x.shape[-1] if level else features
            residual = conv(nn.relu(x) if level else x, hidden)
            residual = halved(conv(nn.relu(residual), features))
            # The 1x1 shortcut commutes with average pooling.
            x = residual + conv(halved(x), features, 1, _PLAIN)
            self.sow(HIDDEN, f"block{level}", x)
        for block in range(len(self.widths), len(self.widths) + self.blocks):
            residual = conv(nn.relu(x), x.shape[-1])
            x = x + conv(nn.relu(residual), x.shape[-1])
            self.sow(HIDDEN, f"block{block}", x)
        x = jnp.sum(nn.relu(x), axis=(1, 2))
        self.sow(HIDDEN, "sum", x)
        return discriminator_output(x, y, self.condition, dense)
