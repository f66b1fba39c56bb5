"""DCGAN, Radford et al. 2016, https://arxiv.org/abs/1511.06434, without biases.

Each level halves or doubles the feature map: four levels for 64x64 pixels and a 4x4 map, two for
28x28 pixels and a 7x7 map. The dense hidden layers are as in InfoGAN (Chen et al. 2016,
https://arxiv.org/abs/1606.03657, appendix C). A text is joined to z and to D's last map, followed
by a 1x1 convolution (Reed et al. 2016, https://arxiv.org/abs/1605.05396).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.networks.layers import (
    ACTIVATIONS,
    HIDDEN,
    OUTPUTS,
    Conv,
    Upconv,
    batch_norm,
    discriminator_output,
    joined,
    packed_channels,
    to_join,
)

_NORMAL = nn.initializers.normal(0.02)


def _scale(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    return 1 + _NORMAL(key, shape, dtype)


class DCGANGenerator(nn.Module):
    """Transposed 4x4 convolutions with batch normalisation and ReLU."""

    widths: tuple[int, ...]  # channels of the map at each level, smallest map first
    out_shape: tuple[int, int, int]  # (height, width, channels)
    output: str = "tanh"
    hidden: tuple[int, ...] = ()  # units of dense layers before the first map
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
        height, width, channels = self.out_shape
        first, scale = self.widths[0], 2 ** len(self.widths)
        shape = (-1, height // scale, width // scale, first)
        size = shape[1] * shape[2] * first

        def dense(x: jax.Array, width: int) -> jax.Array:
            return nn.Dense(width, use_bias=False, kernel_init=_NORMAL, dtype=self.dtype)(x)

        x, concat = z, to_join(y, self.condition, self.dtype)
        modulate = y if self.condition == "batch_norm" else None
        if self.condition == "text":
            x, concat = joined(x, concat), None
        for units in self.hidden:
            x = dense(joined(x, concat), units)
            x = nn.relu(batch_norm(x, modulate, train, self.momentum, self.dtype, _scale))
        x = dense(joined(x, concat), size).reshape(shape)
        for features in (*self.widths[1:], channels):
            x = batch_norm(x, modulate, train, self.momentum, self.dtype, _scale)
            x = Upconv(features, _NORMAL, self.dtype)(joined(nn.relu(x), concat))
        return OUTPUTS[self.output](x.astype(jnp.float32))


class DCGANDiscriminator(nn.Module):
    """4x4 convolutions of stride 2 with LeakyReLU and, after the first, batch normalisation.

    Normalises by minibatch statistics, separately for real and generated examples; with
    `running_statistics`, by averages over real minibatches of training.
    """

    widths: tuple[int, ...]  # channels of the map at each level, largest map first
    hidden: tuple[int, ...] = ()  # units of dense layers after the last map
    out_shape: tuple[int, ...] = ()  # of one example: () for a logit, (d,) for an encoder
    batch_norm: bool = True
    spectral_norm: bool = False
    running_statistics: bool = False
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
        """Maps (batch, height, width, channels), or packed, to (batch, *out_shape)."""

        def normalised(layer: nn.Module, x: jax.Array) -> jax.Array:
            if self.spectral_norm:
                return nn.SpectralNorm(layer)(x, update_stats=train)
            return layer(x)

        def dense(x: jax.Array, width: int) -> jax.Array:
            layer = nn.Dense(width, use_bias=False, kernel_init=_NORMAL, dtype=self.dtype)
            return normalised(layer, x)

        def active(x: jax.Array, normalise: bool) -> jax.Array:
            if normalise:
                x = nn.BatchNorm(self.running_statistics, scale_init=_scale, dtype=self.dtype)(x)
            return ACTIVATIONS["leaky_relu"](x)

        x, concat = packed_channels(x), to_join(y, self.condition, self.dtype)
        text = self.condition == "text"
        for level, features in enumerate(self.widths):
            conv = Conv(features, 4, 2, use_bias=False, kernel_init=_NORMAL, dtype=self.dtype)
            x = normalised(conv, x if text else joined(x, concat))
            x = active(x, level > 0 and self.batch_norm)
            self.sow(HIDDEN, f"conv{level}", x)
        if text:
            conv = Conv(features, 1, use_bias=False, kernel_init=_NORMAL, dtype=self.dtype)
            x = active(normalised(conv, joined(x, concat)), self.batch_norm)
            y = concat = None
        x = x.reshape(x.shape[0], -1)
        for layer, units in enumerate(self.hidden):
            x = active(dense(joined(x, concat), units), self.batch_norm)
            self.sow(HIDDEN, f"dense{layer}", x)
        if self.out_shape:
            return dense(x, *self.out_shape).astype(jnp.float32)
        return discriminator_output(x, y, self.condition, dense)
