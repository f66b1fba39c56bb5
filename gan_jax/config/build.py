"""Builds a static spec and traced hyperparameters from a validated config."""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from gan_jax.config.load import flatten, unflatten
from gan_jax.config.schema import FIELDS, TRACED, parse_schedule
from gan_jax.errors import InputError
from gan_jax.evaluation import text_encoder
from gan_jax.networks import NETWORKS, Network
from gan_jax.penalties import PENALTIES
from gan_jax.spec import AutoencoderSpec, GANSpec, HParams, Prior, RBMSpec, Spec

_MAX_CLASSES = 10_000


def _network(config: ConfigDict, player: str, **given: Any) -> Network:
    fields = config[player].to_dict()
    kind = NETWORKS[player][fields.pop("name")]
    return kind(**fields, **given)


def _conditioning(config: ConfigDict, player: str) -> str:
    """How a network's condition enters: "text" for text embeddings that are joined."""
    how = str(config.condition[player])
    return "text" if config.condition.on == "text" and how == "concat" else how


def _shape_conflicts(config: ConfigDict, shape: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Fields that do not fit examples of a shape, each with the examples it needs."""
    if config.get("generator", {}).get("name") == "monotone" and shape not in ((), (1,)):
        yield "generator.name", "single numbers"
    augment = config.get("augment", ())
    if augment and len(shape) != 3:
        yield "augment", "images"
    elif "color" in augment and shape[-1] != 3:
        others = ",".join(name for name in augment if name != "color")
        yield "augment", f"RGB images for 'color'; for grey ones use --config.augment={others}"
    for player in (name for name in NETWORKS if name in config):
        network = config[player]
        if network.name in ("mlp", "monotone"):
            continue
        if len(shape) != 3:
            yield f"{player}.name", "images"
            return
        halvings = len(network.widths) - (network.name == "r3gan")
        if shape[0] % 2**halvings or shape[1] % 2**halvings:
            sides = f"sides divisible by {2**halvings}, for {halvings} halvings"
            yield f"{player}.widths", f"{sides}: change it or --config.image_size"


def _pixel_low(config: ConfigDict, shape: tuple[int, ...]) -> float:
    """-1 for images from tanh, and from convolutional networks of linear output, else 0."""
    output = config.generator.get("output")
    signed = output == "tanh" or (output == "linear" and config.generator.name != "mlp")
    return -1.0 if signed and len(shape) == 3 else 0.0


def spec(config: ConfigDict, example_shape: tuple[int, ...], classes: int = 0) -> Spec:
    """The static half of a validated config, for examples of a shape.

    Args:
      config: a validated config.
      example_shape: shape of an example.
      classes: number of classes in the data, 0 without labels; for conditional networks.

    Raises:
      InputError: a network does not take such examples, or needs labels that they lack.
    """
    on = config.condition.on
    if on != "label":
        classes = 0
    elif not classes:
        raise InputError(
            f"config.condition.on is 'label', but {config.dataset} has no labels (a folder "
            "has, with one subfolder per class; an npz, as `labels`; molecules, as `active`)"
        )
    elif classes > _MAX_CLASSES:
        raise InputError(
            f"config.condition.on is 'label', but {config.dataset} has labels up to {classes - 1}: "
            f"expected at most {_MAX_CLASSES} classes, numbered from 0"
        )
    if conflict := next(_shape_conflicts(config, example_shape), None):
        name, wanted = conflict
        raise InputError(
            f"config.{name} is {flatten(config)[name]!r}, but {config.dataset} has examples of "
            f"shape {example_shape}: expected {wanted}"
        )
    schedules = tuple(map(parse_schedule, config.schedules))
    if config.algorithm == "rbm":
        return RBMSpec(
            k=config.k,
            persistent=config.persistent,
            sample_steps=config.sample_steps,
            batch_size=config.batch_size,
            z_dim=config.z_dim,
            prior=Prior(**config.prior),
            optimizer=config.optimizer.name,
            example_shape=example_shape,
            schedules=schedules,
        )
    dtype = {"dtype": config.precision, "condition": _conditioning(config, "generator")}
    if config.generator.name == "monotone":
        dtype = {}
    shared: dict[str, Any] = {
        "algorithm": config.algorithm,
        "batch_size": config.batch_size,
        "z_dim": config.z_dim,
        "prior": Prior(**config.prior),
        "generator": _network(config, "generator", out_shape=example_shape, **dtype),
        "schedules": schedules,
        "pixel_low": _pixel_low(config, example_shape),
    }
    if config.algorithm != "gan":
        shared |= {
            "encoder": _encoder(config),
            "optimizer": config.optimizer.name,
            "likelihood": config.likelihood,
            "classes": classes,
        }
        if config.algorithm != "aae":
            return AutoencoderSpec(**shared)
        if config.num_categories:
            shared |= {"classes": config.num_categories, "infers_classes": True}
        return AutoencoderSpec(
            **shared,
            num_labelled=config.num_labelled,
            discriminator=_network(
                config, "discriminator", out_shape=(), output="linear", dtype=config.precision
            ),
            loss=config.loss,
            d_optimizer=config.d_optimizer.name,
            e_optimizer=config.e_optimizer.name,
        )
    output = {"output": "linear"} if config.discriminator.name == "mlp" else {}
    return GANSpec(
        **shared,
        loss=config.loss,
        k=config.k,
        update=config["update"],  # ConfigDict has a method of this name
        discriminator=_network(
            config,
            "discriminator",
            out_shape=(),
            dtype=config.precision,
            condition=_conditioning(config, "discriminator"),
            **output,
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
        adaptive=hparams(config)["ada_target"] is not None,
        classes=classes,
        text=text_encoder.FEATURES if on == "text" else 0,
    )


def _encoder(config: ConfigDict) -> Network:
    """Maps examples to codes, or to the mean and log variance of a VAE's."""
    own = {"output": "linear"} if config.encoder.name == "mlp" else {"batch_norm": False}
    codes = (2 if config.algorithm == "vae" else 1) * config.z_dim
    out_shape = (codes + config.get("num_categories", 0),)
    return _network(config, "encoder", out_shape=out_shape, dtype=config.precision, **own)


def hparams(config: ConfigDict) -> HParams:
    """The traced half of a validated config: every traced field, None where it is disabled."""
    flat = flatten(config)
    traced = {name: value for name, value in flat.items() if name in TRACED}
    scheduled = {parse_schedule(text).field for text in config.schedules}
    for name, value in traced.items():
        if FIELDS[name].optional and not value and name not in scheduled:
            traced[name] = None
    return unflatten(traced)
