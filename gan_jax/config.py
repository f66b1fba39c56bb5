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
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from gan_jax.algorithm import STEP_INFO
from gan_jax.core import Game, HParams, Prior
from gan_jax.errors import InputError, brief
from gan_jax.losses import CROSS_ENTROPY, LOSSES
from gan_jax.networks import ACTIVATIONS, INITIALIZERS, MLP, OUTPUTS, Monotone
from gan_jax.optimizers import OPTIMIZERS, SCHEDULES, Optimizer, Rates
from gan_jax.penalties import PENALTIES
from gan_jax.scores import METRICS
from gan_jax.updates import UPDATES

_FLOAT32_MAX = 3.4e38  # numbers are computed with in float32


class Rule(NamedTuple):
    """What a field may be."""

    kind: type
    allowed: str
    ok: Callable[[Any], bool]


def _integer(low: int, high: int = 2**31 - 1) -> Rule:
    return Rule(int, f"an integer from {low} to {high}", lambda v: low <= v <= high)


def _real(allowed: str, ok: Callable[[float], bool] = lambda v: True) -> Rule:
    # Judged as float32, which is what it is computed with: 0.999999999 is 1. What would be 0 there,
    # such as 1e-60, is refused, as 0 turns things off.
    def fits(v: float) -> bool:
        return abs(v) <= _FLOAT32_MAX and (v == 0) == (np.float32(v) == 0)

    return Rule(float, allowed, lambda v: fits(v) and ok(float(np.float32(v))))


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
    "update": _choice(("alternating", "unrolled", *UPDATES)),
    "unrolled_steps": _integer(0, 100),
    "consensus": _NON_NEGATIVE,
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
        {
            **_NETWORK,
            "output": _choice(OUTPUTS),
            "output_bias": _choice(("zero", "data_mean")),
            "batch_norm": _FLAG,
            "monotone": _FLAG,
        },
    ),
    **_group(
        "discriminator",
        {**_NETWORK, "input_dropout": _DECAY, "dropout": _DECAY, "spectral_norm": _FLAG},
    ),
    "pack": _integer(1, 2**10),
    "label_smoothing": _real("a number from 0 to below 1/2", lambda v: 0 <= v < 0.5),
    "instance_noise.std": _NON_NEGATIVE,
    "instance_noise.steps": _integer(0),
    "weight_clip": _NON_NEGATIVE,
    **{f"penalties.{name}.weight": _NON_NEGATIVE for name in PENALTIES},
    **{f"penalties.{name}.interval": _integer(1) for name in PENALTIES},
    "ema": _DECAY,
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


def _unknown(field: Any) -> InputError:
    near = difflib.get_close_matches(str(field), FIELDS, n=1, cutoff=0.5)
    hint = f"; did you mean config.{near[0]}?" if near else "."
    return InputError(f"config.{field} is not a field{hint} The fields are: {', '.join(FIELDS)}")


def _coerce(field: str, value: Any) -> Any:
    """The value as its field's type, where nothing is lost; otherwise an InputError."""
    rule = FIELDS[field]
    if isinstance(value, np.generic):  # of np.logspace, say
        value = value.item()
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
    if found := next(_contradictions(config), None):
        field, wanted = found
        shown = flatten(config)[field]
        raise InputError(f"config.{field} is {shown!r}, but must be {wanted}")
    return config


def _contradictions(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """The fields whose values make no sense beside those of other fields, and what they must be."""
    c, update = config, config["update"]  # ConfigDict has a method of this name
    if not np.float32(c.prior.low) < np.float32(c.prior.high):
        yield "prior.low", f"below prior.high, {c.prior.high}"
    for name in ("d_optimizer", "g_optimizer"):
        o = c[name]
        if o.schedule != "constant" and o.learning_rate < o.end_learning_rate:
            yield f"{name}.end_learning_rate", f"at most learning_rate, {o.learning_rate}"
        ends = o.schedule in ("linear", "cosine") and not o.end_learning_rate
        if ends and o.decay_steps < c.num_steps:
            yield (
                f"{name}.decay_steps",
                f"at least num_steps, {c.num_steps}: the rate ends at 0, where nothing is learned",
            )
        if o.b1_steps and o.name != "momentum":
            yield f"{name}.b1_steps", f"0 for {o.name}: only momentum has a schedule of b1"
    if c.keep_best in METRICS and not (c.eval_every and c.keep_best in c.eval_metrics):
        yield (
            "keep_best",
            "measured: it needs a place in eval_metrics, and eval_every above 0",
        )
    if c.generator.monotone:
        if c.z_dim != 1:
            yield "z_dim", "1 with generator.monotone: it maps numbers to numbers"
        if c.prior.name != "normal":
            yield "prior.name", "normal with generator.monotone, whose density is known by it"
        if len(c.generator.widths) != 1:
            yield "generator.widths", "of one layer with generator.monotone"
        # The other fields of a network, which it lacks too, have no value that says so.
        lacking = {"pieces": 1, "output": "linear", "output_bias": "zero", "batch_norm": False}
        for field, off in lacking.items():
            if c.generator[field] != off:
                yield f"generator.{field}", f"{off} with generator.monotone, which has none"
        if c.pack != 1:
            yield "pack", "1 with generator.monotone: its densities are of single examples"
    if update in UPDATES and c.k != 1:
        yield (
            "k",
            f"1 with update {update}: of several discriminator steps none is the one that G's "
            "step could share",
        )
    if update == "unrolled" and not c.unrolled_steps:
        yield "unrolled_steps", "at least 1 with update unrolled: 0 steps ahead is alternating"
    if update != "unrolled" and c.unrolled_steps:
        yield "unrolled_steps", f"0 with update {update}: only unrolled looks ahead"
    if update == "consensus" and not c.consensus:
        yield "consensus", "above 0 with update consensus: with weight 0 it is simultaneous"
    if update != "consensus" and c.consensus:
        yield "consensus", f"0 with update {update}: it is the weight of consensus"
    if c.batch_size % c.pack:
        yield "pack", f"a divisor of batch_size, {c.batch_size}"
    if c.weight_clip and c.loss != "wasserstein":
        yield (
            "weight_clip",
            f"0 with loss {c.loss}: it makes D Lipschitz, which only wasserstein asks for",
        )
    if c.label_smoothing and c.loss not in CROSS_ENTROPY:
        yield (
            "label_smoothing",
            f"0 with loss {c.loss}: only {' and '.join(CROSS_ENTROPY)} have labels to smooth",
        )
    if c.generator.batch_norm and c.batch_size == 1:
        yield "batch_size", "at least 2 with generator.batch_norm: one sample is its own mean"
    for player, field, off in (
        ("generator", "pieces", 1),
        ("generator", "batch_norm", False),
        ("discriminator", "pieces", 1),
        ("discriminator", "dropout", 0.0),
    ):
        if not c[player].widths and c[player][field] != off:
            yield f"{player}.{field}", f"{off} where {player}.widths is (): no layer is hidden"
    for name, penalty in c.penalties.items():
        if penalty.interval != 1 and not penalty.weight:
            yield f"penalties.{name}.interval", f"1 where penalties.{name}.weight is 0"
    if c.instance_noise.steps and not c.instance_noise.std:
        yield "instance_noise.steps", "0 where instance_noise.std is 0: there is no noise to fade"
    if c.num_steps * c.k * c.batch_size >= 2**31:
        yield "num_steps", "less: num_steps * k * batch_size must be below 2^31"


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
