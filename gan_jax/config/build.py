"""Builds a static spec and traced hyperparameters from a validated config."""

from typing import Any

from ml_collections import ConfigDict

from gan_jax.config.schema import COMMON
from gan_jax.errors import InputError
from gan_jax.networks import MLP, Monotone, Network
from gan_jax.optimizers import Optimizer
from gan_jax.penalties import PENALTIES
from gan_jax.spec import GANSpec, HParams, Prior


def _network(config: ConfigDict, **given: Any) -> Network:
    fields = config.to_dict()
    kind = {"mlp": MLP, "monotone": Monotone}[fields.pop("name")]
    return kind(**fields, **given)


def _optimizer(config: ConfigDict) -> Optimizer:
    return Optimizer(**{field: config[field] for field in Optimizer._fields})


def spec(config: ConfigDict, example_shape: tuple[int, ...]) -> GANSpec:
    """The static half of a validated config, for examples of a shape.

    Raises:
      InputError: the generator cannot make such examples.
    """
    if config.generator.name == "monotone" and example_shape not in ((), (1,)):
        raise InputError(
            f"config.generator.name is 'monotone', but {config.dataset} has examples of shape "
            f"{example_shape}: want single numbers"
        )
    return GANSpec(
        algorithm=config.algorithm,
        loss=config.loss,
        k=config.k,
        update=config["update"],  # ConfigDict has a method of this name
        batch_size=config.batch_size,
        z_dim=config.z_dim,
        prior=Prior(**config.prior),
        generator=_network(config.generator, out_shape=example_shape),
        discriminator=_network(config.discriminator, out_shape=(), output="linear"),
        d_optimizer=_optimizer(config.d_optimizer),
        g_optimizer=_optimizer(config.g_optimizer),
        pack=config.pack,
        unrolled_steps=config.unrolled_steps,
        penalties=tuple(
            (name, config.penalties[name].interval)
            for name in PENALTIES
            if config.penalties[name].weight
        ),
        noise_steps=config.instance_noise.steps,
    )


def hparams(config: ConfigDict) -> HParams:
    """The traced half of a validated config: every traced field, None where it is disabled."""
    found: dict[str, Any] = {}
    for name, field in COMMON.items():
        if field.traced:
            *groups, leaf = name.split(".")
            place, value = found, config
            for group in groups:
                place, value = place.setdefault(group, {}), value[group]
            place[leaf] = None if field.optional and not value[leaf] else value[leaf]
    return found
