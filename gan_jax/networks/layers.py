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
# Collection of the activations of hidden layers, see `networks.hidden`. Flax excludes it from
# `init`, and `sow` does nothing where it is not asked for.
HIDDEN = "intermediates"
JOINED = ("concat", "text")  # ways to condition by joining the condition to inputs
_TEXT_UNITS = 128


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


def joined(x: jax.Array, y: jax.Array | None) -> jax.Array:
    """Appends a condition y, (batch, d), to vectors, or to maps as constant channels.

    Mirza and Osindero 2014, https://arxiv.org/abs/1411.1784. Without a condition, x.
    """
    if y is None:
        return x
    y = y.reshape(y.shape[0], *(1,) * (x.ndim - 2), -1).astype(x.dtype)
    return jnp.concatenate([x, jnp.broadcast_to(y, (*x.shape[:-1], y.shape[-1]))], axis=-1)


def to_join(y: jax.Array | None, condition: str, dtype: str) -> jax.Array | None:
    """The condition as it is joined to inputs of layers, or None if it is not.

    A text passes a dense layer of 128 LeakyReLUs first (Reed et al. 2016,
    https://arxiv.org/abs/1605.05396), a new one of the calling module.
    """
    if y is None or condition not in JOINED:
        return None
    if condition == "text":
        return ACTIVATIONS["leaky_relu"](nn.Dense(_TEXT_UNITS, dtype=dtype, name="text")(y))
    return y


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose scale and shift are linear in a condition.

    de Vries et al. 2017, https://arxiv.org/abs/1707.00683. The scale starts at 1, the shift at 0.
    """

    use_running_average: bool
    momentum: float
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Normalises x, (batch, ..., features), given y, (batch, d)."""

        def linear(name: str) -> jax.Array:
            zeros = nn.initializers.zeros
            dense = nn.Dense(
                x.shape[-1], use_bias=False, dtype=self.dtype, kernel_init=zeros, name=name
            )
            return dense(y).reshape(y.shape[0], *(1,) * (x.ndim - 2), -1)

        normalise = nn.BatchNorm(
            self.use_running_average,
            momentum=self.momentum,
            dtype=self.dtype,
            use_scale=False,
            use_bias=False,
        )
        return normalise(x) * (1 + linear("scale")) + linear("shift")


def batch_norm(
    x: jax.Array,
    y: jax.Array | None,
    train: bool,
    momentum: float,
    dtype: str,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
) -> jax.Array:
    """Batch normalisation, of condition y if there is one."""
    if y is not None:
        return ConditionalBatchNorm(not train, momentum, dtype)(x, y)
    return nn.BatchNorm(not train, momentum=momentum, dtype=dtype, scale_init=scale_init)(x)


def discriminator_output(
    features: jax.Array,
    y: jax.Array | None,
    condition: str,
    dense: Callable[[jax.Array, int], jax.Array],
) -> jax.Array:
    """The output of a discriminator from its last features, (batch, d).

    Args:
      features: of the example.
      y: condition, (batch, classes), or None.
      condition: "projection" adds the inner product of the features with a linear map of y (Miyato
        and Koyama 2018, https://arxiv.org/abs/1802.05637); "classifier" also classifies (Odena et
        al. 2017, https://arxiv.org/abs/1610.09585).
      dense: a new linear layer, of (its input, its width).

    Returns:
      float32 logits (batch,); with "classifier" (batch, 1 + classes), the logit first.
    """
    logit = dense(joined(features, y if condition == "concat" else None), 1)
    logit = logit.astype(jnp.float32)
    if y is None or condition in JOINED:
        return logit.ravel()
    if condition == "classifier":
        classes = dense(features, y.shape[-1]).astype(jnp.float32)
        return jnp.concatenate([logit, classes], axis=-1)
    embedded = dense(y.astype(features.dtype), features.shape[-1])
    return logit.ravel() + jnp.sum((embedded * features).astype(jnp.float32), axis=-1)


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
