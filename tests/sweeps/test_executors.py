import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from gan_jax import config, extras, workdir
from gan_jax.errors import InputError
from gan_jax.provenance import cores
from gan_jax.sweeps import executors, merge, runner
from gan_jax.sweeps.executors import Options, Task
from gan_jax.writers import write_json
from tests.conftest import ROOT, skip_unless_ci
from tests.sweeps.conftest import assert_same, base, run


def tasks(directory, *codes) -> dict[int, Task]:
    """Tasks that execute Python code."""
    logs = [directory / str(i) for i in range(len(codes))]
    return {
        i: Task([sys.executable, "-c", code], str(log), str(directory))
        for i, (code, log) in enumerate(zip(codes, logs, strict=True))
    }


def test_local_pins_processes_and_returns_statuses(tmp_path):
    code = "import os, sys; print(os.getcwd(), os.environ['NPROC'], *sys.argv[1:])"
    found, present = {}, os.sched_getaffinity(0)
    started = tasks(tmp_path, code, "raise SystemExit(3)", code)
    started[2] = started[2]._replace(devices=len(present))
    for ended in executors.local(started, Options()):
        found |= ended
    assert found == {0: 0, 1: 3, 2: 0}
    for i, devices in ((0, 1), (2, len(present))):
        *place, pinned = (tmp_path / str(i)).read_text().split("=")
        assert place == [f"{tmp_path} {cores()} --devices", f"{devices} --cores"]
        chosen = {int(core) for core in pinned.split(",")}
        assert len(chosen) == devices
        assert chosen <= present


def test_local_stops_processes_when_closed(tmp_path):
    saving = (
        "import pathlib, signal, sys, time\n"
        "def save(*_): time.sleep(0.2); pathlib.Path('saved').touch(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save); print('ready', flush=True); time.sleep(60)"
    )
    with contextlib.closing(executors.local(tasks(tmp_path, saving), Options())) as steps:
        while not (tmp_path / "0").exists() or not (tmp_path / "0").read_text():
            assert next(steps) == {}
    assert (tmp_path / "saved").exists()


def test_executors_are_checked(monkeypatch):
    cpu, gpu = (config.replace(base(), {"accelerator": name}) for name in ("cpu", "gpu"))
    executors.check("local", Options(), cpu)
    executors.check("ray", Options(gpus_per_unit=0.5), gpu)
    two = config.replace(gpu, {"devices": 2})
    executors.check("ray", Options(gpus_per_unit=2), two)
    executors.check("slurm", Options(), two)
    with pytest.raises(InputError, match="devices is 2, but --on=ray gives each unit at most 1"):
        executors.check("ray", Options(gpus_per_unit=0.5), two)
    present = len(os.sched_getaffinity(0))
    executors.check("local", Options(), config.replace(cpu, {"devices": present}))
    for on, most in (("local", present), ("ray", 1)):
        with pytest.raises(InputError, match=rf"'gpu', but --on={on} trains on CPU"):
            executors.check(on, Options(), gpu)
        with pytest.raises(InputError, match=rf"--on={on} gives each unit at most {most}$"):
            executors.check(on, Options(), config.replace(cpu, {"devices": most + 1}))
    monkeypatch.setitem(extras.EXTRAS, "ray", ("no_such_package",))
    with pytest.raises(InputError, match=r"^--on=ray needs no_such_package: pip install"):
        executors.check("ray", Options(), cpu)


def test_unknown_slurm_parameters_are_refused(tmp_path):
    directory = tmp_path / "units/0000"
    directory.mkdir(parents=True)
    options = Options(slurm={"nope": 1}, cluster="local")
    with pytest.raises(InputError, match="--on=slurm: NameError: Unknown argument 'nope'"):
        next(executors.on_slurm(tasks(directory, "pass"), options))


@pytest.fixture
def half(finished, tmp_path):
    """The finished sweep without the result of unit 1."""
    directory = tmp_path / "sweep"
    shutil.copytree(finished, directory)
    (directory / "summary.md").unlink()
    (directory / "units/0001/result.npz").unlink()
    return directory


@pytest.mark.slow
def test_failed_units_are_reported_and_retried(finished, half, monkeypatch, capsys):
    def failing(tasks, options):
        assert list(tasks) == [1]
        yield {}
        yield {1: -9}

    def finishing(tasks, options):
        *_, directory, number = tasks[1].command
        status = runner.train_alone(pathlib.Path(directory), int(number), devices=1)
        reported = workdir.read_json(half / "units/0001/progress.json")
        assert (reported["member_steps"], reported["diverged"]) == (2 * 300 + 2 * 1, 2)
        yield {}
        yield {1: status}

    monkeypatch.setitem(executors.EXECUTORS, "local", failing)
    assert run(half, on="local") == 1
    out, err = capsys.readouterr()
    assert err == f"error: unit 1 ended with -9: see {half}/units/0001/log.txt\n"
    assert "1 of 2 units failed" in out
    assert workdir.read_json(half / "run.json")["status"] == "failed"
    monkeypatch.setitem(executors.EXECUTORS, "local", finishing)
    assert run(half, on="local") == 0
    assert_same(finished, half)


def test_signals_stop_the_executor(half, monkeypatch, capsys):
    closed = []

    def interrupted(tasks, options):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            yield {1: 143}
        finally:
            closed.append(True)

    monkeypatch.setitem(executors.EXECUTORS, "local", interrupted)
    assert run(half, on="local") == 128 + signal.SIGTERM
    assert closed
    assert "resume with the same command" in capsys.readouterr().out
    assert workdir.read_json(half / "run.json")["status"] == "interrupted"


# Real executors


@pytest.fixture
def command(finished, tmp_path):
    """Starts the command of the sweep in tmp_path/sweep."""
    write_json(tmp_path / "config.json", base().to_dict())
    settings = merge.read_spec(finished).settings
    (tmp_path / "s.py").write_text(f"def get_sweep():\n    return {settings!r}\n")
    arguments = [f"--config={tmp_path}/config.json", f"--sweep={tmp_path}/s.py", "--seeds=2"]
    arguments += [f"--workdir={tmp_path}/sweep", "--max_unit=4"]
    with contextlib.ExitStack() as stack:

        def start(*more: str) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-m", "gan_jax.sweep", *arguments, *more],
                cwd=ROOT,
                env=os.environ | {"JAX_PLATFORMS": "cpu"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(stack.enter_context(process).terminate)
            return process

        yield start


def wait_for(directory: pathlib.Path, pattern: str) -> None:
    end = time.monotonic() + 90
    while not any(directory.glob(pattern)):
        assert time.monotonic() < end, pattern
        time.sleep(0.001)


def workers(parent: int) -> list[psutil.Process]:
    """Processes below a parent that train a unit, by unit."""
    found = []
    for child in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [child] * ("gan_jax.sweeps.worker" in child.cmdline())
    return sorted(found, key=lambda child: child.cmdline()[4])


@pytest.mark.slow
def test_local_equals_the_plain_sweep(finished, tmp_path, command):
    """Even if it is killed, with which its workers end."""
    directory = tmp_path / "sweep"
    unit = merge.unit_directory(directory, 0)
    process = command("--on=local")
    wait_for(unit, "checkpoints/step_*")
    trained = workers(process.pid)
    assert trained
    assert all(len(worker.cpu_affinity()) == 1 for worker in trained)
    process.kill()
    assert not psutil.wait_procs(trained, 20)[1]
    assert not (unit / "result.npz").exists()
    process = command("--on=local")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "unit 0: 4 members, 2 diverged, best parzen " in out
    assert_same(finished, directory)
    names = {path.name for path in unit.iterdir() if not path.name.startswith(".")}
    assert names == {"log.txt", "result.npz", "run.json"}
    recorded = [workdir.read_json(d / "units/0000/run.json") for d in (directory, finished)]
    assert recorded[0]["cores"] == recorded[1]["cores"]


@pytest.mark.slow
def test_local_with_two_devices(tmp_path, command):
    """Units of which each trains on two devices, as a plain sweep does."""
    if len(os.sched_getaffinity(0)) < 2:
        skip_unless_ci("each device needs a core")
    for on in ("--on=local", ""):
        process = command("--config.devices=2", *filter(None, [on]))
        assert process.communicate()[1] == ""
        assert process.returncode == 0
        record = workdir.read_json(tmp_path / "sweep/units/0000/run.json")
        assert (record["devices"], record["device"]["count"]) == (2, 2)
        (tmp_path / "sweep").rename(tmp_path / f"sweep{on}")
    assert_same(tmp_path / "sweep", tmp_path / "sweep--on=local")


@pytest.mark.slow
def test_ray_retries_a_killed_worker(finished, tmp_path, command):
    process = command("--on=ray")
    wait_for(tmp_path / "sweep", "units/0000/checkpoints/step_*")
    ray_worker = workers(process.pid)[0].parent()
    assert ray_worker.pid != process.pid
    ray_worker.kill()
    assert not (tmp_path / "sweep/units/0000/result.npz").exists()
    out, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, "")
    assert "unit 0: 4 members, 2 diverged" in out
    assert_same(finished, tmp_path / "sweep")


@pytest.mark.slow
def test_submitit_requeues_a_preempted_job(finished, tmp_path):
    preempted = []

    def preempt():
        wait_for(tmp_path, "units/0000/checkpoints/step_*")
        job = workers(os.getpid())[0].parent()
        preempted.append(" ".join(job.cmdline()))
        job.send_signal(signal.SIGUSR2)

    thread = threading.Thread(target=preempt)
    thread.start()
    assert run(tmp_path, on="slurm", options=Options(cluster="local")) == 0
    thread.join()
    assert "submitit.core._submit" in preempted[0]
    assert "Requeued job" in "".join(p.read_text() for p in tmp_path.glob("slurm/*.out"))
    assert_same(finished, tmp_path)
