"""The host's side of a sweep: units one after the other, each resumable; their results joined."""

import csv
import io
import logging
import os
import pathlib
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from gan_jax import config as config_lib
from gan_jax import data, device, scores, train, workdir
from gan_jax.errors import InputError, brief
from gan_jax.sweeps import plan, population, shards, summary
from gan_jax.sweeps.plan import Member
from gan_jax.sweeps.population import Progress, Result
from gan_jax.sweeps.ranking import Results
from gan_jax.writers import write_json, write_whole

log = logging.getLogger(__name__)


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
    held_out = scores.held_out(
        base, dataset, base.validation_split, base.eval_metrics, base.eval_num
    )
    spec: dict[str, Any] = {
        "config": base.to_dict(),
        "settings": [member.values for member in members[::seeds]],
        "seeds": seeds,
        "shard": shard,
        "data_sha256": [dataset.sha256, held_out.sha256],
        "command": _command(sys.argv[1:]),
    }
    if shard is not None:
        members = members[shard[0] :: shard[1]]
        if not members:
            raise InputError(f"--shard={shard[0]}/{shard[1]} has no members")
        directory = directory and directory / shards.name(shard)
    if directory is not None:
        shards.check(directory, spec)
    units = plan.units(members, shape, dataset.images.nbytes)
    programs = {config_lib.game(unit[0].config, shape) for unit in units}
    print(f"members: {len(members)}, units: {len(units)}, programs to compile: {len(programs)}")
    if dry:
        _describe(units, dataset)
        return 0
    reference = scores.reference(
        base, dataset, base.validation_split, base.eval_metrics, base.eval_num
    )
    directory = directory or workdir.next_run(name)
    with workdir.lock(directory), train.signals() as received:
        shards.check(directory, spec)  # once more: meanwhile, another process may have been here
        if (
            directory / shards.SPEC
        ).exists():  # the units it began with, whatever memory is free now
            numbers = shards.read_spec(directory)["units"]
            by_number = {member.number: member for member in members}
            units = [[by_number[n] for n in unit] for unit in numbers]
        spec["units"] = [[member.number for member in unit] for unit in units]
        print(directory, flush=True)
        made = [_unit(directory, n) / "result.npz" for n in range(len(units))]
        made += [directory / "results.csv", directory / "summary.md"] * (shard is None)
        path = directory / "run.json"
        status = workdir.read_json(path).get("status") if path.exists() else None
        if status == "finished" and all(file.exists() for file in made):
            print("It is finished: nothing to do")
            return 0
        write_json(directory / shards.SPEC, spec)
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


def _unit(directory: pathlib.Path, number: int) -> pathlib.Path:
    return directory / "units" / f"{number:04}"


def _command(arguments: Sequence[str]) -> str:
    """The command of the whole sweep, whichever shard of it was asked for."""
    kept = [x for x in arguments if not x.startswith("--shard=")]
    if "--shard" in kept:
        at = kept.index("--shard")
        del kept[at : at + 2]
    return shlex.join(["python", "-m", "gan_jax.sweep", *kept])


def _describe(units: Sequence[Sequence[Member]], dataset: data.Dataset) -> None:
    """Says what is to be trained, and how long that will take by a second of each unit."""
    whole = 0.0
    for number, unit in enumerate(units):
        c = unit[0].config
        size = population.size(c, dataset.images.shape[1:])
        seconds = population.seconds([member.config for member in unit], dataset)
        whole += seconds
        print(
            f"  unit {number}: {len(unit)} members of {size / 1e6:.1f} MB, {c.num_steps} "
            f"iterations, loss {c.loss}, k {c.k}: {_duration(seconds)}"
        )
    print(f"in all {_duration(whole)} of training, and the time of evaluating")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 100 else f"{seconds:.0f} s"


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
    write_json(directory / "run.json", workdir.provenance())
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
    metric = members[0].config.eval_metrics[0]
    lost = np.count_nonzero(result.diverged)
    best = scores.best(metric, result.curves[:, :, result.names.index(metric)])
    bar.write(f"{directory.name}: {len(members)} members, {lost} diverged, best {best:.4g}")
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
    parts = sorted(directory.glob(shards.SHARDS))
    specs = [shards.read_spec(part) for part in parts]
    if not specs:
        raise InputError(f"--workdir={directory} has no shards")
    for part, spec in zip(parts, specs, strict=True):
        if what := shards.difference(specs[0], spec):
            raise InputError(f"{part} is of another sweep than {parts[0]}: its {what} differ")
        if spec["shard"] is None or part.name != shards.name(spec["shard"]):
            raise InputError(f"{part} is not the shard of its name: was it copied?")
    found = sorted(tuple(spec["shard"]) for spec in specs)
    number = found[0][1]
    if any(n != number for _, n in found):
        raise InputError(f"{directory} has shards of {', '.join(f'{i}/{n}' for i, n in found)}")
    if missing := set(range(number)) - {i for i, _ in found}:
        raise InputError(f"{directory} lacks the shards {sorted(missing)} of {number}")
    shards.check_shards(directory, specs[0])
    with workdir.lock(directory):
        whole = {**specs[0], "shard": None, "units": None}
        _summarise(directory, whole, dict(zip(parts, specs, strict=True)))
        for name in ("config.json", "run.json"):
            write_whole(directory / name, (parts[0] / name).read_bytes())
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
    # Not all measure the same: only a game with a penalty has d_penalty.
    names = tuple(dict.fromkeys(str(name) for r in results for name in r["names"]))
    curves = np.full((members, len(steps), len(names)), np.nan, np.float32)
    for r in results:
        places = np.array([names.index(str(name)) for name in r["names"]])
        curves[np.ix_(r["numbers"], np.searchsorted(steps, r["steps"]), places)] = r["curves"]
    order = np.argsort(numbers)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([r[name] for r in results])[order]

    write_json(directory / shards.SPEC, spec)
    trained = [
        workdir.read_json(_unit(part, number) / "run.json")
        for part, its in parts.items()
        for number in range(len(its["units"]))
    ]
    mixed = ""
    if any(record != trained[0] for record in trained):
        mixed = (
            " Its units were trained by different code, versions or devices, see their run.json."
        )
        log.warning("%s:%s", directory, mixed)
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
        f"Scored by {base.eval_num} samples against {base.dataset} {base.validation_split}.{mixed}",
    )
    print(directory / "summary.md")


def rerun(directory: pathlib.Path, number: int) -> int:
    """Trains one member again, as a run of its own in members/<number>, and compares the two.

    Returns:
      The exit status: 0, and 1 where they differ or it diverged.

    Raises:
      InputError: not a sweep, it has no such member, or its data have changed.
    """
    spec = shards.read_spec(directory)
    base = config_lib.override(spec["config"], [])
    members = plan.members(base, spec["settings"], spec["seeds"])
    if data.load(base.dataset, base.split, base.image_size).sha256 != spec["data_sha256"][0]:
        raise InputError(f"{directory} was trained on other data: {base.dataset} has changed since")
    if number >= len(members):
        raise InputError(f"--rerun={number}: the members are 0 to {len(members) - 1}")
    alone = directory / "members" / str(number)
    if status := train.run(members[number].config, alone, str(number)):
        return status
    if (directory / "results.csv").exists():
        rows = csv.DictReader((directory / "results.csv").read_text().splitlines())
        same = (
            next(row["params_sha256"] for row in rows if row["member"] == str(number))
            == workdir.read_json(alone / "run.json")["params_sha256"]
        )
        print("identical to the member" if same else "its parameters differ from the member's")
        return int(not same)
    print(f"{directory} is not finished: there is nothing to compare it with")
    return 0
