"""Reads a config, applies --config.FIELD=VALUE, and makes of it what a run needs."""

import ast
import importlib.util
import json
import os
import pathlib
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from gan_jax.core import Game, HParams, Prior
from gan_jax.errors import InputError, brief
from gan_jax.fields import FIELDS, coerce, contradictions, unknown
from gan_jax.networks import MLP, Monotone
from gan_jax.optimizers import Optimizer, Rates
from gan_jax.penalties import PENALTIES


def flatten(config: ConfigDict | dict[str, Any]) -> dict[str, Any]:
    """All fields of a config, or of a dict of dicts, by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict | dict):
            flat |= {f"{name}.{field}": v for field, v in flatten(value).items()}
        else:
            flat[str(name)] = value
    return flat


def _build(fields: dict[str, Any]) -> ConfigDict:
    """The config of these fields, each of them checked."""
    for field in fields:
        if field not in FIELDS:
            raise unknown(field)
    nested: dict[str, Any] = {}
    for field, rule in FIELDS.items():
        if field not in fields:
            raise InputError(f"config.{field} is missing: it must be {rule.allowed}")
        *groups, leaf = field.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = coerce(field, fields[field])
    config = ConfigDict(nested)
    if found := next(contradictions(config), None):
        field, wanted = found
        shown = flatten(config)[field]
        raise InputError(f"config.{field} is {shown!r}, but must be {wanted}")
    return config


def _parse(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {"true": True, "false": False}.get(text, text)


def override(config: ConfigDict | dict[str, Any], settings: Sequence[str]) -> ConfigDict:
    """Applies settings of the form --config.FIELD=VALUE, and validates the result.

    Raises:
      InputError: a setting of another form, or a field that is missing, unknown, of the wrong type
        or out of range.
    """
    fields: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        field = name.removeprefix("--config.")
        if field == name or not equals:
            raise InputError(
                f"unknown argument {setting!r}; fields are set by --config.FIELD=VALUE"
            )
        if field not in FIELDS:
            raise unknown(field)
        value = text if FIELDS[field].kind is str else _parse(text)
        if FIELDS[field].kind is tuple and isinstance(value, str):
            value = tuple(value.split(","))
        if FIELDS[field].kind is tuple and type(value) is int:  # --config.generator.widths=32
            value = (value,)
        fields[field] = value
    return replace(config, fields)


def replace(config: ConfigDict | dict[str, Any], fields: dict[str, Any]) -> ConfigDict:
    """The validated config with other values of some fields, by their dotted names.

    Raises:
      InputError: a field that is missing, unknown, of the wrong type or out of range.
    """
    return _build(flatten(config) | fields)


def load(path: str, settings: Sequence[str] = ()) -> ConfigDict:
    """The validated config of a file, with --config.FIELD=VALUE settings applied.

    Args:
      path: a .py file that defines get_config() (code that is run), or a run's config.json.
      settings: of the form --config.FIELD=VALUE.

    Raises:
      InputError: no such file, one that cannot be read, or a field that is refused.
    """
    if path.endswith(".json"):
        return override(_read("--config", path, _load_json), settings)
    config = call("--config", path, "get_config")
    if not isinstance(config, ConfigDict):
        raise InputError(f"--config={path}: get_config() did not return a ConfigDict")
    return override(config, settings)


def call(flag: str, path: str, function: str) -> Any:
    """What a function without arguments of a .py file returns; the file is code, and is run.

    Raises:
      InputError: no such file or function, or whatever it raises; the message names the flag.
    """
    return _read(flag, path, lambda file: _call(file, function))


def _read(flag: str, path: str, read: Callable[[pathlib.Path], Any]) -> Any:
    if not os.path.isfile(path):
        raise InputError(f"{flag}={textwrap.shorten(path, 200)}: no such file")
    try:
        return read(pathlib.Path(path))
    except (Exception, SystemExit) as e:  # whatever a user's code raises is told in one line
        raise InputError(f"{flag}={path}: {brief(e)}") from e


def _load_json(file: pathlib.Path) -> dict[str, Any]:
    fields = json.loads(file.read_bytes())
    if not isinstance(fields, dict):
        raise TypeError("not a JSON object")
    return flatten(fields)


def _call(file: pathlib.Path, function: str) -> Any:
    # `from configs import mnist` finds what lies beside the file, and what comes with gan_jax.
    roots = [str(file.resolve().parent.parent), str(pathlib.Path(__file__).parent.parent)]
    spec = importlib.util.spec_from_file_location(f"gan_jax_{function}", file)
    if spec is None:
        raise ValueError("neither a .py nor a .json file")
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path[:0] = roots
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, function):
            raise AttributeError(f"defines no {function}()")
        return getattr(module, function)()
    finally:
        del sys.path[:2]


def game(config: ConfigDict, example_shape: tuple[int, ...]) -> Game:
    """The static half of a validated config: what shapes the compiled program."""

    def optimizer(c: ConfigDict) -> Optimizer:
        return Optimizer(**{field: c[field] for field in Optimizer._fields})

    g = config.generator.to_dict()
    monotone = g.pop("monotone")
    if monotone and example_shape not in ((), (1,)):
        raise InputError(
            f"config.generator.monotone is True, but {config.dataset} has examples of shape "
            f"{example_shape}: only numbers have an order"
        )
    return Game(
        loss=config.loss,
        k=config.k,
        update=config["update"],  # ConfigDict has a method of this name
        batch_size=config.batch_size,
        z_dim=config.z_dim,
        prior=Prior(**config.prior),
        generator=Monotone(*g["widths"]) if monotone else MLP(out_shape=example_shape, **g),
        discriminator=MLP(out_shape=(), output="linear", **config.discriminator),
        d_optimizer=optimizer(config.d_optimizer),
        g_optimizer=optimizer(config.g_optimizer),
        pack=config.pack,
        unrolled_steps=config.unrolled_steps,
        penalties=tuple((name, config.penalties[name].interval) for name in _penalties(config)),
        label_smoothing=config.label_smoothing > 0,
        weight_clip=config.weight_clip > 0,
        ema=config.ema > 0,
        instance_noise=config.instance_noise.std > 0,
        noise_steps=config.instance_noise.steps,
    )


def _penalties(config: ConfigDict) -> list[str]:
    return [name for name in PENALTIES if config.penalties[name].weight > 0]


def hparams(config: ConfigDict) -> HParams:
    """The traced half of a validated config: what is only a number."""

    def rates(c: ConfigDict) -> Rates:
        return Rates(**{field: c[field] for field in Rates._fields})

    return HParams(
        d=rates(config.d_optimizer),
        g=rates(config.g_optimizer),
        penalties=tuple(config.penalties[name].weight for name in _penalties(config)),
        label_smoothing=config.label_smoothing,
        weight_clip=config.weight_clip,
        ema=config.ema,
        instance_noise=config.instance_noise.std,
        consensus=config.consensus,
    )


# The fields of `hparams`. Whether some are 0 is part of `game` as well.
TRACED = (
    *(f"{player}_optimizer.{rate}" for player in "dg" for rate in Rates._fields),
    *(f"penalties.{name}.weight" for name in PENALTIES),
    *("label_smoothing", "weight_clip", "ema", "instance_noise.std", "consensus"),
)


def differences(old: ConfigDict, new: ConfigDict) -> dict[str, str]:
    """The fields that differ between two validated configs, each with its 'old -> new'."""
    a, b = flatten(old), flatten(new)
    return {field: f"{a[field]!r} -> {b[field]!r}" for field in FIELDS if a[field] != b[field]}
