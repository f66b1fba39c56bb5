"""The host's side of a sweep: units one after the other, each resumable; their results joined."""

import io
import itertools
import json
import os
import pathlib
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from gan_jax import config as config_lib
from gan_jax import core, data, device, plan, population, scores, summary, train, workdir
from gan_jax.errors import InputError, brief
from gan_jax.plan import Member
from gan_jax.population import Progress, Result
from gan_jax.ranking import Results
from gan_jax.writers import write_json, write_whole

_SPEC = "sweep.json"
_SHARDS = "shard-*-of-*"


def run(
    base: ConfigDict,
    settings: Any,
    seeds: int,
    directory: pathlib.Path | None,
    name: str,
    shard: tuple[int, int] | None,
    dry: bool,
) -> int:
    """Trains a sweep, from the start or from where it was.

    Args:
      base: the config whose fields the settings change.
      settings: what get_sweep() returned.
      seeds: of each setting.
      directory: of the sweep; None makes runs/<name>/<n>.
      name: of the sweep.
      shard: (i, n), to train only each n-th member from i on; None for all.
      dry: say what would be trained, and write nothing.

    Returns:
      The exit status: 0 finished, 128 + signal interrupted.

    Raises:
      InputError: settings, data or directory do not fit; nothing was written.
      OSError: the machine failed; what was saved is whole.
    """
    if shard is not None and directory is None:
        raise InputError("--shard needs --workdir: one for all shards")
    members = plan.members(base, settings, seeds)
    device.setup(
        base.accelerator, base.deterministic, data.cache_dir() / "xla", os.cpu_count() or 1
    )
    dataset = data.load(base.dataset, base.split, base.image_size)
    shape = dataset.images.shape[1:]
    for alike in plan.group(members):
        train.check(alike[0].config, dataset)
    spec: dict[str, Any] = {
        "config": base.to_dict(),
        "settings": [member.values for member in members[::seeds]],
        "seeds": seeds,
        "shard": shard,
        "data_sha256": dataset.sha256,
        "command": shlex.join(["python", "-m", "gan_jax.sweep", *sys.argv[1:]]),
    }
    if shard is not None:
        members = members[shard[0] :: shard[1]]
        if not members:
            raise InputError(f"--shard={shard[0]}/{shard[1]} has no members")
        directory = directory and directory / _shard_name(shard)
    if directory is not None:
        _check(directory, spec)
    units = plan.units(members, shape, dataset.images.nbytes)
    _describe(units, shape)
    if dry:
        return 0
    reference = scores.reference(
        base, dataset, base.validation_split, base.eval_metrics, base.eval_num
    )
    directory = directory or workdir.next_run(name)
    with workdir.lock(directory), train.signals() as received:
        _check(directory, spec)  # once more: meanwhile, another process may have been here
        if (directory / _SPEC).exists():  # the units it began with, whatever memory is free now
            numbers = _read_spec(directory)["units"]
            by_number = {member.number: member for member in members}
            units = [[by_number[n] for n in unit] for unit in numbers]
        spec["units"] = [[member.number for member in unit] for unit in units]
        print(directory, flush=True)
        write_json(directory / _SPEC, spec)
        write_json(directory / "config.json", base.to_dict())
        record = {"status": "running", **workdir.provenance()}
        write_json(directory / "run.json", record)
        (directory / "units").mkdir(exist_ok=True)
        total = sum(member.config.num_steps for unit in units for member in unit)
        with tqdm(total=total, unit="member-step", unit_scale=True, disable=None) as bar:
            for number, unit in enumerate(units):
                if not _train_unit(
                    _unit(directory, number), unit, dataset, reference, received, bar
                ):
                    write_json(directory / "run.json", record | {"status": "interrupted"})
                    print("Interrupted, saved; the same --workdir goes on from there")
                    return 128 + received[0]
        if shard is None:
            _summarise(directory, spec, {directory: spec})
        else:
            print(f"{directory}: done; once all shards are, --merge --workdir={directory.parent}")
        write_json(directory / "run.json", record | {"status": "finished"})
    return 0


def _shard_name(shard: Sequence[int]) -> str:
    return f"shard-{shard[0]}-of-{shard[1]}"


def _unit(directory: pathlib.Path, number: int) -> pathlib.Path:
    return directory / "units" / f"{number:04}"


def _describe(units: Sequence[Sequence[Member]], shape: tuple[int, ...]) -> None:
    """Says what is to be trained: a line a unit, and the whole."""
    programs = {repr(config_lib.game(unit[0].config, shape)) for unit in units}
    members = sum(map(len, units))
    print(f"{members} members in {len(units)} units, {len(programs)} programs to compile")
    flops = _flops_per_second()
    whole = 0.0
    for number, unit in enumerate(units):
        c = unit[0].config
        seconds = len(unit) * c.num_steps * _flops(c, shape) / flops
        whole += seconds
        size = population.size(c, shape)
        print(
            f"  unit {number}: {len(unit)} members of {size / 1e6:.1f} MB, {c.num_steps} "
            f"iterations, loss {c.loss}, k {c.k}: about {seconds / 60:.1f} min"
        )
    print(f"about {whole / 60:.1f} min of training by its matrix products alone, at the least")


def _flops(config: ConfigDict, shape: tuple[int, ...]) -> float:
    """Floating-point operations of an iteration: a product of each weight, forward and backward."""
    game = config_lib.game(config, shape)
    state = core.shapes(game, config_lib.hparams(config))
    d, g = (sum(x.size for x in jax.tree.leaves(p.params)) for p in (state.d, state.g))
    # D: forward and backward on real and on fake, each step; G: forward each time, backward once,
    # and D's forward and backward in between.
    return 2.0 * game.batch_size * (game.k * (6 * d + g) + 3 * d + 3 * g)


def _flops_per_second() -> float:
    """The rate of a matrix product on all devices, measured."""
    x = jnp.ones((512, 512))
    product = jax.jit(lambda x: jax.lax.fori_loop(0, 20, lambda _, y: x @ y / 512, x))
    jax.block_until_ready(product(x))
    begun = time.perf_counter()
    jax.block_until_ready(product(x))
    return 20 * 2 * 512**3 / (time.perf_counter() - begun)


def _read_spec(directory: pathlib.Path) -> dict[str, Any]:
    """What a directory says of its sweep, or of its shard of one.

    Its "units" are the numbers of the members that train together; None where shards were merged.

    Raises:
      InputError: nothing, or something that no sweep has written.
    """
    spec = workdir.read_json(directory / _SPEC)
    try:
        i, n = spec["shard"] or (0, 1)
        members = range(len(spec["settings"]) * spec["seeds"])[i::n]
        merged = spec["shard"] is None and spec["units"] is None
        numbers = members if merged else list(itertools.chain(*spec["units"]))
        sound = 0 <= i < n and 0 < len(members) == len(numbers)
        sound = sound and sorted(numbers) == list(members)
        kinds = {"config": dict, "settings": list, "data_sha256": str, "command": str}
        sound = sound and all(isinstance(spec[name], kind) for name, kind in kinds.items())
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise InputError(f"{directory / _SPEC} is damaged: no sweep has written what it says")
    return spec


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What makes two sweeps different ones; empty if nothing does."""
    a, b = (config_lib.flatten(spec["config"]) for spec in (old, new))
    fields = sorted(field for field in a.keys() | b.keys() if a.get(field) != b.get(field))
    names = [name for name in ("settings", "seeds", "data_sha256") if old[name] != new[name]]
    return ", ".join(["config"] * bool(fields) + names) + (f" ({', '.join(fields)})" * bool(fields))


def _same(directory: pathlib.Path, spec: dict[str, Any]) -> dict[str, Any]:
    """The spec in a directory, which must be of the same sweep."""
    if not (directory / _SPEC).exists():
        raise InputError(f"--workdir={directory} holds something that is not this sweep")
    old = _read_spec(directory)
    if difference := _difference(old, spec):
        raise InputError(
            f"--workdir={directory} holds another sweep: its {difference} differ; name another"
        )
    return old


def _check(directory: pathlib.Path, spec: dict[str, Any]) -> None:
    """Refuses a directory that holds something else than this sweep; nothing is written."""
    spec = json.loads(json.dumps(spec))
    if not workdir.is_new(directory):
        old = _same(directory, spec)
        if old["units"] is None:
            raise InputError(f"--workdir={directory} holds this sweep, merged from shards")
        if old["shard"] != spec["shard"]:
            raise InputError(f"--workdir={directory} is not the shard of its name: was it copied?")
    if spec["shard"] is not None:
        _check_shards(directory.parent, spec)


def _check_shards(directory: pathlib.Path, spec: dict[str, Any]) -> None:
    """Refuses a directory of shards that holds something else; nothing is written."""
    shards = set(directory.glob(_SHARDS))
    others = set(directory.iterdir()) - shards if directory.is_dir() else set()
    visible = [p for p in others if not p.name.startswith(".")]
    if visible and _same(directory, spec)["units"] is not None:
        raise InputError(f"--workdir={directory} holds this sweep as a whole, not in shards")
    for shard in shards:
        if (shard / _SPEC).exists():
            other = _same(shard, spec)["shard"]
            if other is None or other[1] != spec["shard"][1]:
                raise InputError(f"{shard} is there, which is not one of {spec['shard'][1]} shards")


def _train_unit(
    directory: pathlib.Path,
    members: Sequence[Member],
    dataset: data.Dataset,
    reference: scores.Reference,
    received: Sequence[int],
    bar: Any,
) -> bool:
    """Trains a unit unless it is done, and keeps its result; False after a signal."""
    whole = sum(member.config.num_steps for member in members)
    if (directory / "result.npz").exists():
        shutil.rmtree(directory / "checkpoints", ignore_errors=True)  # a kill may have left them
        bar.update(whole)
        return True
    directory.mkdir(exist_ok=True)
    begun = bar.n

    def tell(progress: Progress) -> None:
        bar.update(progress.member_steps)
        bar.set_postfix(diverged=progress.diverged, best=f"{progress.best:.4g}")

    result = population.run(
        [member.config for member in members],
        dataset,
        reference,
        directory / "checkpoints",
        received,
        tell,
    )
    if result is None:
        return False
    bar.update(begun + whole - bar.n)  # what diverged is done as well
    numbers = np.array([member.number for member in members])
    write_whole(directory / "result.npz", _pack(result, numbers))
    shutil.rmtree(directory / "checkpoints")
    return True


def _pack(result: Result, numbers: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    arrays = {name: np.asarray(value) for name, value in result._asdict().items()}
    np.savez(buffer, allow_pickle=False, numbers=numbers, **arrays)
    return buffer.getvalue()


def _unpack(file: pathlib.Path, numbers: list[int]) -> dict[str, np.ndarray]:
    """The result of the unit of these members."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            found = dict(arrays)
        if found.keys() != {"numbers", *Result._fields} or found["numbers"].tolist() != numbers:
            raise ValueError("it holds something else")
    except FileNotFoundError:
        raise InputError(f"{file.parent} is not finished") from None
    except Exception as e:  # a damaged zip raises anything
        raise InputError(f"{file} cannot be read: {brief(e)}; remove it to train it again") from e
    return found


def merge(directory: pathlib.Path) -> int:
    """Joins the shards of a sweep.

    Raises:
      InputError: no shards, shards of different sweeps, one that is missing, twice there or not
        finished, or the directory holds something else; nothing was written.
    """
    shards = sorted(directory.glob(_SHARDS))
    specs = [_read_spec(shard) for shard in shards]
    if not specs:
        raise InputError(f"--workdir={directory} has no shards")
    for shard, spec in zip(shards, specs, strict=True):
        if difference := _difference(specs[0], spec):
            raise InputError(
                f"{shard} is of another sweep than {shards[0]}: its {difference} differ"
            )
        if spec["shard"] is None or shard.name != _shard_name(spec["shard"]):
            raise InputError(f"{shard} is not the shard of its name: was it copied?")
    found = sorted(tuple(spec["shard"]) for spec in specs)
    number = found[0][1]
    if any(n != number for _, n in found):
        raise InputError(f"{directory} has shards of {', '.join(f'{i}/{n}' for i, n in found)}")
    if missing := set(range(number)) - {i for i, _ in found}:
        raise InputError(f"{directory} lacks the shards {sorted(missing)} of {number}")
    _check_shards(directory, specs[0])
    with workdir.lock(directory):
        whole = {**specs[0], "shard": None, "units": None}
        _summarise(directory, whole, dict(zip(shards, specs, strict=True)))
    return 0


def _summarise(
    directory: pathlib.Path, spec: dict[str, Any], parts: dict[pathlib.Path, dict[str, Any]]
) -> None:
    """Joins the results of all units, and writes what they say.

    Args:
      directory: of the sweep.
      spec: of the sweep.
      parts: of the directories that hold units the spec of each: all members once.
    """
    base = config_lib.override(spec["config"], [])
    results = [
        _unpack(_unit(part, number) / "result.npz", unit)
        for part, its in parts.items()
        for number, unit in enumerate(its["units"])
    ]
    numbers = np.concatenate([r["numbers"] for r in results])
    members = len(numbers)
    steps = np.unique(np.concatenate([r["steps"] for r in results]))
    names = tuple(map(str, results[0]["names"]))
    curves = np.full((members, len(steps), len(names)), np.nan, np.float32)
    for r in results:
        curves[np.ix_(r["numbers"], np.searchsorted(steps, r["steps"]))] = r["curves"]
    order = np.argsort(numbers)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([r[name] for r in results])[order]

    write_json(directory / _SPEC, spec)
    summary.write(
        directory,
        Results(
            settings=spec["settings"],
            setting=np.repeat(np.arange(len(spec["settings"])), spec["seeds"]),
            seed=np.tile(base.seed + np.arange(spec["seeds"]), len(spec["settings"])),
            steps=steps,
            names=names,
            curves=curves,
            diverged=joined("diverged"),
            samples=joined("samples"),
            params_sha256=list(map(str, joined("params_sha256"))),
        ),
        base.eval_metrics[0],
        spec["command"],
    )
    print(directory / "summary.md")


def rerun(directory: pathlib.Path, number: int) -> int:
    """Trains one member again, as a run of its own in members/<number>.

    Raises:
      InputError: not a sweep, it has no such member, or its data have changed.
    """
    spec = _read_spec(directory)
    base = config_lib.override(spec["config"], [])
    members = plan.members(base, spec["settings"], spec["seeds"])
    if data.load(base.dataset, base.split, base.image_size).sha256 != spec["data_sha256"]:
        raise InputError(f"{directory} was trained on other data: {base.dataset} has changed since")
    if number >= len(members):
        raise InputError(f"--rerun={number}: the members are 0 to {len(members) - 1}")
    return train.run(members[number].config, directory / "members" / str(number), str(number))
