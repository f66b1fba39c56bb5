"""Generators and discriminators: multilayer perceptrons. Only here is flax imported."""

import math
from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

Params = Any  # a pytree of float32 arrays

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "tanh": jnp.tanh,
}
OUTPUTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda x: x,
    "sigmoid": nn.sigmoid,
}
# Each takes the scale and returns a flax initialiser for a weight matrix; biases start at zero.
INITIALIZERS: dict[str, Callable[[float], nn.initializers.Initializer]] = {
    # Standard deviation scale / sqrt(fan_in / 2): He et al. 2015, and the tutorial's, at scale 1.
    "he_normal": lambda s: nn.initializers.variance_scaling(2.0 * s**2, "fan_in", "normal"),
    # Uniform in +-scale, as the paper's own code has it.
    "uniform": lambda s: (
        lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -s, s)
    ),
    # Standard deviation scale, whatever the width.
    "normal": lambda s: nn.initializers.normal(s),
}


class MLP(nn.Module):
    """Dense layers of the given widths, then one to the output; the input is flattened."""

    widths: tuple[int, ...]
    out_shape: tuple[int, ...]  # of one example: (height, width, channels), or () for a logit
    activation: str
    output: str
    initializer: str
    init_scale: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (batch, ...) to (batch, *out_shape)."""
        kernel_init = INITIALIZERS[self.initializer](self.init_scale)
        x = x.reshape(x.shape[0], -1)
        for width in self.widths:
            x = ACTIVATIONS[self.activation](nn.Dense(width, kernel_init=kernel_init)(x))
        x = nn.Dense(math.prod(self.out_shape), kernel_init=kernel_init)(x)
        return OUTPUTS[self.output](x).reshape(-1, *self.out_shape)


def init(network: MLP, key: jax.Array, x: jax.Array) -> Params:
    """Parameters of a network for inputs shaped like x, shape (batch, ...)."""
    return network.init(key, x)["params"]


def apply(network: MLP, params: Params, x: jax.Array) -> jax.Array:
    """The network's output, shape (batch, *out_shape), for inputs of shape (batch, ...)."""
    return cast(jax.Array, network.apply({"params": params}, x))
