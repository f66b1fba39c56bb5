"""Builds a static spec and traced hyperparameters from a validated config."""

from typing import Any

from ml_collections import ConfigDict

from gan_jax.config.schema import COMMON, parse_schedule
from gan_jax.errors import InputError
from gan_jax.networks import NETWORKS, Network
from gan_jax.penalties import PENALTIES
from gan_jax.spec import GANSpec, HParams, Prior


def _network(config: ConfigDict, player: str, **given: Any) -> Network:
    fields = config[player].to_dict()
    kind = NETWORKS[player][fields.pop("name")]
    return kind(**fields, **given)


def _check_shapes(config: ConfigDict, shape: tuple[int, ...]) -> None:
    """Raises an InputError if a network cannot make or judge examples of a shape."""
    if config.generator.name == "monotone" and shape not in ((), (1,)):
        raise InputError(
            f"config.generator.name is 'monotone', but {config.dataset} has examples of shape "
            f"{shape}: want single numbers"
        )
    if config.augment and len(shape) != 3:
        raise InputError(
            f"config.augment is {config.augment}, but {config.dataset} has examples of shape "
            f"{shape}: want images"
        )
    if "color" in config.augment and shape[-1] != 3:
        raise InputError(
            f"config.augment has 'color', but {config.dataset} has images of {shape[-1]} channels: "
            "want 3"
        )
    for player in NETWORKS:
        network = config[player]
        if network.name in ("mlp", "monotone"):
            continue
        if len(shape) != 3:
            raise InputError(
                f"config.{player}.name is {network.name!r}, but {config.dataset} has examples of "
                f"shape {shape}: want images"
            )
        halvings = len(network.widths) - (network.name == "r3gan")
        height, width, _ = shape
        if height % 2**halvings or width % 2**halvings:
            raise InputError(
                f"config.{player}.widths halves images {halvings} times, but {config.dataset} has "
                f"{width}x{height} pixels: want multiples of {2**halvings}, by other widths or "
                "--config.image_size"
            )


def _pixel_low(config: ConfigDict, shape: tuple[int, ...]) -> float:
    """-1 for images from tanh, and from convolutional networks of linear output, else 0."""
    output = config.generator.get("output")
    signed = output == "tanh" or (output == "linear" and config.generator.name != "mlp")
    return -1.0 if signed and len(shape) == 3 else 0.0


def spec(config: ConfigDict, example_shape: tuple[int, ...]) -> GANSpec:
    """The static half of a validated config, for examples of a shape.

    Raises:
      InputError: a network does not take such examples.
    """
    _check_shapes(config, example_shape)
    dtype = {} if config.generator.name == "monotone" else {"dtype": config.precision}
    output = {"output": "linear"} if config.discriminator.name == "mlp" else {}
    return GANSpec(
        algorithm=config.algorithm,
        loss=config.loss,
        k=config.k,
        update=config["update"],  # ConfigDict has a method of this name
        batch_size=config.batch_size,
        z_dim=config.z_dim,
        prior=Prior(**config.prior),
        generator=_network(config, "generator", out_shape=example_shape, **dtype),
        discriminator=_network(
            config, "discriminator", out_shape=(), dtype=config.precision, **output
        ),
        d_optimizer=config.d_optimizer.name,
        g_optimizer=config.g_optimizer.name,
        pack=config.pack,
        unrolled_steps=config.unrolled_steps,
        penalties=tuple(
            (name, config.penalties[name].interval)
            for name in PENALTIES
            if hparams(config)["penalties"][name]["weight"] is not None
        ),
        augment=config.augment,
        adaptive=bool(config.ada_target),
        schedules=tuple(map(parse_schedule, config.schedules)),
        pixel_low=_pixel_low(config, example_shape),
    )


def hparams(config: ConfigDict) -> HParams:
    """The traced half of a validated config: every traced field, None where it is disabled."""
    found: dict[str, Any] = {}
    scheduled = {parse_schedule(text).field for text in config.schedules}
    for name, field in COMMON.items():
        if field.traced:
            *groups, leaf = name.split(".")
            place, value = found, config
            for group in groups:
                place, value = place.setdefault(group, {}), value[group]
            off = field.optional and not value[leaf] and name not in scheduled
            place[leaf] = None if off else value[leaf]
    return found
