"""Plans a sweep: expands settings and seeds into members, and groups these into units.

The members of a unit share a compiled program.
"""

import itertools
import textwrap
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import psutil
from ml_collections import ConfigDict

from gan_jax import config
from gan_jax.config.schema import PER_SWEEP, TRACED
from gan_jax.data import Dataset
from gan_jax.errors import InputError
from gan_jax.sweeps import unit

_MAX_UNIT = 1024  # members, however much memory there is
_MAX_MEMBERS = 100_000


class Member(NamedTuple):
    """One run of a sweep."""

    number: int
    setting: int  # index into the sweep's settings
    values: dict[str, Any]  # of that setting, as the config holds them
    config: ConfigDict


def members(base: ConfigDict, settings: Any, seeds: int) -> list[Member]:
    """Every setting with seeds base.seed, base.seed + 1, ...; seeds vary fastest.

    Args:
      base: config that the settings modify.
      settings: what get_sweep() returned.
      seeds: per setting.

    Raises:
      InputError: not a list of dicts with the same fields, duplicate settings, a field or value
        that is refused, or too many members.
    """
    if not isinstance(settings, list) or not settings:
        raise InputError("--sweep: get_sweep() must return a non-empty list of settings")
    if base.seed + seeds > 2**32:
        raise InputError(f"--seeds={seeds}: with config.seed={base.seed}, seeds exceed 2^32 - 1")
    if len(settings) * seeds > _MAX_MEMBERS:
        raise InputError(
            f"{len(settings)} settings x {seeds} seeds exceed the limit of {_MAX_MEMBERS} members"
        )
    found: list[Member] = []
    known: dict[tuple[Any, ...], int] = {}
    for i, setting in enumerate(settings):
        if not isinstance(setting, dict) or setting.keys() != settings[0].keys():
            raise InputError(
                f"--sweep: setting {i} must be a dict with the same fields as the first, "
                f"not {textwrap.shorten(repr(setting), 100)}"
            )
        if fixed := setting.keys() & set(PER_SWEEP):
            raise InputError(f"--sweep: config.{min(fixed)} must be the same in the whole sweep")
        named = {str(field): value for field, value in setting.items()}
        checked = config.replace(base, named)
        flat = config.flatten(checked)
        values = {field: flat[field] for field in settings[0]}
        for seed in range(base.seed, base.seed + seeds):
            c = checked.copy_and_resolve_references()
            c.seed = seed
            found.append(Member(len(found), i, values, c))
        first = known.setdefault(tuple(values.values()), i)
        if first != i:
            raise InputError(f"--sweep: settings {first} and {i} are the same")
    return found


def group(members: Sequence[Member]) -> list[list[Member]]:
    """Groups members that can train together: identical except for seeds and traced numbers."""
    groups: dict[Hashable, list[Member]] = {}
    for member in members:
        flat = config.flatten(member.config)
        static = {name: value for name, value in flat.items() if name not in ("seed", *TRACED)}
        # Disabled options are None in the hyperparameters and compiled out.
        options = jax.tree.structure(config.hparams(member.config))
        groups.setdefault((tuple(static.items()), options), []).append(member)
    return list(groups.values())


def max_unit(config: ConfigDict, dataset: Dataset, processes: int = 1) -> int:
    """Number of members that fit into memory at once.

    Members may use half of the free memory. Each takes three times the size of its state: in
    training, as a copy on the host and in a checkpoint being written; on each of its devices unless
    it is sharded.

    Args:
      config: config of a member.
      dataset: training data.
      processes: that share the memory, each with a unit and the data.

    Raises:
      InputError: not even one fits.
    """
    stats = jax.devices()[0].memory_stats()
    free = psutil.virtual_memory().available
    if stats and "bytes_limit" in stats:
        free = (stats["bytes_limit"] - stats["bytes_in_use"]) * jax.device_count()
    free //= processes
    copies = 1 if config.shard_state else config.devices or jax.device_count()
    bytes_each = 3 * unit.state_bytes(config, dataset) * copies
    if bytes_each > free:
        raise InputError(
            f"a member needs {bytes_each / 1e9:.3g} GB, but only {free / 1e9:.3g} GB are free: "
            "use smaller networks or a smaller z_dim"
        )
    return max(1, min(_MAX_UNIT, int((free / 2 - dataset.images.nbytes) / bytes_each)))


def units(
    members: Sequence[Member], dataset: Dataset, most: int | None = None, processes: int = 1
) -> list[list[Member]]:
    """Splits each group into units that fit into memory, as equal in size as possible.

    Args:
      members: to group.
      dataset: training data.
      most: maximum number of members in a unit; None for no maximum but memory.
      processes: that train units on one machine at once.
    """
    found = []
    for alike in group(members):
        fitting = max_unit(alike[0].config, dataset, processes)
        number = -(-len(alike) // min(fitting, most or fitting))
        cuts = [len(alike) * i // number for i in range(number + 1)]
        found += [alike[a:b] for a, b in itertools.pairwise(cuts)]
    return found
