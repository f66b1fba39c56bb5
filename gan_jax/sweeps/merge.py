"""Files of a sweep and merging of shards.

A sweep's directory holds sweep.json (see `SweepSpec`) and for each unit units/NNNN with its
checkpoints or, once it is finished, its result.npz. A shard's directory, shard-I-of-N, holds the
same for every N-th member from I on.
"""

import io
import itertools
import json
import logging
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gan_jax import config, workdir
from gan_jax.config.schema import RESUME_MUTABLE
from gan_jax.errors import InputError, brief
from gan_jax.provenance import differences
from gan_jax.sweeps import summary
from gan_jax.sweeps.ranking import Results
from gan_jax.sweeps.space import Setting
from gan_jax.sweeps.unit import Result
from gan_jax.writers import write_json, write_whole

log = logging.getLogger(__name__)

SPEC = workdir.SWEEP
SHARDS = "shard-*-of-*"
_MUTABLE = set(RESUME_MUTABLE) - {"metrics_every"}  # which determines the rows of the curves


class SweepSpec(NamedTuple):
    """Contents of sweep.json."""

    config: dict[str, Any]  # that the settings modify
    settings: list[Setting]
    seeds: int  # per setting
    shard: list[int] | None  # [i, n]: every n-th member from i on
    data_sha256: list[str]  # of the training data and of the held-out data
    command: str  # that trains the whole sweep
    units: list[list[int]] | None  # member numbers; None where shards were merged


def shard_directory(directory: pathlib.Path, shard: list[int]) -> pathlib.Path:
    return directory / f"shard-{shard[0]}-of-{shard[1]}"


def unit_directory(directory: pathlib.Path, number: int) -> pathlib.Path:
    return directory / "units" / f"{number:04}"


def write_spec(directory: pathlib.Path, spec: SweepSpec) -> None:
    write_json(directory / SPEC, spec._asdict())


def read_spec(directory: pathlib.Path) -> SweepSpec:
    """Reads sweep.json.

    Raises:
      InputError: there is none, or it is damaged.
    """
    fields = workdir.read_json(directory / SPEC)
    try:
        spec = SweepSpec(**fields)
        i, n = spec.shard or (0, 1)
        members = range(len(spec.settings) * spec.seeds)[i::n]
        merged = spec.shard is None and spec.units is None
        numbers = members if merged else itertools.chain(*spec.units or ())
        damaged = not 0 <= i < n or not members or sorted(numbers) != list(members)
        damaged = damaged or not isinstance(spec.config, dict)
    except (TypeError, ValueError, OverflowError):
        damaged = True
    if damaged:
        raise InputError(f"{directory / SPEC} is damaged: its contents are inconsistent")
    return spec


def difference(old: SweepSpec, new: SweepSpec) -> str:
    """Differences between two specs; empty if they describe the same sweep."""
    fields = config.differences(*(config.override(spec.config, ()) for spec in (old, new)))
    found = [f"config.{field} ({text})" for field, text in fields.items() if field not in _MUTABLE]
    for name in ("settings", "seeds", "data_sha256"):
        if getattr(old, name) != getattr(new, name):
            found.append(name)
    return ", ".join(found)


def _read_same(directory: pathlib.Path, spec: SweepSpec) -> SweepSpec:
    """The spec in a directory, which must be that of the same sweep."""
    if not (directory / SPEC).exists():
        raise InputError(f"--workdir={directory} is not empty and not a sweep; use another one")
    old = read_spec(directory)
    if what := difference(old, spec):
        raise InputError(
            f"--workdir={directory} holds another sweep, which differs in {what}; use another one"
        )
    return old


def check(directory: pathlib.Path, spec: SweepSpec) -> None:
    """Refuses a directory that holds anything but this sweep or shard. Writes nothing."""
    spec = SweepSpec(**json.loads(json.dumps(spec._asdict())))  # tuples become lists
    if not workdir.is_new(directory):
        old = _read_same(directory, spec)
        if old.units is None:
            raise InputError(f"--workdir={directory} holds this sweep, merged from shards")
        if old.shard != spec.shard:
            raise InputError(f"--workdir={directory} is a copy of another shard")
    if spec.shard is not None:
        _check_shards(directory.parent, spec, spec.shard[1])


def _check_shards(directory: pathlib.Path, spec: SweepSpec, number: int) -> None:
    """Refuses a directory that holds anything but shards of this sweep."""
    shards = set(directory.glob(SHARDS))
    others = set(directory.iterdir()) - shards if directory.is_dir() else set()
    visible = [path for path in others if not path.name.startswith(".")]
    if visible and _read_same(directory, spec).units is not None:
        raise InputError(f"--workdir={directory} holds this sweep as a whole, not in shards")
    for shard in shards:
        if (shard / SPEC).exists():
            other = _read_same(shard, spec).shard
            if other is None or other[1] != number:
                raise InputError(f"{shard} exists and is not one of {number} shards")


def write_result(unit: pathlib.Path, numbers: list[int], result: Result) -> None:
    """Writes a unit's result.npz."""
    buffer = io.BytesIO()
    arrays = {name: np.asarray(value) for name, value in result._asdict().items()}
    np.savez(buffer, allow_pickle=False, numbers=np.array(numbers), **arrays)
    write_whole(unit / "result.npz", buffer.getvalue())


def read_result(unit: pathlib.Path, numbers: list[int]) -> dict[str, np.ndarray]:
    """The arrays of a unit's result, and the numbers of its members.

    Raises:
      InputError: there is no result, it is damaged, or it has other members.
    """
    file = unit / "result.npz"
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            found = dict(arrays)
        if found.keys() != {"numbers", *Result._fields} or found["numbers"].tolist() != numbers:
            raise ValueError("it belongs to another unit")
    except FileNotFoundError:
        raise InputError(f"{unit} is not finished") from None
    except Exception as e:  # damaged zip files raise anything
        raise InputError(f"{file} cannot be read: {brief(e)}; remove it to train it again") from e
    return found


def merge(directory: pathlib.Path) -> int:
    """Joins the shards of a sweep.

    Raises:
      InputError: shards are missing, unfinished or of different sweeps, or the directory holds
        something else. Nothing is written.
    """
    shards = _read_shards(directory)
    one, first = next(iter(shards.items()))
    for path, spec in shards.items():
        if what := difference(first, spec):
            raise InputError(f"{path} and {one.name} are of sweeps that differ in {what}")
        if spec.shard is None or path != shard_directory(directory, spec.shard):
            raise InputError(f"{path} is a copy of another shard")
    _, number = first.shard or (0, 1)
    if shards.keys() != {shard_directory(directory, [i, number]) for i in range(number)}:
        names = ", ".join(path.name for path in shards)
        raise InputError(f"{directory} does not have all shards of one sweep, but {names}")
    _check_shards(directory, first, number)
    with workdir.lock(directory):
        summarize(directory, first._replace(shard=None, units=None), shards)
        for name in ("config.json", "run.json"):
            write_whole(directory / name, (one / name).read_bytes())
    return 0


def summarize(
    directory: pathlib.Path, spec: SweepSpec, parts: Mapping[pathlib.Path, SweepSpec]
) -> None:
    """Joins the results of all units and writes sweep.json and the report.

    Args:
      directory: the sweep's directory.
      spec: spec of the whole sweep.
      parts: directories that hold its units, with their specs.
    """
    units = _unit_members(parts)
    results = join(spec, [read_result(unit, numbers) for unit, numbers in units.items()])
    base = config.override(spec.config, ())
    note = f"Scored with {base.eval_num} samples against `{base.dataset}` {base.validation_split}."
    records = [workdir.read_json(unit / "run.json") for unit in units]
    records += [part for record in records for part in record.get("earlier", ())]
    if changes := {change for record in records for change in differences(records[0], record)}:
        mixed = f"Units were trained in different environments: {', '.join(sorted(changes))}."
        log.warning("%s: %s", directory, mixed)
        note += f" {mixed}"
    write_spec(directory, spec)
    summary.write(directory, results, base.eval_metrics[0], spec.command, note)
    print(directory / "summary.md")


def unit_members(directory: pathlib.Path, spec: SweepSpec) -> dict[pathlib.Path, list[int]]:
    """Directories of the units of a sweep, merged or not, or of a shard, and their members.

    Raises:
      InputError: the sweep was merged from shards that are gone or damaged.
    """
    if spec.units is not None:
        return _unit_members({directory: spec})
    return _unit_members(_read_shards(directory))


def _read_shards(directory: pathlib.Path) -> dict[pathlib.Path, SweepSpec]:
    shards = {path: read_spec(path) for path in sorted(directory.glob(SHARDS))}
    if not shards:
        raise InputError(f"--workdir={directory} has no shards")
    return shards


def _unit_members(parts: Mapping[pathlib.Path, SweepSpec]) -> dict[pathlib.Path, list[int]]:
    return {
        unit_directory(path, number): numbers
        for path, part in parts.items()
        for number, numbers in enumerate(part.units or ())
    }


def join(spec: SweepSpec, units: list[dict[str, np.ndarray]]) -> Results:
    """The results of the members of these units, in order.

    Units may record different quantities (d_penalty needs a penalty) and steps (if num_steps is
    swept). Curves are NaN where a unit has no measurement.
    """
    numbers = np.concatenate([unit["numbers"] for unit in units])
    order = np.argsort(numbers)
    numbers = numbers[order]
    steps = np.unique(np.concatenate([unit["steps"] for unit in units]))
    names = tuple(dict.fromkeys(str(name) for unit in units for name in unit["names"]))
    curves = np.full((len(numbers), len(steps), len(names)), np.nan, np.float32)
    for unit in units:
        columns = np.array([names.index(str(name)) for name in unit["names"]])
        rows = np.searchsorted(steps, unit["steps"])
        members = np.searchsorted(numbers, unit["numbers"])
        curves[np.ix_(members, rows, columns)] = unit["curves"]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([unit[name] for unit in units])[order]

    return Results(
        settings=spec.settings,
        setting=numbers // spec.seeds,
        seed=spec.config["seed"] + numbers % spec.seeds,
        steps=steps,
        names=names,
        curves=curves,
        diverged=joined("diverged"),
        samples=joined("samples"),
        params_sha256=list(map(str, joined("params_sha256"))),
    )
