"""From a sweep's settings and seeds to members, and from these to the units that train at once."""

import itertools
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import psutil
from ml_collections import ConfigDict

from gan_jax import config as config_lib
from gan_jax.errors import InputError
from gan_jax.sweeps import population

# What a sweep has one of: another value would make its members incomparable, or change nothing.
_ONE = (
    *("seed", "accelerator", "deterministic", "dataset", "split", "image_size"),
    *("validation_split", "test_split", "eval_every", "eval_num", "eval_metrics"),
    *("log_every", "metrics_every", "sample_every", "sample_grid", "checkpoint_every"),
    *("keep_checkpoints", "keep_best", "tensorboard"),
)
_MOST = 1024  # members at a time, whatever the memory
_MOST_IN_ALL = 100_000  # members of a sweep


class Member(NamedTuple):
    number: int
    setting: int  # its index among the sweep's
    values: dict[str, Any]  # of that setting, as config has them
    config: ConfigDict


def members(base: ConfigDict, settings: Any, seeds: int) -> list[Member]:
    """Every setting with every seed: base.seed, base.seed + 1, ...

    Raises:
      InputError: no settings, one that is no dict or that is there twice, a field or value that is
        refused, or too many seeds.
    """
    if not isinstance(settings, list) or not settings:
        raise InputError("--sweep: get_sweep() must return a list of settings, at least one")
    if base.seed + seeds > 2**32:
        raise InputError(
            f"--seeds={seeds}: from config.seed, {base.seed}, they would pass 2^32 - 1"
        )
    if len(settings) * seeds > _MOST_IN_ALL:
        raise InputError(
            f"{len(settings)} settings with {seeds} seeds are more than {_MOST_IN_ALL} members"
        )
    found: list[Member] = []
    known: dict[tuple[Any, ...], int] = {}
    for i, setting in enumerate(settings):
        if not isinstance(setting, dict) or setting.keys() != settings[0].keys():
            raise InputError(
                f"--sweep: setting {i} must be a dict of the same fields as the first, "
                f"not {textwrap.shorten(repr(setting), 100)}"
            )
        for field in setting:
            if field in _ONE:
                raise InputError(f"--sweep: config.{field} is one for the whole sweep")
        for seed in range(base.seed, base.seed + seeds):
            c = config_lib.replace(base, setting | {"seed": seed})
            flat = config_lib.flatten(c)
            found.append(Member(len(found), i, {field: flat[field] for field in settings[0]}, c))
        first = known.setdefault(tuple(found[-1].values.values()), i)
        if first != i:
            raise InputError(f"--sweep: settings {first} and {i} are the same")
    return found


def group(members: Sequence[Member]) -> list[list[Member]]:
    """Members that are one program, together."""
    groups: dict[str, list[Member]] = {}
    for m in members:
        fixed = config_lib.flatten(m.config)
        for field in ("seed", *config_lib.TRACED):
            del fixed[field]
        program = config_lib.game(m.config, ())  # of whatever data
        groups.setdefault(repr((fixed, program)), []).append(m)
    return list(groups.values())


def block(config: ConfigDict, shape: tuple[int, ...], data_bytes: int) -> int:
    """How many members memory holds at a time.

    Half of what is free is for members: three times a member's state, as a checkpoint is a copy on
    the host and another while it is written.

    Raises:
      InputError: not even one.
    """
    stats = jax.devices()[0].memory_stats()
    free = psutil.virtual_memory().available
    if stats and "bytes_limit" in stats:
        free = (stats["bytes_limit"] - stats["bytes_in_use"]) * jax.device_count()
    bytes_each = 3 * population.size(config, shape)
    if bytes_each > free:
        raise InputError(
            f"a member would take {bytes_each / 1e9:.3g} GB, but {free / 1e9:.3g} GB are free: "
            "make its networks, or z_dim, smaller"
        )
    return max(1, min(_MOST, int((free / 2 - data_bytes) / bytes_each)))


def units(members: Sequence[Member], shape: tuple[int, ...], data_bytes: int) -> list[list[Member]]:
    """Members that train at once: of one program, and no more than memory holds."""
    found = []
    for alike in group(members):
        most = block(alike[0].config, shape, data_bytes)
        number = -(-len(alike) // most)  # of blocks, as equal as can be
        cuts = [len(alike) * i // number for i in range(number + 1)]
        found += [alike[a:b] for a, b in itertools.pairwise(cuts)]
    return found
