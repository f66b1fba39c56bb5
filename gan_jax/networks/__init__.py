"""Generators, discriminators and encoders as flax modules; flax is imported nowhere else."""

from typing import Any, NamedTuple

import jax

from gan_jax.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from gan_jax.networks.layers import HIDDEN, INVERSE_OUTPUTS
from gan_jax.networks.mlp import MLP
from gan_jax.networks.r3gan import R3GANDiscriminator, R3GANGenerator
from gan_jax.networks.resnet import ResNetDiscriminator, ResNetGenerator
from gan_jax.networks.toy import Monotone

__all__ = [
    "MLP",
    "NETWORKS",
    "Network",
    "Params",
    "Stats",
    "Variables",
    "apply",
    "hidden",
    "init",
    "sample_stats",
]

Params = Any  # pytree of float32 arrays
Stats = Any  # pytree of arrays such as batch statistics; {} for most networks
Network = (
    MLP
    | Monotone
    | DCGANGenerator
    | DCGANDiscriminator
    | ResNetGenerator
    | ResNetDiscriminator
    | R3GANGenerator
    | R3GANDiscriminator
)
NETWORKS: dict[str, dict[str, type[Network]]] = {
    "generator": {
        "mlp": MLP,
        "monotone": Monotone,
        "dcgan": DCGANGenerator,
        "resnet": ResNetGenerator,
        "r3gan": R3GANGenerator,
    },
    "discriminator": {
        "mlp": MLP,
        "dcgan": DCGANDiscriminator,
        "resnet": ResNetDiscriminator,
        "r3gan": R3GANDiscriminator,
    },
    "encoder": {"mlp": MLP, "dcgan": DCGANDiscriminator},
}

_POWER_ITERATIONS = 100  # of spectral normalisation before training: sigma within 1 %


class Variables(NamedTuple):
    """Everything a network's output depends on besides its input."""

    params: Params
    stats: Stats


def init(
    network: Network,
    key: jax.Array,
    x: jax.Array,
    data_mean: jax.Array,
    y: jax.Array | None = None,
) -> Variables:
    """Initial parameters and statistics of a network.

    Args:
      network: the module.
      key: PRNG key of the weights; biases start at zero.
      x: an input, shape (batch, ...).
      data_mean: shape `out_shape`. With output_bias "data_mean" the output bias is set so that the
        network outputs this mean when its last hidden layer is zero.
      y: a condition, shape (batch, d), or None.
    """
    spectral_norm = getattr(network, "spectral_norm", False)
    given = () if y is None else (None, False, y)
    variables = network.init(key, x, *given)
    params = variables["params"]
    if spectral_norm and not isinstance(network, MLP):
        # flax divides initial kernels by its first estimate of their norms; Miyato et al. do not.
        # MLPs keep flax's, as in the results published for them.
        params = network.clone(spectral_norm=False).init(key, x, *given)["params"]
    if isinstance(network, MLP) and network.output_bias == "data_mean":
        bias = INVERSE_OUTPUTS[network.output](data_mean).ravel()
        params[f"Dense_{len(network.widths)}"]["bias"] = bias
    initial = Variables(params, variables.get("batch_stats", {}))
    if spectral_norm:
        # flax starts from a single power iteration, whose estimate is too low by up to a third.
        def iterate(_: jax.Array, stats: Stats) -> Stats:
            return apply(network, Variables(params, stats), x, train=True, y=y)[1]

        stats = jax.lax.fori_loop(0, _POWER_ITERATIONS, iterate, initial.stats)
        return initial._replace(stats=stats)
    return initial


def apply(
    network: Network,
    variables: Variables,
    x: jax.Array,
    key: jax.Array | None = None,
    train: bool = False,
    y: jax.Array | None = None,
) -> tuple[jax.Array, Stats]:
    """Applies a network.

    Args:
      network: the module.
      variables: its parameters and statistics.
      x: inputs, shape (batch, ...).
      key: PRNG key of dropout; None disables it.
      train: normalise by minibatch statistics and update the running ones, instead of using these.
      y: conditions, (batch, d), one-hot for labels; None if unconditional.

    Returns:
      Outputs (batch, *out_shape), or (batch, 1 + classes) of a discriminator that classifies, and
      the updated statistics.
    """
    y, updated = network.apply(
        {"params": variables.params, "batch_stats": variables.stats},
        x,
        key,
        train,
        *(() if y is None else (y,)),
        mutable=["batch_stats"],  # some networks always normalise by the minibatch
    )
    return y, updated.get("batch_stats", variables.stats) if train else variables.stats


def hidden(
    network: Network, variables: Variables, x: jax.Array, y: jax.Array | None = None
) -> dict[str, jax.Array]:
    """Activations of the hidden layers by name, each a function of one example.

    Batch normalisation uses running averages. Arguments as for `apply`.

    Returns:
      Maps (batch, height, width, channels) of convolutions, and vectors (batch, d).
    """
    if isinstance(network, DCGANDiscriminator):
        network = network.clone(running_statistics=True)
    _, sown = network.apply(
        {"params": variables.params, "batch_stats": variables.stats},
        x,
        None,
        False,
        *(() if y is None else (y,)),
        mutable=[HIDDEN],
    )
    return {name: activations for name, (activations,) in sown.get(HIDDEN, {}).items()}


def sample_stats(
    network: Network, variables: Variables, z: jax.Array, y: jax.Array | None = None
) -> Stats:
    """Statistics to sample with: running ones, or recomputed from noise z and conditions y.

    Running averages of batch normalisation lag behind the parameters, and do not match an averaged
    generator.
    """
    if getattr(network, "sample_statistics", "running") == "running":
        return variables.stats
    return apply(network.clone(momentum=0.0), variables, z, train=True, y=y)[1]
