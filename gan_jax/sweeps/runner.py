"""Trains a sweep: one unit after another, each resumable by itself."""

import contextlib
import csv
import functools
import os
import pathlib
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from gan_jax import checkpoint, config, data, device, loop, parallel, train, workdir
from gan_jax.data import Dataset
from gan_jax.errors import InputError
from gan_jax.evaluation import registry, scoring
from gan_jax.evaluation.registry import Reference
from gan_jax.provenance import cores, earlier, provenance
from gan_jax.sweeps import executors, merge, plan, summary, unit
from gan_jax.sweeps.executors import Options
from gan_jax.sweeps.merge import SweepSpec
from gan_jax.sweeps.plan import Member
from gan_jax.sweeps.unit import Progress
from gan_jax.writers import write_json

_PROGRESS = "progress.json"  # of a unit in another process
_HANDOVER = 60.0  # seconds in which a process whose unit is trained again elsewhere saves
_DEFAULT = Options()


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
    max_unit: int | None = None,
    on: str | None = None,
    options: Options = _DEFAULT,
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
      max_unit: maximum number of members trained as one program.
      on: key of executors.EXECUTORS; None trains the units in this process.
      options: of the executor.

    Returns:
      Exit status: 0 finished, 1 a unit failed, 128 + signal interrupted.

    Raises:
      InputError: incompatible settings, data or directory; nothing is written.
      OSError: a system failure; saved files are intact.
    """
    if shard is not None and directory is None:
        raise InputError("--shard needs --workdir, the same one for all shards")
    if on is not None:
        executors.check(on, options, base)
    members = plan.members(base, settings, seeds)
    _setup(base, on)
    dataset = train.load_data(base)
    for alike in plan.group(members):
        member = alike[0].config
        train.check(member, dataset)
        if on in (None, "local") or dry_run:
            parallel.devices_per_member(member)
        validation = scoring.load_checked_test(  # the same for all
            member, dataset, base.validation_split, base.eval_metrics, base.eval_num
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
    processes = 1 if on in (None, "slurm") else max(1, cores() // max(1, base.devices))
    if on == "local":  # a unit for each
        max_unit = max_unit or -(-len(chosen) // processes)
    units = plan.units(chosen, dataset, max_unit, processes)
    print(f"members: {len(chosen)}, units: {len(units)}")
    if dry_run:
        _describe(units, dataset)
        return 0
    reference = _reference(base, dataset)  # with executors too: trains the evaluator once
    directory = directory or workdir.next_run(name)
    with workdir.lock(directory), loop.signals() as pending_signals:
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
        environment = (
            provenance(parallel.devices_per_member(base), base.shard_state)
            if on is None
            else {"on": on}
        )
        record = {"status": "running", **environment}
        write_json(directory / "run.json", record)
        (directory / "units").mkdir(exist_ok=True)
        sweep = Sweep(directory.absolute(), units, dataset, reference)
        total = sum(member.config.num_steps for member in chosen)
        with tqdm(total=total, unit="member-step", unit_scale=True, disable=None) as bar:
            failed = _train(sweep, on, options, pending_signals, bar)
        if failed is None:
            write_json(directory / "run.json", record | {"status": "interrupted"})
            print("Interrupted and saved; resume with the same command and --workdir")
            return 128 + pending_signals[0]
        if failed:
            write_json(directory / "run.json", record | {"status": "failed"})
            print(f"{failed} of {len(units)} units failed; resume with --workdir={directory}")
            return 1
        if shard is None:
            merge.summarize(directory, spec, {directory: spec})
        else:
            print(f"{directory} is finished; to merge: --merge --workdir={directory.parent}")
        write_json(directory / "run.json", record | {"status": "finished"})
    return 0


def _train(
    sweep: Sweep, on: str | None, options: Options, pending_signals: Sequence[int], bar: Any
) -> int | None:
    """Trains the unfinished units; returns how many failed, None if interrupted."""
    numbers = range(len(sweep.units))
    unit_directories = [merge.unit_directory(sweep.directory, number) for number in numbers]
    metric = sweep.units[0][0].config.eval_metrics[0]
    report = functools.partial(_report, bar, {}, metric)
    todo = {n for n in numbers if not (unit_directories[n] / "result.npz").exists()}
    for number in set(numbers) - todo:
        report(number, _finish_unit(sweep, number))

    def finish(number: int) -> None:
        end, size = _finish_unit(sweep, number), len(sweep.units[number])
        report(number, end)
        best = f"best {metric} {end.best:.4g}"
        bar.write(f"unit {number}: {size} members, {end.diverged} diverged, {best}")

    if on is None:
        for number in sorted(todo):
            if not train_unit(sweep, number, pending_signals, functools.partial(report, number)):
                return None
            finish(number)
    if on is None or not todo:
        return 0
    tasks = {number: _task(sweep, number) for number in todo}
    failed = 0
    with contextlib.closing(executors.EXECUTORS[on](tasks, options)) as steps:
        for ended in steps:
            if pending_signals:
                return None
            for number, status in ended.items():
                todo.remove(number)
                if status == 0:
                    finish(number)
                else:
                    failed += 1
                    log = tasks[number].log
                    bar.write(f"error: unit {number} ended with {status}: see {log}", sys.stderr)
            for number in todo:
                if (file := unit_directories[number] / _PROGRESS).exists():
                    report(number, Progress(**workdir.read_json(file)))
    return failed


def _task(sweep: Sweep, number: int) -> executors.Task:
    directory = merge.unit_directory(sweep.directory, number)
    directory.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "gan_jax.sweeps.worker", str(sweep.directory), str(number)]
    devices = max(1, sweep.units[number][0].config.devices)
    return executors.Task(command, str(directory / "log.txt"), os.getcwd(), devices)


def _report(
    bar: Any, progress: dict[int, Progress], metric: str, number: int, reported: Progress
) -> None:
    """Shows the progress of all units, one of which has reported."""
    progress[number] = reported
    bar.update(sum(unit.member_steps for unit in progress.values()) - bar.n)
    best = registry.best(metric, np.array([unit.best for unit in progress.values()], float))
    diverged = sum(unit.diverged for unit in progress.values())
    bar.set_postfix(diverged=diverged, best=f"{best:.4g}")


def _finish_unit(sweep: Sweep, number: int) -> Progress:
    """Deletes what a finished unit no longer needs, and returns its final progress."""
    directory, members = merge.unit_directory(sweep.directory, number), sweep.units[number]
    result = merge.read_result(directory, [member.number for member in members])
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)
    (directory / _PROGRESS).unlink(missing_ok=True)
    metric = members[0].config.eval_metrics[0]
    best = registry.best(metric, result["curves"][:, :, result["names"].tolist().index(metric)])
    steps = sum(member.config.num_steps for member in members)  # also of those that diverged
    return Progress(steps, int(np.count_nonzero(result["diverged"])), best)


def train_unit(
    sweep: Sweep,
    number: int,
    pending_signals: Sequence[int],
    on_progress: Callable[[Progress], None],
) -> bool:
    """Trains a unit from its last checkpoint and writes its result; nothing if it is finished.

    Args:
      sweep: the sweep.
      number: number of the unit.
      pending_signals: received signals; if there is one, saves a checkpoint and returns.
      on_progress: called after every chunk.

    Returns:
      False if interrupted.
    """
    directory, members = merge.unit_directory(sweep.directory, number), sweep.units[number]
    directory.mkdir(exist_ok=True)
    with workdir.lock(directory, _HANDOVER):
        if (directory / "result.npz").exists():
            return True
        checkpoints, record = directory / "checkpoints", directory / "run.json"
        old = workdir.read_json(record, missing_ok=True)
        configs = [member.config for member in members]
        new = provenance(parallel.devices_per_member(configs[0]), configs[0].shard_state)
        begin = max(checkpoint.steps(checkpoints), default=0)
        write_json(record, new | {"earlier": earlier(old, new, begin)})
        result = unit.run(
            configs, sweep.dataset, sweep.reference, checkpoints, pending_signals, on_progress
        )
        if result is not None:
            merge.write_result(directory, [member.number for member in members], result)
    return result is not None


def train_alone(
    directory: pathlib.Path, number: int, devices: int, pinned: set[int] | None = None
) -> int:
    """Trains one unit of a sweep in this process, for an executor.

    Args:
      directory: the sweep's directory.
      number: number of the unit.
      devices: number of JAX devices to split a CPU into; 0 for as many as a sweep.
      pinned: cores to pin this process to; None for none.

    Returns:
      Exit status: 0 finished, 128 + signal interrupted.

    Raises:
      InputError: the data have changed, or another process trains this unit.
      OSError: a system failure; saved files are intact.
    """
    if pinned is not None:
        # Not earlier: on import, BLAS counts the cores, by which it partitions sums.
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), pinned)
    spec = merge.read_spec(directory)
    _setup(config.override(spec.config, ()), devices=devices)
    base, members, dataset = _read(directory, spec)
    sweep = Sweep(directory, _units(spec, members), dataset, _reference(base, dataset))
    file = merge.unit_directory(directory, number) / _PROGRESS
    with loop.signals() as pending_signals:
        finished = train_unit(
            sweep, number, pending_signals, lambda progress: write_json(file, progress._asdict())
        )
    return 0 if finished else 128 + pending_signals[0]


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


def _setup(base: ConfigDict, on: str | None = None, devices: int = 0) -> None:
    accelerator = base.accelerator if on is None else "cpu"  # the units' processes need the others
    cache = data.cache_dir() / "xla"
    if not devices:  # with config.devices=0, a member would be split among them
        devices = cores() if base.devices else 1
    device.setup(accelerator, base.deterministic, cache, cpu_devices=devices)


def _reference(base: ConfigDict, dataset: Dataset) -> Reference:
    return scoring.reference(base, dataset, base.validation_split, base.eval_metrics, base.eval_num)


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
    """The command of the whole sweep, without where it is trained."""
    command = shlex.join(["python", "-m", "gan_jax.sweep", *arguments])
    return re.sub(r" '?--(shard|on|gpus_per_unit|slurm)[= ]('[^']*'|\S+)", "", command)


def _describe(units: Sequence[Sequence[Member]], dataset: Dataset) -> None:
    """Prints each unit with an estimate of its training time, measured for about a second."""
    total = 0.0
    for number, members in enumerate(units):
        c = members[0].config
        options = "".join(f", {name} {c[name]}" for name in ("loss", "k") if name in c)
        size = unit.state_bytes(c, dataset)
        seconds = unit.estimate_seconds([member.config for member in members], dataset)
        flops, accessed = unit.cost(c, dataset)
        total += seconds
        print(
            f"  unit {number}: {len(members)} members of {size / 1e6:.1f} MB, {c.num_steps} "
            f"iterations{options}: {_duration(seconds)}\n"
            f"    an iteration: {flops:.3g} FLOPs, {accessed / 1e6:.3g} MB before fusion; "
            f"up to {plan.max_unit(c, dataset)} members fit into memory"
        )
    print(f"total: {_duration(total)} of training, plus evaluation")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 100 else f"{seconds:.0f} s"
