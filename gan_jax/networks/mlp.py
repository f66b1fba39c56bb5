"""Multilayer perceptrons."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.networks.layers import (
    ACTIVATIONS,
    HIDDEN,
    INITIALIZERS,
    OUTPUTS,
    batch_norm,
    discriminator_output,
    joined,
    to_join,
)


class MLP(nn.Module):
    """Dense layers of the given widths and a dense output layer, on the flattened input.

    Maxout: with `pieces` > 1 a hidden unit is the maximum of that many affine maps, Goodfellow et
    al. 2013, https://arxiv.org/abs/1302.4389. Dropout is inverted. Spectral normalisation takes one
    power iteration per training step, Miyato et al. 2018, https://arxiv.org/abs/1802.05957.
    """

    widths: tuple[int, ...]
    out_shape: tuple[int, ...]  # of one example: (height, width, channels), or () for a logit
    activation: str
    output: str
    initializer: str
    init_scale: float
    pieces: int = 1
    input_dropout: float = 0.0  # dropped fraction of input components
    dropout: float = 0.0  # dropped fraction of hidden units
    output_bias: str = "zero"  # or "data_mean", see `networks.init`
    batch_norm: bool = False  # of hidden layers, before the activation, in place of a bias
    spectral_norm: bool = False
    sample_statistics: str = "running"  # or "recomputed", see `networks.sample_stats`
    momentum: float = 0.95  # averages over about 20 iterations: 100 would lag behind a fast G
    condition: str = "concat"  # or "batch_norm" (G), "projection" or "classifier" (D)
    dtype: str = "float32"  # of activations; parameters are float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        key: jax.Array | None = None,
        train: bool = False,
        y: jax.Array | None = None,
    ) -> jax.Array:
        """Maps (batch, ...) to (batch, *out_shape); see `networks.apply`."""

        def affine(name: str, x: jax.Array, width: int, bias: bool = True) -> jax.Array:
            init = INITIALIZERS[self.initializer](self.init_scale)
            layer = nn.Dense(width, bias, self.dtype, kernel_init=init, name=name)
            if self.spectral_norm:
                return nn.SpectralNorm(layer)(x, update_stats=train)
            return layer(x)

        def dropped(layer: int, x: jax.Array) -> jax.Array:
            rate = self.dropout if layer else self.input_dropout
            if key is None or not rate:
                return x
            return nn.Dropout(rate, deterministic=False)(x, rng=jax.random.fold_in(key, layer))

        def dense(layer: int, x: jax.Array, width: int) -> jax.Array:
            bias = layer == len(self.widths) or not self.batch_norm
            return affine(f"Dense_{layer}", joined(dropped(layer, x), concat), width, bias)

        concat = to_join(y, self.condition, self.dtype)
        modulate = y if self.condition == "batch_norm" else None
        x = x.reshape(x.shape[0], -1)
        for layer, width in enumerate(self.widths):
            x = dense(layer, x, width * self.pieces)
            if self.pieces > 1:
                x = jnp.max(x.reshape(-1, width, self.pieces), axis=-1)
            if self.batch_norm:
                x = batch_norm(x, modulate, train, self.momentum, self.dtype)
            x = ACTIVATIONS[self.activation](x)
            self.sow(HIDDEN, f"dense{layer}", x)
        if y is not None and self.condition in ("projection", "classifier"):
            names = iter((f"Dense_{len(self.widths)}", self.condition))
            x = dropped(len(self.widths), x)
            return discriminator_output(
                x, y, self.condition, lambda x, width: affine(next(names), x, width)
            )
        x = dense(len(self.widths), x, math.prod(self.out_shape))
        return OUTPUTS[self.output](x.astype(jnp.float32)).reshape(-1, *self.out_shape)
