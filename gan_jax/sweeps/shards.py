"""What a sweep's directory says of itself, and whether it may go on: sweep.json, and shards.

`spec` is what sweep.json holds: config, settings, seeds, shard ((i, n) or None), data_sha256 (of
what is trained on and of what is scored against), command, and units, the numbers of the members
that train together; None where shards were merged.
"""

import itertools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from gan_jax import config as config_lib
from gan_jax import workdir
from gan_jax.errors import InputError
from gan_jax.fields import FREE

SPEC = "sweep.json"
SHARDS = "shard-*-of-*"
_FREE = set(FREE) - {"metrics_every"}  # of which the curves have a row each


def name(shard: Sequence[int]) -> str:
    return f"shard-{shard[0]}-of-{shard[1]}"


def read_spec(directory: pathlib.Path) -> dict[str, Any]:
    """What a directory says of its sweep, or of its shard of one.

    Its "units" are the numbers of the members that train together; None where shards were merged.

    Raises:
      InputError: nothing, or something that no sweep has written.
    """
    spec = workdir.read_json(directory / SPEC)
    try:
        i, n = spec["shard"] or (0, 1)
        members = range(len(spec["settings"]) * spec["seeds"])[i::n]
        merged = spec["shard"] is None and spec["units"] is None
        numbers = members if merged else list(itertools.chain(*spec["units"]))
        sound = 0 <= i < n and 0 < len(members) == len(numbers)
        sound = sound and sorted(numbers) == list(members)
        kinds = {"config": dict, "settings": list, "data_sha256": list, "command": str}
        sound = sound and all(isinstance(spec[name], kind) for name, kind in kinds.items())
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise InputError(f"{directory / SPEC} is damaged: no sweep has written what it says")
    return spec


def difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What makes two sweeps different ones; empty if nothing does."""
    a, b = (config_lib.flatten(spec["config"]) for spec in (old, new))
    fields = sorted(
        field for field in (a.keys() | b.keys()) - _FREE if a.get(field) != b.get(field)
    )
    names = [name for name in ("settings", "seeds", "data_sha256") if old[name] != new[name]]
    return ", ".join(["config"] * bool(fields) + names) + (f" ({', '.join(fields)})" * bool(fields))


def _same(directory: pathlib.Path, spec: dict[str, Any]) -> dict[str, Any]:
    """The spec in a directory, which must be of the same sweep."""
    if not (directory / SPEC).exists():
        raise InputError(f"--workdir={directory} holds something that is not this sweep")
    old = read_spec(directory)
    if what := difference(old, spec):
        raise InputError(
            f"--workdir={directory} holds another sweep: its {what} changed; name another"
        )
    return old


def check(directory: pathlib.Path, spec: dict[str, Any]) -> None:
    """Refuses a directory that holds something else than this sweep; nothing is written."""
    spec = json.loads(json.dumps(spec))
    if not workdir.is_new(directory):
        old = _same(directory, spec)
        if old["units"] is None:
            raise InputError(f"--workdir={directory} holds this sweep, merged from shards")
        if old["shard"] != spec["shard"]:
            raise InputError(f"--workdir={directory} is not the shard of its name: was it copied?")
    if spec["shard"] is not None:
        check_shards(directory.parent, spec)


def check_shards(directory: pathlib.Path, spec: dict[str, Any]) -> None:
    """Refuses a directory of shards that holds something else; nothing is written."""
    shards = set(directory.glob(SHARDS))
    others = set(directory.iterdir()) - shards if directory.is_dir() else set()
    visible = [p for p in others if not p.name.startswith(".")]
    if visible and _same(directory, spec)["units"] is not None:
        raise InputError(f"--workdir={directory} holds this sweep as a whole, not in shards")
    for shard in shards:
        if (shard / SPEC).exists():
            other = _same(shard, spec)["shard"]
            if other is None or other[1] != spec["shard"][1]:
                raise InputError(f"{shard} is there, which is not one of {spec['shard'][1]} shards")
