"""Reads a config, applies --config.FIELD=VALUE, and refuses what no run could mean."""

import ast
import difflib
import importlib.util
import json
import math
import os
import pathlib
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from gan_jax.algorithm import STEP_INFO, Game, HParams, Prior
from gan_jax.errors import InputError, brief
from gan_jax.losses import LOSSES
from gan_jax.networks import ACTIVATIONS, INITIALIZERS, MLP, OUTPUTS
from gan_jax.optimizers import OPTIMIZERS, SCHEDULES, Optimizer, Rates
from gan_jax.scores import METRICS

_FLOAT32_MAX = 3.4e38  # numbers are computed with in float32


class Rule(NamedTuple):
    """What a field may be."""

    kind: type
    allowed: str
    ok: Callable[[Any], bool]


def _integer(low: int, high: int = 2**31 - 1) -> Rule:
    return Rule(int, f"an integer from {low} to {high}", lambda v: low <= v <= high)


def _real(allowed: str, ok: Callable[[float], bool] = lambda v: True) -> Rule:
    # Judged as float32, which is what it is computed with: 0.999999999 is 1, and 1e-60 is 0.
    return Rule(float, allowed, lambda v: abs(v) <= _FLOAT32_MAX and ok(float(np.float32(v))))


def _choice(options: Iterable[str]) -> Rule:
    options = tuple(options)
    return Rule(str, "one of " + ", ".join(options), lambda v: v in options)


def _integers(allowed: str, length: int | None, high: int) -> Rule:
    return Rule(
        tuple,
        f"a tuple of integers from 1 to {high}, such as {allowed}",
        lambda v: all(type(x) is int and 1 <= x <= high for x in v) and length in (None, len(v)),
    )


def _choices(options: Iterable[str]) -> Rule:
    options = tuple(options)
    return Rule(
        tuple,
        f"a tuple, such as ({options[0]!r},), of: " + ", ".join(options),
        lambda v: len(v) > 0 and all(x in options for x in v),
    )


_TEXT = Rule(str, "a name", bool)
_FLAG = Rule(bool, "True or False", lambda v: True)
_NON_NEGATIVE = _real("a number, at least 0", lambda v: v >= 0)
_POSITIVE = _real("a number above 0", lambda v: v > 0)
_DECAY = _real("a number from 0 to below 1", lambda v: 0 <= v < 1)
_NETWORK = {
    "widths": _integers("(128,), (256,256) or ()", None, 2**16),
    "activation": _choice(ACTIVATIONS),
    "initializer": _choice(INITIALIZERS),
    "init_scale": _real("a number above 0, at most 1000", lambda v: 0 < v <= 1000),
    "pieces": _integer(1, 2**10),
}
_OPTIMIZER = {
    "name": _choice(OPTIMIZERS),
    "learning_rate": _NON_NEGATIVE,
    "b1": _DECAY,
    "b2": _DECAY,
    "eps": _POSITIVE,
    "schedule": _choice(SCHEDULES),
    "decay_steps": _integer(1),
    "decay_rate": _real("a number above 0, at most 1", lambda v: 0 < v <= 1),
    "end_learning_rate": _NON_NEGATIVE,
    "b1_steps": _integer(0),
    "end_b1": _DECAY,
}


def _group(name: str, rules: dict[str, Rule]) -> dict[str, Rule]:
    return {f"{name}.{field}": rule for field, rule in rules.items()}


FIELDS: dict[str, Rule] = {
    "seed": _integer(0, 2**32 - 1),
    "accelerator": _choice(("auto", "cpu", "gpu", "tpu")),
    "deterministic": _FLAG,
    "dataset": _TEXT,
    "split": _TEXT,
    "validation_split": _TEXT,
    "test_split": _TEXT,
    "image_size": _integer(0, 4096),
    "loss": _choice(LOSSES),
    "k": _integer(1),
    "update": _choice(("alternating", "simultaneous")),
    "num_steps": _integer(1),
    "batch_size": _integer(1),
    "z_dim": _integer(1),
    **_group(
        "prior",
        {
            "name": _choice(("uniform", "normal")),
            "low": _real("a finite number"),
            "high": _real("a finite number"),
        },
    ),
    **_group(
        "generator",
        {**_NETWORK, "output": _choice(OUTPUTS), "output_bias": _choice(("zero", "data_mean"))},
    ),
    **_group("discriminator", {**_NETWORK, "input_dropout": _DECAY, "dropout": _DECAY}),
    **_group("d_optimizer", _OPTIMIZER),
    **_group("g_optimizer", _OPTIMIZER),
    "log_every": _integer(1),
    "metrics_every": _integer(1),
    "sample_every": _integer(1),
    "sample_grid": _integers("(4,4)", 2, 100),
    "checkpoint_every": _integer(1),
    "keep_checkpoints": _integer(1),
    "eval_every": _integer(0),
    "eval_num": _integer(1),
    "eval_metrics": _choices(METRICS),
    "keep_best": _choice(("none", *STEP_INFO, *METRICS)),
    "tensorboard": _FLAG,
}

# Fields that say what is written and when, and nothing of what: they may change on the way.
FREE = (
    "log_every",
    "metrics_every",
    "sample_every",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_best",
    "tensorboard",
)


def flatten(config: ConfigDict | dict[str, Any]) -> dict[str, Any]:
    """All fields of a config, or of a dict of dicts, by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict | dict):
            flat |= {f"{name}.{field}": v for field, v in flatten(value).items()}
        else:
            flat[str(name)] = value
    return flat


def _unknown(field: str) -> InputError:
    near = difflib.get_close_matches(field, FIELDS, n=1, cutoff=0.5)
    hint = f"; did you mean config.{near[0]}?" if near else "."
    return InputError(f"config.{field} is not a field{hint} The fields are: {', '.join(FIELDS)}")


def _coerce(field: str, value: Any) -> Any:
    """The value as its field's type, where nothing is lost; otherwise an InputError."""
    rule = FIELDS[field]
    if rule.kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**63 else math.inf
    if rule.kind is tuple and isinstance(value, list):
        value = tuple(value)
    if type(value) is not rule.kind or not rule.ok(value):
        shown = textwrap.shorten(repr(value), 60)
        raise InputError(f"config.{field} is {shown}, but must be {rule.allowed}")
    return value


def _build(fields: dict[str, Any]) -> ConfigDict:
    """The config of these fields, each of them checked."""
    for field in fields:
        if field not in FIELDS:
            raise _unknown(field)
    nested: dict[str, Any] = {}
    for field, rule in FIELDS.items():
        if field not in fields:
            raise InputError(f"config.{field} is missing: it must be {rule.allowed}")
        *groups, leaf = field.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = _coerce(field, fields[field])
    config = ConfigDict(nested)
    if not np.float32(config.prior.low) < np.float32(config.prior.high):
        raise InputError(
            f"config.prior.low is {config.prior.low}, but must be below prior.high, "
            f"{config.prior.high}"
        )
    for name in ("d_optimizer", "g_optimizer"):
        optimizer = config[name]
        if (
            optimizer.schedule != "constant"
            and optimizer.learning_rate < optimizer.end_learning_rate
        ):
            raise InputError(
                f"config.{name}.end_learning_rate is {optimizer.end_learning_rate}, but must be at "
                f"most learning_rate, {optimizer.learning_rate}"
            )
    if config.keep_best in METRICS and not (
        config.eval_every and config.keep_best in config.eval_metrics
    ):
        raise InputError(
            f"config.keep_best is {config.keep_best!r}, which is not measured: it needs a place in "
            "eval_metrics, and eval_every above 0"
        )
    for name in ("d_optimizer", "g_optimizer"):
        if config[name].b1_steps and config[name].name != "momentum":
            raise InputError(
                f"config.{name}.b1_steps is {config[name].b1_steps}, but must be 0 for "
                f"{config[name].name}: only momentum has a schedule of b1"
            )
    if config["update"] == "simultaneous" and config.k != 1:
        raise InputError(
            f"config.k is {config.k}, but must be 1 with simultaneous updates: of several "
            "discriminator steps none is the one that G's step could share"
        )
    if config.num_steps * config.k * config.batch_size >= 2**31:
        raise InputError(
            f"config.num_steps is {config.num_steps}, but num_steps * k * batch_size must be "
            "below 2^31"
        )
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
            raise _unknown(field)
        value = text if FIELDS[field].kind is str else _parse(text)
        if FIELDS[field].kind is tuple and isinstance(value, str):
            value = tuple(value.split(","))
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

    return Game(
        loss=config.loss,
        k=config.k,
        update=config["update"],  # ConfigDict has a method of this name
        batch_size=config.batch_size,
        z_dim=config.z_dim,
        prior=Prior(**config.prior),
        generator=MLP(out_shape=example_shape, **config.generator),
        discriminator=MLP(out_shape=(), output="linear", **config.discriminator),
        d_optimizer=optimizer(config.d_optimizer),
        g_optimizer=optimizer(config.g_optimizer),
    )


def hparams(config: ConfigDict) -> HParams:
    """The traced half of a validated config: what is only a number."""

    def rates(c: ConfigDict) -> Rates:
        return Rates(**{field: c[field] for field in Rates._fields})

    return HParams(d=rates(config.d_optimizer), g=rates(config.g_optimizer))


def differences(old: ConfigDict, new: ConfigDict) -> dict[str, str]:
    """The fields that differ between two validated configs, each with its 'old -> new'."""
    a, b = flatten(old), flatten(new)
    return {field: f"{a[field]!r} -> {b[field]!r}" for field in FIELDS if a[field] != b[field]}
