"""Networks of R3GAN, Huang et al. 2024, https://arxiv.org/abs/2501.05441: no normalisation."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.networks.layers import (
    ACTIVATIONS,
    HIDDEN,
    OUTPUTS,
    Conv,
    discriminator_output,
    downsample,
    joined,
    packed_channels,
    to_join,
    upsample,
)


def _init(gain: float) -> nn.initializers.Initializer:
    """Normal, of standard deviation gain / sqrt(fan_in)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


def _stage(x: jax.Array, blocks: int, total: int, group_size: int, dtype: str) -> jax.Array:
    """Residual blocks: 1x1 to twice the channels, grouped 3x3, zero-initialised 1x1 back."""
    channels = x.shape[-1]
    gain = math.sqrt(2 / 1.04) * total**-0.25  # of LeakyReLU, over `total` residual blocks
    for _ in range(blocks):
        y = Conv(2 * channels, 1, kernel_init=_init(gain), dtype=dtype)(x)
        y = ACTIVATIONS["leaky_relu"](y)
        groups = 2 * channels // group_size
        y = Conv(2 * channels, 3, groups=groups, kernel_init=_init(gain), dtype=dtype)(y)
        y = ACTIVATIONS["leaky_relu"](y)
        zeros = nn.initializers.zeros
        x = x + Conv(channels, 1, use_bias=False, kernel_init=zeros, dtype=dtype)(y)
    return x


def _to_channels(x: jax.Array, channels: int, dtype: str) -> jax.Array:
    if x.shape[-1] == channels:
        return x
    return Conv(channels, 1, use_bias=False, kernel_init=_init(1), dtype=dtype)(x)


class R3GANGenerator(nn.Module):
    """A learned basis times a linear map of z, then stages of residual blocks."""

    widths: tuple[int, ...]  # channels of each stage, smallest map first
    blocks: int  # residual blocks per stage
    group_size: int  # channels per group of the 3x3 convolutions
    out_shape: tuple[int, int, int]  # (height, width, channels)
    output: str = "linear"
    condition: str = "concat"  # how labels enter
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
        height, width, channels = self.out_shape
        first, scale = self.widths[0], 2 ** (len(self.widths) - 1)
        shape = (height // scale, width // scale, first)
        basis = self.param("basis", nn.initializers.normal(1.0), shape).astype(self.dtype)
        weight = nn.Dense(first, use_bias=False, kernel_init=_init(1), dtype=self.dtype)(
            joined(z, to_join(y, self.condition, self.dtype))
        )
        x = basis * weight[:, None, None]
        total = self.blocks * len(self.widths)
        for stage, features in enumerate(self.widths):
            if stage:
                x = upsample(_to_channels(x, features, self.dtype))
            x = _stage(x, self.blocks, total, self.group_size, self.dtype)
        x = Conv(channels, 1, use_bias=False, kernel_init=_init(1), dtype=self.dtype)(x)
        return OUTPUTS[self.output](x.astype(jnp.float32))


class R3GANDiscriminator(nn.Module):
    """Stages of residual blocks, a depthwise convolution of the last map and a linear map."""

    widths: tuple[int, ...]  # channels of each stage, largest map first
    blocks: int  # residual blocks per stage
    group_size: int  # channels per group of the 3x3 convolutions
    out_shape: tuple[()] = ()
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
        first = Conv(self.widths[0], 1, use_bias=False, kernel_init=_init(1), dtype=self.dtype)
        x = first(joined(packed_channels(x), to_join(y, self.condition, self.dtype)))
        total = self.blocks * len(self.widths)
        for stage, features in enumerate(self.widths):
            if stage:
                x = _to_channels(downsample(x), features, self.dtype)
            x = _stage(x, self.blocks, total, self.group_size, self.dtype)
            self.sow(HIDDEN, f"stage{stage}", x)
        _, height, width, channels = x.shape
        init = nn.initializers.normal(1 / math.sqrt(height * width))
        basis = self.param("basis", init, (height, width, channels)).astype(self.dtype)
        x = jnp.einsum("bhwc,hwc->bc", x, basis)
        self.sow(HIDDEN, "sum", x)

        def dense(x: jax.Array, width: int) -> jax.Array:
            return nn.Dense(width, use_bias=False, kernel_init=_init(1), dtype=self.dtype)(x)

        return discriminator_output(x, y, self.condition, dense)
