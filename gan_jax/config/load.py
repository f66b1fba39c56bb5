"""Reads a config, applies --config.FIELD=VALUE, and fills in the schema's defaults."""

import ast
import importlib.util
import json
import os
import pathlib
import sys
import textwrap
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from gan_jax.config.conflicts import conflicts
from gan_jax.config.schema import FIELDS, NETWORK_FIELDS, Field, coerce, fields, unknown
from gan_jax.errors import InputError, brief, did_you_mean

Config: TypeAlias = ConfigDict | Mapping[str, Any]

_CONFIGS = pathlib.Path(__file__).parents[1] / "configs"


def flatten(config: Config) -> dict[str, Any]:
    """All fields of a config, or of nested dicts, by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict | Mapping):
            flat |= {f"{name}.{field}": v for field, v in flatten(value).items()}
        else:
            flat[str(name)] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, leaf = name.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = value
    return nested


def _build(flat: Mapping[str, Any]) -> ConfigDict:
    """The validated config with these fields and defaults for the others."""
    known = fields(flat)
    for name in flat:
        if name not in known:
            raise unknown(name, known, flat)
    config = ConfigDict(
        unflatten(
            {
                name: coerce(name, flat[name], field) if name in flat else field.default
                for name, field in known.items()
            }
        )
    )
    if conflict := next(conflicts(config), None):
        name, wanted = conflict
        scheduled = any(text.startswith(f"{name}=") for text in config.schedules)
        value = f"{flatten(config)[name]!r}{', with a schedule' * scheduled}"
        raise InputError(f"config.{name} is {value}, but must be {wanted}")
    return config


def default() -> ConfigDict:
    """The schema's defaults: the tutorial GAN on MNIST."""
    return _build({})


def _upgrade(config: Config) -> dict[str, Any]:
    """`flatten`, with the fields of earlier versions renamed."""
    flat = flatten(config)
    if flat.pop("generator.monotone", False):
        widths = flat.get("generator.widths", (128,))
        units = widths[0] if isinstance(widths, list | tuple) and widths else widths
        flat = {k: v for k, v in flat.items() if not k.startswith("generator.")}
        flat |= {"generator.name": "monotone", "generator.units": units}
    for name in ("categories", "labelled"):
        if name in flat:
            flat[f"num_{name}"] = flat.pop(name)
    if flat.pop("tensorboard", False):
        flat["trackers"] = ("tensorboard",)
    return _upgrade_schedules(flat)


def _short(number: float) -> str:
    return repr(number).removesuffix(".0")


def _upgrade_schedules(flat: dict[str, Any]) -> dict[str, Any]:
    """Converts the separate schedule fields of earlier versions to `schedules`."""
    found = list(flat.get("schedules", ()))
    for name in ("d_optimizer", "g_optimizer"):
        own = {
            field: flat.pop(f"{name}.{field}", default)
            for field, default in (
                ("schedule", "constant"),
                ("decay_steps", 20_000),
                ("decay_rate", 1.0),
                ("end_learning_rate", 0.0),
                ("b1_steps", 0),
                ("end_b1", 0.0),
            )
        }
        if own["schedule"] != "constant":
            rate = f":{own['decay_rate']!r}" if own["schedule"] == "exponential" else ""
            found.append(
                f"{name}.learning_rate={own['schedule']}:{_short(own['end_learning_rate'])}:"
                f"{own['decay_steps']}{rate}"
            )
        if own["b1_steps"]:
            found.append(f"{name}.b1=linear:{_short(own['end_b1'])}:{own['b1_steps']}")
    if steps := flat.pop("instance_noise.steps", 0):
        found.append(f"instance_noise.std=linear:0:{steps}")
    return flat | {"schedules": tuple(found)} if found else flat


def replace(config: Config, changes: Mapping[str, Any]) -> ConfigDict:
    """The validated config with other values of some fields, by their dotted names.

    Another algorithm or kind of network (generator.name) starts from its own defaults.

    Raises:
      InputError: a field that is unknown, of the wrong type or out of range.
    """
    flat = _upgrade(config)
    if changes.get("algorithm", None) not in (None, flat.get("algorithm", "gan")):
        kept = fields(flat | dict(changes))
        flat = {name: value for name, value in flat.items() if name in kept}
    for player in NETWORK_FIELDS:
        name = f"{player}.name"
        if name in changes and changes[name] != flat.get(name, FIELDS[name].default):
            flat = {k: v for k, v in flat.items() if not k.startswith(f"{player}.")}
    return _build(flat | dict(changes))


def _parse(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {"true": True, "false": False}.get(text, text)


def override(config: Config, settings: Sequence[str]) -> ConfigDict:
    """The validated config with settings of the form --config.FIELD=VALUE applied.

    Raises:
      InputError: a setting of another form, or a field that is unknown, of the wrong type or out
        of range.
    """
    texts: dict[str, str] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        field = name.removeprefix("--config.")
        if field == name or not equals:
            hint = did_you_mean(
                field.lstrip("-"), FIELDS, "--config.", f"={text}" if equals else ""
            )
            raise InputError(
                f"unknown argument {setting!r}; fields are set by --config.FIELD=VALUE{hint}"
            )
        texts[field] = text
    kinds = _upgrade(config) | texts
    known = fields(kinds)
    changes: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in known:
            raise unknown(name, known, kinds)
        kind = known[name].rule.kind
        value = text if kind is str else _parse(text)
        if kind is tuple and isinstance(value, str):
            value = tuple(value.removesuffix(",").split(",")) if value else ()
        if kind is tuple and type(value) is int:  # --config.generator.widths=32
            value = (value,)
        changes[name] = value
    return replace(config, changes)


def load(name: str, settings: Sequence[str] = ()) -> ConfigDict:
    """The validated config of a file, with --config.FIELD=VALUE settings applied.

    Args:
      name: a .py file that defines get_config() (code that is executed), a run's config.json, or
        the name of a config of this package, such as mnist.
      settings: overrides of the form --config.FIELD=VALUE.

    Raises:
      InputError: no such file, one that cannot be read, or a field that is refused.
    """
    if name.endswith(".json"):
        return override(_read("--config", name, _load_json), settings)
    config = call_from_file("--config", name, "get_config")
    if not isinstance(config, ConfigDict):
        raise InputError(f"--config={name}: get_config() did not return a ConfigDict")
    return override(config, settings)


def call_from_file(flag: str, name: str, function: str) -> Any:
    """Executes a .py file and calls one of its functions without arguments.

    Args:
      flag: command-line flag, for error messages.
      name: a path, or the name of a config (--config) or sweep (--sweep) of this package.
      function: get_config or get_sweep.

    Raises:
      InputError: no such file or function, or any exception that it raises.
    """
    path = name
    if name.isidentifier():
        home = _CONFIGS if flag == "--config" else _CONFIGS / "sweeps"
        path = str(home / f"{name}.py")
        if not os.path.isfile(path):
            names = sorted(p.stem for p in home.glob("[!_]*.py"))
            hint = did_you_mean(name, names)
            if os.path.isfile(f"{name}.py"):
                hint = f"; did you mean {flag}=./{name}.py?"
            raise InputError(f"{flag}={name}: neither a path nor one of {', '.join(names)}{hint}")
    return _read(flag, path, lambda file: _call(file, function))


def _read(flag: str, path: str, read: Callable[[pathlib.Path], Any]) -> Any:
    if not os.path.isfile(path):
        raise InputError(f"{flag}={textwrap.shorten(path, 200)}: no such file")
    try:
        return read(pathlib.Path(path))
    except (Exception, SystemExit) as e:  # a user's code raises anything
        raise InputError(f"{flag}={path}: {brief(e)}") from e


def _load_json(file: pathlib.Path) -> dict[str, Any]:
    config = json.loads(file.read_bytes())
    if not isinstance(config, dict):
        raise TypeError("not a JSON object")
    return config


def _call(file: pathlib.Path, function: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"gan_jax_{function}", file)
    if spec is None:
        raise ValueError("neither a .py nor a .json file")
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # `from configs import mnist` finds this package's configs first, so that a user's own mnist.py
    # can import ours, and then files next to the user's.
    configs = types.ModuleType("configs")
    configs.__path__ = [str(_CONFIGS), str(file.resolve().parent)]
    before = {name: m for name, m in sys.modules.items() if name.partition(".")[0] == "configs"}
    for name in before:
        del sys.modules[name]
    sys.modules["configs"] = configs
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, function):
            raise AttributeError(f"defines no {function}()")
        return getattr(module, function)()
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == "configs"]:
            del sys.modules[name]
        sys.modules.update(before)


def changed(config: ConfigDict) -> dict[str, tuple[Any, Field]]:
    """Fields that differ from their defaults: name -> (value, field)."""
    flat = flatten(config)
    return {name: (flat[name], f) for name, f in fields(flat).items() if flat[name] != f.default}


def differences(old: ConfigDict, new: ConfigDict) -> dict[str, str]:
    """The fields that differ between two validated configs, each as 'old -> new'."""
    a, b = flatten(old), flatten(new)
    return {
        field: f"{a.get(field)!r} -> {b.get(field)!r}"
        for field in dict.fromkeys([*a, *b])
        if a.get(field) != b.get(field)
    }
