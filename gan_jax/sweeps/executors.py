"""Executors that train the units of a sweep in processes of their own.

An executor is a generator function of tasks and options. It starts every task, yields the exit
statuses of those that have ended since the last yield, a few times a second, and returns once all
have ended. Closing it stops the remaining tasks with SIGTERM and waits until they have saved.

On import, needs the standard library and gan_jax.errors alone: workers of Ray and submitit load it.
"""

import contextlib
import functools
import logging
import os
import pathlib
import signal
import subprocess
import textwrap
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

from gan_jax.errors import InputError, brief
from gan_jax.extras import require

_POLL = 0.2  # seconds
_SAVE = 60.0  # seconds in which a stopped task saves its checkpoint
_RETRIES = 3  # of a task whose Ray worker dies


class Task(NamedTuple):
    """A resumable command that trains one unit."""

    command: list[str]
    log: str  # file to which its output is appended
    directory: str  # in which it runs
    devices: int = 1  # that share a minibatch


class Options(NamedTuple):
    """Settings of executors.

    gpus_per_unit: for Ray; below 1, units share a GPU.
    slurm: parameters of submitit's SlurmExecutor, such as partition and time (minutes).
    cluster: submitit's; "local" runs jobs as processes of this machine.
    """

    gpus_per_unit: float = 0.0
    slurm: Mapping[str, str | int] = {}
    cluster: str = "slurm"


Tasks = Mapping[int, Task]
Ended = dict[int, int]  # unit -> exit status: 0 finished, -signal or 128 + signal, anything else


def start(
    task: Task, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a task, in a session of its own so that Ctrl-C reaches only the sweep."""
    with open(task.log, "ab") as log:
        return subprocess.Popen(
            [*task.command, *arguments],
            cwd=task.directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def local(tasks: Tasks, options: Options) -> Generator[Ended]:
    """One process per core, or per as many as a task has devices, pinned to them, on CPU.

    XLA still partitions sums as for all cores (NPROC), so the bytes are those of one process.
    """
    from gan_jax.provenance import cores

    env = os.environ | {"NPROC": str(cores()), "JAX_PLATFORMS": "cpu"}
    free, waiting = sorted(os.sched_getaffinity(0)), sorted(tasks, reverse=True)
    running: dict[int, tuple[subprocess.Popen[bytes], list[int]]] = {}
    try:
        while waiting or running:
            while waiting and len(free) >= (devices := tasks[waiting[-1]].devices):
                unit, (pinned, free) = waiting.pop(), (free[:devices], free[devices:])
                arguments = f"--devices={devices}", f"--cores={','.join(map(str, pinned))}"
                running[unit] = start(tasks[unit], *arguments, env=env), pinned
            time.sleep(_POLL)
            found = {unit: process.poll() for unit, (process, _) in running.items()}
            ended = {unit: status for unit, status in found.items() if status is not None}
            free += [core for unit in ended for core in running.pop(unit)[1]]
            yield ended
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.wait()


def on_ray(tasks: Tasks, options: Options) -> Generator[Ended]:
    """One Ray task per unit, on one CPU and `gpus_per_unit` GPUs.

    Uses the cluster of RAY_ADDRESS, or else starts one on this machine. Ray repeats a task whose
    worker dies; the unit then resumes from its last checkpoint.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    address = os.environ.get("RAY_ADDRESS")
    before = signal.getsignal(signal.SIGTERM)
    import ray

    new = {"address": address} if address else {"address": "local", "include_dashboard": False}
    try:
        with warnings.catch_warnings():  # Ray's children execute another program at once
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            ray.init(**new, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as e:
        raise InputError(f"--on=ray: RAY_ADDRESS={address}: {brief(e)}") from e
    signal.signal(signal.SIGTERM, before)  # Ray has replaced it
    running: dict[Any, int] = {}
    try:
        gpus = options.gpus_per_unit
        most = max((node["Resources"].get("GPU", 0) for node in ray.nodes()), default=0)
        if gpus > most and not address:
            raise InputError(f"--gpus_per_unit={gpus:g}, but Ray finds {most:g} GPUs here")
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES)(_ray_task)
        env = dict(os.environ) if gpus else os.environ | {"JAX_PLATFORMS": "cpu"}
        if 0 < gpus < 1:  # JAX would reserve three quarters of a shared GPU
            env.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.75 * gpus:.3f}")
        running = {remote.remote(tasks[unit], env): unit for unit in sorted(tasks)}
        while running:
            found, _ = ray.wait(list(running), num_returns=len(running), timeout=_POLL)
            units = [(running.pop(ref), ref) for ref in found]
            yield {
                unit: _status(functools.partial(ray.get, ref), tasks[unit]) for unit, ref in units
            }
    finally:
        for ref in running:
            ray.cancel(ref)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=_SAVE)
        ray.shutdown()


def _ray_task(task: Task, env: dict[str, str]) -> int:
    import ray

    # The sweep's environment, without what Ray adds, except for the GPUs that it assigns.
    gpus = ",".join(map(str, ray.get_gpu_ids()))
    process = start(task, "--devices=1", env=env | {"CUDA_VISIBLE_DEVICES": gpus})
    try:
        status = process.wait()
    finally:  # cancelled: a KeyboardInterrupt
        process.terminate()
        process.wait()
    if status == -signal.SIGKILL:  # probably out of memory
        os.kill(os.getpid(), signal.SIGKILL)  # so that Ray retries
    return status


def on_slurm(tasks: Tasks, options: Options) -> Generator[Ended]:
    """A job array, one job per unit, through submitit.

    A job that is preempted or out of time is requeued and resumes from the last checkpoint.
    """
    import submitit

    folder = pathlib.Path(next(iter(tasks.values())).log).parents[2] / "slurm"
    try:
        executor = submitit.AutoExecutor(folder, cluster=options.cluster)
        parameters = {f"slurm_{name}": value for name, value in options.slurm.items()}
        executor.update_parameters(name="gan_jax", **parameters)
        units = sorted(tasks)
        jobs = executor.map_array(SlurmTask(), [tasks[unit] for unit in units])
    except Exception as e:  # no Slurm, an unknown parameter, or refused by sbatch
        raise InputError(f"--on=slurm: {brief(e)}") from e
    running = dict(zip(units, jobs, strict=True))
    try:
        while running:
            time.sleep(_POLL)
            found = [unit for unit, job in running.items() if job.done()]
            yield {unit: _status(running.pop(unit).result, tasks[unit]) for unit in found}
    finally:
        for job in running.values():
            job.cancel(check=False)
        end = time.monotonic() + _SAVE
        while time.monotonic() < end and not all(job.done(True) for job in running.values()):
            time.sleep(_POLL)


class SlurmTask:
    """A task as submitit runs it; submitit calls `checkpoint` before it requeues the job."""

    process: subprocess.Popen[bytes] | None = None

    def __call__(self, task: Task) -> int:
        self.process = start(task)
        try:
            status = self.process.wait()
            if status in (-signal.SIGTERM, 128 + signal.SIGTERM):
                # Slurm may be requeuing the job: to return now would record a result.
                time.sleep(_SAVE)
            return status
        finally:
            self.process.terminate()
            self.process.wait()

    def checkpoint(self, task: Task) -> Any:
        import submitit

        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(ChildProcessError):  # has ended
                os.waitpid(self.process.pid, 0)  # wait() would deadlock in a signal handler
        return submitit.helpers.DelayedSubmission(SlurmTask(), task)


def _status(result: Callable[[], Any], task: Task) -> int:
    """A task's exit status: 1 if the executor lost it, with the reason in the log."""
    try:
        return int(result())
    except Exception as e:
        with open(task.log, "a") as log:
            print(f"error: {type(e).__name__}: {textwrap.shorten(str(e), 300)}", file=log)
        return 1


EXECUTORS: dict[str, Callable[[Tasks, Options], Generator[Ended]]] = {
    "local": local,
    "ray": on_ray,
    "slurm": on_slurm,
}


def check(on: str, options: Options, config: Any) -> None:
    """Raises an InputError if an executor is not installed, or lacks the devices of a config."""
    if on != "local":
        require(f"--on={on}", on)
    on_cpu = on == "local" or (on == "ray" and not options.gpus_per_unit)
    if on_cpu and config.accelerator not in ("auto", "cpu"):
        raise InputError(
            f"config.accelerator is {config.accelerator!r}, but --on={on} trains on CPU: use "
            "--on=slurm, or --on=ray with --gpus_per_unit"
        )
    most = len(os.sched_getaffinity(0)) if on == "local" else max(1, options.gpus_per_unit)
    if on != "slurm" and config.devices > most:
        raise InputError(
            f"config.devices is {config.devices}, but --on={on} gives each unit at most {most:g}"
        )
