"""Trains a sweep: one unit after another, each resumable by itself."""

import csv
import pathlib
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from gan_jax import checkpoint, config, data, device, train, workdir
from gan_jax.data import Dataset
from gan_jax.errors import InputError
from gan_jax.evaluation import registry
from gan_jax.evaluation.registry import Reference
from gan_jax.provenance import cores, earlier, provenance
from gan_jax.sweeps import merge, plan, summary, unit
from gan_jax.sweeps.merge import SweepSpec
from gan_jax.sweeps.plan import Member
from gan_jax.sweeps.unit import Progress
from gan_jax.writers import write_json


class Sweep(NamedTuple):
    """Everything needed to train a unit of a sweep."""

    directory: pathlib.Path
    units: list[list[Member]]
    dataset: Dataset
    reference: Reference


def run(
    base: ConfigDict,
    settings: Any,
    seeds: int,
    directory: pathlib.Path | None,
    name: str,
    shard: tuple[int, int] | None = None,
    dry_run: bool = False,
) -> int:
    """Trains a sweep, or resumes it.

    Args:
      base: config that the settings modify.
      settings: what get_sweep() returned.
      seeds: per setting.
      directory: the sweep's directory; None makes runs/<name>/<n>.
      name: name of the sweep.
      shard: (i, n) trains only every n-th member from i on.
      dry_run: prints what would be trained, with time estimates, and writes nothing.

    Returns:
      Exit status: 0 finished, 128 + signal interrupted.

    Raises:
      InputError: incompatible settings, data or directory; nothing is written.
      OSError: a system failure; saved files are intact.
    """
    if shard is not None and directory is None:
        raise InputError("--shard needs --workdir, the same one for all shards")
    members = plan.members(base, settings, seeds)
    _setup(base)
    dataset = train.load_data(base)
    for alike in plan.group(members):
        config = alike[0].config
        train.check(config, dataset)
        validation = registry.checked_test(
            config, dataset, base.validation_split, base.eval_metrics, base.eval_num
        )
    spec = SweepSpec(
        config=base.to_dict(),
        settings=[member.values for member in members[::seeds]],
        seeds=seeds,
        shard=None if shard is None else list(shard),
        data_sha256=[dataset.sha256, validation.sha256],
        command=_command(sys.argv[1:]),
        units=[],
    )
    i, n = shard or (0, 1)
    chosen = members[i::n]
    if not chosen:
        raise InputError(f"--shard={i}/{n} has no members")
    if directory is not None:
        directory = merge.shard_directory(directory, spec.shard) if spec.shard else directory
        merge.check(directory, spec)
    units = plan.units(chosen, dataset)
    print(f"members: {len(chosen)}, units: {len(units)}")
    if dry_run:
        _describe(units, dataset)
        return 0
    reference = _reference(base, dataset)
    directory = directory or workdir.next_run(name)
    with workdir.lock(directory), train.signals() as pending_signals:
        merge.check(directory, spec)  # another process may have used it since
        if (directory / merge.SPEC).exists():  # units depend on the memory that was free
            units = _units(merge.read_spec(directory), members)
        spec = spec._replace(units=[[member.number for member in members] for members in units])
        print(directory, flush=True)
        if _finished(directory, spec):
            print("already finished")
            return 0
        merge.write_spec(directory, spec)
        write_json(directory / "config.json", spec.config)
        record = {"status": "running", **provenance()}
        write_json(directory / "run.json", record)
        (directory / "units").mkdir(exist_ok=True)
        sweep = Sweep(directory, units, dataset, reference)
        total = sum(member.config.num_steps for member in chosen)
        with tqdm(total=total, unit="member-step", unit_scale=True, disable=None) as bar:
            for number in range(len(units)):
                if not train_unit(sweep, number, pending_signals, bar):
                    write_json(directory / "run.json", record | {"status": "interrupted"})
                    print("Interrupted and saved; resume with the same command and --workdir")
                    return 128 + pending_signals[0]
        if shard is None:
            merge.summarize(directory, spec, {directory: spec})
        else:
            print(f"{directory} is finished; to merge: --merge --workdir={directory.parent}")
        write_json(directory / "run.json", record | {"status": "finished"})
    return 0


def train_unit(sweep: Sweep, number: int, pending_signals: Sequence[int], bar: Any) -> bool:
    """Trains a unit from its last checkpoint and writes its result; nothing if it is finished.

    Args:
      sweep: the sweep.
      number: number of the unit.
      pending_signals: received signals; if there is one, saves a checkpoint and returns.
      bar: tqdm bar that counts iterations of members.

    Returns:
      False if interrupted.
    """
    directory, members = merge.unit_directory(sweep.directory, number), sweep.units[number]
    configs = [member.config for member in members]
    end = bar.n + sum(config.num_steps for config in configs)
    if (directory / "result.npz").exists():
        shutil.rmtree(directory / "checkpoints", ignore_errors=True)  # left behind by a kill
        bar.update(end - bar.n)
        return True
    directory.mkdir(exist_ok=True)
    checkpoints, record = directory / "checkpoints", directory / "run.json"
    old, new = workdir.read_json(record) if record.exists() else {}, provenance()
    begin = max(checkpoint.steps(checkpoints), default=0)
    write_json(record, new | {"earlier": earlier(old, new, begin)})

    def on_progress(progress: Progress) -> None:
        bar.update(progress.member_steps)
        bar.set_postfix(diverged=progress.diverged, best=f"{progress.best:.4g}")

    result = unit.run(
        configs, sweep.dataset, sweep.reference, checkpoints, pending_signals, on_progress
    )
    if result is None:
        return False
    bar.update(end - bar.n)  # diverged members end early
    merge.write_result(directory, [member.number for member in members], result)
    shutil.rmtree(checkpoints)
    metric = configs[0].eval_metrics[0]
    best = registry.best(metric, result.curves[:, :, result.names.index(metric)])
    diverged = np.count_nonzero(result.diverged)
    bar.write(f"unit {number}: {len(members)} members, {diverged} diverged, best {best:.4g}")
    return True


def rerun(directory: pathlib.Path, number: int) -> int:
    """Trains one member as a standalone run in members/<number>, and compares how they ended.

    Returns:
      Exit status: 0, 1 if they differ or the run diverged, 128 + signal interrupted.

    Raises:
      InputError: not a sweep, no such member in this sweep or shard, or its data have changed.
    """
    spec = merge.read_spec(directory)
    _, members, _ = _read(directory, spec)
    i, n = spec.shard or (0, 1)
    own = range(i, len(members), n)
    if number not in own:
        steps = f" in steps of {n}, as this is shard {i}/{n}" if spec.shard else ""
        raise InputError(f"--rerun={number}: members are {own[0]} to {own[-1]}{steps}")
    standalone = directory / "members" / str(number)
    status = train.run(members[number].config, standalone, str(number))
    if status > 1:
        return status
    expected = _recorded_end(directory, spec, number)
    if expected is None:
        print(f"member {number} of {directory} is not finished: nothing to compare with")
        return status
    record = workdir.read_json(standalone / "run.json")
    end = record.get("diverged", {}).get("step", 0), record.get("params_sha256", "")
    if end == expected:
        print("identical to the member")
    elif end[0] or expected[0]:
        ends = (
            f"diverged at iteration {at}" if at else "did not diverge" for at, _ in (end, expected)
        )
        print("the run {}, but the member {}".format(*ends))
    else:
        print("the parameters differ from the member's")
    return int(status or end != expected)


def _recorded_end(directory: pathlib.Path, spec: SweepSpec, number: int) -> tuple[int, str] | None:
    """A member's iteration of divergence, or 0, and params_sha256; None before it is finished."""
    table = directory / "results.csv"  # a shard has none, a merged sweep no units
    if table.exists():
        row = list(csv.DictReader(table.read_text().splitlines()))[number]
        return int(row["diverged_at"] or 0), row["params_sha256"]
    for i, numbers in enumerate(spec.units or ()):
        unit_directory = merge.unit_directory(directory, i)
        if number in numbers and (unit_directory / "result.npz").exists():
            result = merge.read_result(unit_directory, numbers)
            at = numbers.index(number)
            return int(result["diverged"][at]), str(result["params_sha256"][at])
    return None


def _setup(base: ConfigDict) -> None:
    cache = data.cache_dir() / "xla"
    device.setup(base.accelerator, base.deterministic, cache, cpu_devices=cores())


def _reference(base: ConfigDict, dataset: Dataset) -> Reference:
    return registry.reference(
        base, dataset, base.validation_split, base.eval_metrics, base.eval_num
    )


def _read(directory: pathlib.Path, spec: SweepSpec) -> tuple[ConfigDict, list[Member], Dataset]:
    """Base config, all members and training data of a sweep."""
    base = config.override(spec.config, ())
    members = plan.members(base, spec.settings, spec.seeds)
    dataset = train.load_data(base)
    if dataset.sha256 != spec.data_sha256[0]:
        raise InputError(f"{directory} was trained on other data: {base.dataset} has changed since")
    return base, members, dataset


def _units(spec: SweepSpec, members: Sequence[Member]) -> list[list[Member]]:
    return [[members[number] for number in numbers] for numbers in spec.units or ()]


def _finished(directory: pathlib.Path, spec: SweepSpec) -> bool:
    """Whether a sweep or shard is finished and all of its files exist."""
    path = directory / "run.json"
    if not path.exists() or workdir.read_json(path).get("status") != "finished":
        return False
    numbers = range(len(spec.units or ()))
    files = [merge.unit_directory(directory, number) / "result.npz" for number in numbers]
    if spec.shard is None:
        files += [directory / name for name in summary.FILES]
    return all(file.exists() for file in files)


def _command(arguments: Sequence[str]) -> str:
    """The command of the whole sweep, without --shard."""
    command = shlex.join(["python", "-m", "gan_jax.sweep", *arguments])
    return re.sub(r" --shard[= ]\S+", "", command)


def _describe(units: Sequence[Sequence[Member]], dataset: Dataset) -> None:
    """Prints each unit with an estimate of its training time, measured for about a second."""
    total = 0.0
    for number, members in enumerate(units):
        c = members[0].config
        size = unit.size(c, dataset)
        seconds = unit.seconds([member.config for member in members], dataset)
        total += seconds
        print(
            f"  unit {number}: {len(members)} members of {size / 1e6:.1f} MB, {c.num_steps} "
            f"iterations, loss {c.loss}, k {c.k}: {_duration(seconds)}"
        )
    print(f"total: {_duration(total)} of training, plus evaluation")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 100 else f"{seconds:.0f} s"
