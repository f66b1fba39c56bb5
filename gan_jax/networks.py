"""Generators and discriminators as flax modules; flax is imported nowhere else."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

Params = Any  # a pytree of float32 arrays
Stats = Any  # likewise: what a network keeps besides parameters, {} for most


class Variables(NamedTuple):
    """All that a network's output depends on besides its input."""

    params: Params
    stats: Stats


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
# Each takes the scale and returns a flax initialiser for a weight matrix; biases start at zero.
INITIALIZERS: dict[str, Callable[[float], nn.initializers.Initializer]] = {
    # Standard deviation scale / sqrt(fan_in / 2): He et al. 2015, and the tutorial's, at scale 1.
    "he_normal": lambda s: nn.initializers.variance_scaling(2.0 * s**2, "fan_in", "normal"),
    # Uniform in +-scale, as the paper's own code has it.
    "uniform": lambda s: (
        lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -s, s)
    ),
    # Standard deviation scale, whatever the width.
    "normal": nn.initializers.normal,
}


# What to set an output's bias to, for a network that starts with outputs y.
_INVERSES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda y: y,
    "sigmoid": lambda y: jax.scipy.special.logit(jnp.clip(y, 1e-7, 1 - 1e-7)),
}


class MLP(nn.Module):
    """Dense layers of the given widths, then one to the output; the input is flattened.

    With `pieces` above 1 a hidden unit is the largest of that many affine functions: a maxout
    network, where the activation is linear (Goodfellow et al. 2013, https://arxiv.org/abs/1302.4389).
    Dropout is inverted: what is kept is scaled up, so that without it nothing need change.
    Spectral normalisation divides each weight matrix by its largest singular value, by one step of
    the power method a training step (Miyato et al. 2018, https://arxiv.org/abs/1802.05957).
    """

    widths: tuple[int, ...]
    out_shape: tuple[int, ...]  # of one example: (height, width, channels), or () for a logit
    activation: str
    output: str
    initializer: str
    init_scale: float
    pieces: int = 1
    input_dropout: float = 0.0  # share of the input's components that is dropped
    dropout: float = 0.0  # share of each hidden layer's units that is dropped
    output_bias: str = "zero"  # or "data_mean", see `init`
    batch_norm: bool = False  # of each hidden layer, before the activation and in place of a bias
    spectral_norm: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Maps (batch, ...) to (batch, *out_shape); see `apply`."""

        def dense(layer: int, x: jax.Array, width: int) -> jax.Array:
            rate = self.dropout if layer else self.input_dropout
            if key is not None and rate:
                dropout = nn.Dropout(rate, deterministic=False)
                x = dropout(x, rng=jax.random.fold_in(key, layer))
            init = INITIALIZERS[self.initializer](self.init_scale)
            bias = layer == len(self.widths) or not self.batch_norm
            affine = nn.Dense(width, bias, kernel_init=init, name=f"Dense_{layer}")
            if self.spectral_norm:
                return nn.SpectralNorm(affine)(x, update_stats=train)
            return affine(x)

        x = x.reshape(x.shape[0], -1)
        for layer, width in enumerate(self.widths):
            x = dense(layer, x, width * self.pieces)
            if self.pieces > 1:
                x = jnp.max(x.reshape(-1, width, self.pieces), axis=-1)
            if self.batch_norm:
                # An average over about 20 iterations, by which samples are normalised: flax's own
                # 0.99, over about 100, lags behind a G that learns fast.
                x = nn.BatchNorm(use_running_average=not train, momentum=0.95)(x)
            x = ACTIVATIONS[self.activation](x)
        x = dense(len(self.widths), x, math.prod(self.out_shape))
        return OUTPUTS[self.output](x).reshape(-1, *self.out_shape)


class Monotone(nn.Module):
    """A generator of numbers from numbers that only ever rises, so that its density is known.

    G(z) = c + a z + mean over units of v tanh(w z + b), with a, v and w positive as softplus of
    what is trained. A mean, so that the slope at the start is of order 1 whatever their number.
    """

    units: int
    out_shape: tuple[int, ...] = (1,)

    @nn.compact
    def __call__(
        self, z: jax.Array, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Maps (batch, 1) to (batch, 1)."""
        normal, zeros = nn.initializers.normal(1.0), nn.initializers.zeros
        a, c = self.param("a", zeros, (1,)), self.param("c", zeros, (1,))
        w, b, v = (self.param(name, normal, (self.units,)) for name in "wbv")
        hidden = jnp.tanh(nn.softplus(w) * z + b)
        return c + nn.softplus(a) * z + hidden @ nn.softplus(v)[:, None] / self.units


class Tabular(nn.Module):
    """A generator over a finite support: softmax of a table, the tabular game of the paper's proof.

    Its samples are all n points, one-hot, whatever z is. The losses weigh them by their
    `probabilities`; penalties do not.
    """

    n: int

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (self.n,)

    @nn.compact
    def __call__(
        self, z: jax.Array, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Maps anything to (n, n), the support."""
        self.param("logits", nn.initializers.normal(1.0), (self.n,))
        return jnp.eye(self.n)


Network = MLP | Monotone | Tabular


def probabilities(network: Network, params: Params) -> jax.Array | None:
    """The probability of each of a generator's samples, (batch,); None where all are alike."""
    return nn.softmax(params["logits"]) if isinstance(network, Tabular) else None


def init(network: Network, key: jax.Array, x: jax.Array, data_mean: jax.Array) -> Variables:
    """Parameters and statistics of a network.

    Args:
      network: whose.
      key: of the weights; biases are zero.
      x: an input, shape (batch, ...).
      data_mean: of shape `out_shape`; with output_bias "data_mean", the last bias is set so that
        the network would give this if the weights before it were zero.
    """
    variables = network.init(key, x)
    params = variables["params"]
    if isinstance(network, MLP) and network.output_bias == "data_mean":
        params[f"Dense_{len(network.widths)}"]["bias"] = _INVERSES[network.output](
            data_mean
        ).ravel()
    return Variables(params, variables.get("batch_stats", {}))


def apply(
    network: Network,
    variables: Variables,
    x: jax.Array,
    key: jax.Array | None = None,
    train: bool = False,
) -> tuple[jax.Array, Stats]:
    """A network's output, shape (batch, *out_shape), and its statistics after it.

    Args:
      network: whose.
      variables: its parameters and statistics.
      x: inputs, shape (batch, ...); a Tabular generator looks at none, and gives its n points.
      key: with one the network drops out what it drops; with None it uses everything.
      train: normalise by this batch and learn its statistics; else by those learned.
    """
    y, changed = network.apply(
        {"params": variables.params, "batch_stats": variables.stats},
        x,
        key,
        train,
        mutable=["batch_stats"] if train else [],
    )
    return y, changed.get("batch_stats", variables.stats)
