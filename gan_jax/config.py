"""Reads a config, applies --config.FIELD=VALUE, and refuses what no run could mean."""

import ast
import difflib
import importlib.util
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from gan_jax.algorithm import STEP_INFO, Game, HParams, Prior
from gan_jax.errors import InputError
from gan_jax.losses import LOSSES
from gan_jax.networks import ACTIVATIONS, INITIALIZERS, MLP, OUTPUTS
from gan_jax.optimizers import OPTIMIZERS, SCHEDULES, Optimizer, Rates

_FLOAT32_MAX = 3.4e38  # numbers are computed with in float32


class Rule(NamedTuple):
    """What a field may be."""

    kind: type
    allowed: str
    ok: Callable[[Any], bool]


def _integer(low: int, high: int = 2**31 - 1) -> Rule:
    return Rule(int, f"an integer from {low} to {high}", lambda v: low <= v <= high)


def _real(allowed: str, ok: Callable[[float], bool] = lambda v: True) -> Rule:
    return Rule(float, allowed, lambda v: abs(v) <= _FLOAT32_MAX and ok(v))


def _choice(options: Iterable[str]) -> Rule:
    options = tuple(options)
    return Rule(str, "one of " + ", ".join(options), lambda v: v in options)


def _integers(length: int | None, low: int) -> Rule:
    count = "any number of" if length is None else str(length)
    return Rule(
        tuple,
        f"a tuple of {count} integers from {low} up",
        lambda v: all(type(x) is int and x >= low for x in v) and length in (None, len(v)),
    )


_TEXT = Rule(str, "a name", bool)
_FLAG = Rule(bool, "True or False", lambda v: True)
_NON_NEGATIVE = _real("a number, at least 0", lambda v: v >= 0)
_POSITIVE = _real("a number above 0", lambda v: v > 0)
_DECAY = _real("a number from 0 to below 1", lambda v: 0 <= v < 1)
_NETWORK = {
    "widths": _integers(None, 1),
    "activation": _choice(ACTIVATIONS),
    "initializer": _choice(INITIALIZERS),
    "init_scale": _real("a number above 0, at most 1000", lambda v: 0 < v <= 1000),
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
}


def _group(name: str, rules: dict[str, Rule]) -> dict[str, Rule]:
    return {f"{name}.{field}": rule for field, rule in rules.items()}


FIELDS: dict[str, Rule] = {
    "seed": _integer(0, 2**32 - 1),
    "accelerator": _choice(("auto", "cpu", "gpu", "tpu")),
    "deterministic": _FLAG,
    "dataset": _TEXT,
    "split": _TEXT,
    "image_size": _integer(0, 4096),
    "loss": _choice(LOSSES),
    "k": _integer(1),
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
    **_group("generator", {**_NETWORK, "output": _choice(OUTPUTS)}),
    **_group("discriminator", _NETWORK),
    **_group("d_optimizer", _OPTIMIZER),
    **_group("g_optimizer", _OPTIMIZER),
    "log_every": _integer(1),
    "metrics_every": _integer(1),
    "sample_every": _integer(1),
    "sample_grid": _integers(2, 1),
    "checkpoint_every": _integer(1),
    "keep_checkpoints": _integer(1),
    "keep_best": _choice(("none", *STEP_INFO)),
    "tensorboard": _FLAG,
}

# Fields that say what is written and when, and nothing of the mathematics.
FREE = (
    "log_every",
    "metrics_every",
    "sample_every",
    "sample_grid",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_best",
    "tensorboard",
)


def flatten(config: ConfigDict) -> dict[str, Any]:
    """All fields of a config by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= {f"{name}.{field}": v for field, v in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def _unknown(field: str) -> InputError:
    near = difflib.get_close_matches(field, FIELDS, n=1, cutoff=0.5)
    hint = f"; did you mean config.{near[0]}?" if near else "."
    return InputError(f"config.{field} is not a field{hint} The fields are: {', '.join(FIELDS)}")


def _coerce(field: str, value: Any) -> Any:
    """The value as its field's type, where nothing is lost; otherwise an InputError."""
    rule = FIELDS[field]
    if rule.kind is float and type(value) is int:
        value = float(value)
    if rule.kind is tuple and isinstance(value, list):
        value = tuple(value)
    if type(value) is not rule.kind or not rule.ok(value):
        raise InputError(f"config.{field} is {value!r}, but must be {rule.allowed}")
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
    if not config.prior.low < config.prior.high:
        raise InputError(
            f"config.prior.low is {config.prior.low}, but must be below prior.high, "
            f"{config.prior.high}"
        )
    if config.num_steps * config.k * config.batch_size >= 2**31:
        raise InputError(
            f"config.num_steps is {config.num_steps}, but num_steps * k * batch_size must be "
            "below 2^31"
        )
    return config


def validate(config: ConfigDict) -> ConfigDict:
    """A copy of the config with every field checked.

    Raises:
      InputError: a field is missing, unknown, of the wrong type or out of range.
    """
    return _build(flatten(config))


def _parse(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text, text)


def override(config: ConfigDict, settings: Sequence[str]) -> ConfigDict:
    """Applies settings of the form --config.FIELD=VALUE, and validates the result.

    Raises:
      InputError: a setting of another form, or one that `validate` refuses.
    """
    fields = flatten(config)
    for setting in settings:
        name, equals, text = setting.partition("=")
        field = name.removeprefix("--config.")
        if field == name or not equals:
            raise InputError(
                f"unknown argument {setting!r}; fields are set by --config.FIELD=VALUE"
            )
        if field not in FIELDS:
            raise _unknown(field)
        fields[field] = text if FIELDS[field].kind is str else _parse(text)
    return _build(fields)


def load(path: str, settings: Sequence[str] = ()) -> ConfigDict:
    """The validated config of a file, with --config.FIELD=VALUE settings applied.

    Args:
      path: a .py file that defines get_config() (code that is run), or a run's config.json.
      settings: of the form --config.FIELD=VALUE.

    Raises:
      InputError: no such file, one that cannot be read, or a field that is refused.
    """
    file = pathlib.Path(path)
    if not file.is_file():
        raise InputError(f"--config={path}: no such file")
    config = _load_json(file) if file.suffix == ".json" else _load_python(file)
    return override(config, settings)


def _load_json(file: pathlib.Path) -> ConfigDict:
    try:
        fields = json.loads(file.read_text())
    except (OSError, ValueError) as e:
        raise InputError(f"--config={file}: not a readable JSON file ({e})") from None
    if not isinstance(fields, dict):
        raise InputError(f"--config={file}: not a JSON object")
    return ConfigDict(fields)


def _load_python(file: pathlib.Path) -> ConfigDict:
    # A variant imports its base as `from configs import mnist`, from wherever it is run.
    sys.path.append(str(file.resolve().parent.parent))
    try:
        spec = importlib.util.spec_from_file_location("gan_jax_config", file)
        if spec is None or spec.loader is None:
            raise InputError(f"--config={file}: neither a .py nor a .json file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise InputError(f"--config={file}: defines no get_config()")
        config = module.get_config()
    except InputError:
        raise
    except Exception as e:  # the file is the user's code: whatever it raises is told in one line
        raise InputError(f"--config={file}: {type(e).__name__}: {e}") from e
    finally:
        sys.path.pop()
    if not isinstance(config, ConfigDict):
        raise InputError(f"--config={file}: get_config() did not return a ConfigDict")
    return config


def game(config: ConfigDict, example_shape: tuple[int, ...]) -> Game:
    """The static half of a validated config: what shapes the compiled program."""

    def mlp(c: ConfigDict, out_shape: tuple[int, ...], output: str) -> MLP:
        return MLP(c.widths, out_shape, c.activation, output, c.initializer, c.init_scale)

    def optimizer(c: ConfigDict) -> Optimizer:
        return Optimizer(**{field: c[field] for field in Optimizer._fields})

    return Game(
        loss=config.loss,
        k=config.k,
        batch_size=config.batch_size,
        z_dim=config.z_dim,
        prior=Prior(**config.prior),
        generator=mlp(config.generator, example_shape, config.generator.output),
        discriminator=mlp(config.discriminator, (), "linear"),
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
