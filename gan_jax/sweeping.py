"""The host's side of a sweep: units one after the other, each resumable; their results joined."""

import io
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
    """
    members = plan.members(base, settings, seeds)
    device.setup(
        base.accelerator, base.deterministic, data.cache_dir() / "xla", os.cpu_count() or 1
    )
    dataset = data.load(base.dataset, base.split, base.image_size)
    shape = dataset.images.shape[1:]
    for member in members:
        train.check(member.config, dataset)
    if shard is not None:
        members = members[shard[0] :: shard[1]]
        if not members:
            raise InputError(f"--shard={shard[0]}/{shard[1]} has no members")
    units = plan.units(members, shape, dataset.images.nbytes)
    _describe(units, shape)
    if dry:
        return 0
    reference = scores.reference(
        base, dataset, base.validation_split, base.eval_metrics, base.eval_num
    )
    directory = directory or workdir.next_run(name)
    if shard is not None:
        directory = directory / f"shard-{shard[0]}-of-{shard[1]}"
    spec: dict[str, Any] = {
        "config": base.to_dict(),
        "settings": settings,
        "seeds": seeds,
        "shard": shard,
        "data_sha256": dataset.sha256,
        "command": shlex.join(["python", "-m", "gan_jax.sweep", *sys.argv[1:]]),
    }
    _check(directory, spec)
    with workdir.lock(directory), train.signals() as received:
        _check(directory, spec)
        if (directory / _SPEC).exists():  # the units it began with, whatever memory is free now
            numbers = workdir.read_json(directory / _SPEC)["units"]
            by_number = {member.number: member for member in members}
            units = [[by_number[n] for n in unit] for unit in numbers]
        spec["units"] = [[member.number for member in unit] for unit in units]
        print(directory, flush=True)
        write_json(directory / _SPEC, spec)
        write_json(directory / "config.json", base.to_dict())
        record = {"status": "running", **workdir.provenance()}
        write_json(directory / "run.json", record)
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
            _summarise(directory, [directory])
        else:
            print(f"{directory}: done; once all shards are, --merge --workdir={directory.parent}")
        write_json(directory / "run.json", record | {"status": "finished"})
    return 0


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


def _check(directory: pathlib.Path, spec: dict[str, Any]) -> None:
    """Refuses a directory that holds something else than this sweep."""
    if not directory.is_dir() or all(p.name.startswith(".") for p in directory.iterdir()):
        return
    if not (directory / _SPEC).exists():
        raise InputError(f"--workdir={directory} holds something that is not this sweep")
    old = workdir.read_json(directory / _SPEC)
    for name, value in json.loads(json.dumps(spec)).items():
        if name not in ("units", "command") and old.get(name) != value:
            raise InputError(
                f"--workdir={directory} holds another sweep: its {name} differ; name another"
            )


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
    directory.mkdir(parents=True, exist_ok=True)
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


def _unpack(file: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = dict(arrays)
        if found.keys() != {"numbers", *Result._fields}:
            raise ValueError("it holds something else")
    except FileNotFoundError:
        raise InputError(f"{file.parent} is not finished") from None
    except Exception as e:  # a damaged zip raises anything
        raise InputError(f"{file} cannot be read: {brief(e)}; remove it to train it again") from e
    return found


def merge(directory: pathlib.Path) -> int:
    """Joins the shards of a sweep.

    Raises:
      InputError: no shards, shards of different sweeps, or one that is missing or not finished.
    """
    shards = sorted(directory.glob("shard-*-of-*"))
    specs = [workdir.read_json(shard / _SPEC) for shard in shards]
    if not specs:
        raise InputError(f"--workdir={directory} has no shards")
    for shard, spec in zip(shards, specs, strict=True):
        for name in ("config", "settings", "seeds", "data_sha256"):
            if spec.get(name) != specs[0].get(name):
                raise InputError(f"{shard} is of another sweep than {shards[0]}: its {name} differ")
    found = sorted(tuple(spec["shard"]) for spec in specs)
    number = found[0][1]
    if any(n != number for _, n in found):
        raise InputError(f"{directory} has shards of {', '.join(f'{i}/{n}' for i, n in found)}")
    if missing := set(range(number)) - {i for i, _ in found}:
        raise InputError(f"{directory} lacks the shards {sorted(missing)} of {number}")
    write_json(directory / _SPEC, {**specs[0], "shard": None, "units": None})
    return _summarise(directory, shards)


def _summarise(directory: pathlib.Path, parts: Sequence[pathlib.Path]) -> int:
    """Joins the results of all units, each member exactly once, and writes what they say."""
    spec = workdir.read_json(directory / _SPEC)
    base = config_lib.override(spec["config"], [])
    results = [
        _unpack(_unit(part, number) / "result.npz")
        for part in parts
        for number in range(len(workdir.read_json(part / _SPEC)["units"]))
    ]
    numbers = np.concatenate([r["numbers"] for r in results])
    members = len(spec["settings"]) * spec["seeds"]
    if not np.array_equal(np.sort(numbers), np.arange(members)):
        raise InputError(f"{directory}: the units do not hold each of {members} members once")
    steps = np.unique(np.concatenate([r["steps"] for r in results]))
    names = tuple(map(str, results[0]["names"]))
    curves = np.full((members, len(steps), len(names)), np.nan, np.float32)
    for r in results:
        curves[np.ix_(r["numbers"], np.searchsorted(steps, r["steps"]))] = r["curves"]
    order = np.argsort(numbers)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([r[name] for r in results])[order]

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
    print(f"{directory / 'summary.md'}")
    return 0


def rerun(directory: pathlib.Path, number: int) -> int:
    """Trains one member again, as a run of its own in members/<number>.

    Raises:
      InputError: not a sweep, or it has no such member.
    """
    spec = workdir.read_json(directory / _SPEC)
    members = plan.members(config_lib.override(spec["config"], []), spec["settings"], spec["seeds"])
    if number >= len(members):
        raise InputError(f"--rerun={number}: the members are 0 to {len(members) - 1}")
    return train.run(members[number].config, directory / "members" / str(number), str(number))
