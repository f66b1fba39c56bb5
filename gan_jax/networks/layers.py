"""Activations, output maps and initialisers by name."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda x: x,
    "relu": nn.relu,
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "tanh": jnp.tanh,
}
OUTPUTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda x: x,
    "sigmoid": nn.sigmoid,
}
# Inverse of each output: the bias that makes a network with zero weights output y.
INVERSE_OUTPUTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda y: y,
    "sigmoid": lambda y: jax.scipy.special.logit(jnp.clip(y, 1e-7, 1 - 1e-7)),
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
