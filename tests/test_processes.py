"""Tests of gan_jax.processes: agreement, refusals, and several processes against one."""

import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gan_jax import checkpoint, processes, workdir
from gan_jax.errors import InputError
from gan_jax.writers import write_json
from tests.conftest import ROOT, files, sha, tiny_config


def address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def together(function, number: int = 2) -> list:
    """What function(processes) returns, or raises, in each of several processes; here threads."""
    place = address()

    def one(i: int):
        try:
            with processes.start(place, number, i) as peers:
                return function(peers)
        except InputError as e:
            return str(e)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


def test_all_gather():
    def talk(peers):
        return (
            peers.all_gather(peers.index),
            peers.call_on_primary(lambda: peers.index + 5),
            peers.all_gather("a"),
        )

    assert together(talk, 3) == [([0, 1, 2], 5, ["a"] * 3)] * 3
    assert talk(processes.ALONE) == ([0], 5, ["a"])


def test_differences_are_named():
    expected = "process 2 has config.seed 2, but process 0 has 0"
    assert together(lambda p: p.check_same({"config.seed": p.index // 2 * 2}), 3) == [expected] * 3
    assert together(lambda p: p.check_same({"config.seed": 1})) == [None, None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("h:1", None, 0), "needed together"),
        (("h:1", 2, 2), "--process_id=2: must be below --num_processes=2"),
        (("h", 2, 0), "must be HOST:PORT"),
        (("h:99999", 2, 0), "must be HOST:PORT"),
        (("127.0.0.1:1", 2, 1), "process 0 does not answer within 0.3 s"),
        (("127.0.0.1:PORT", 3, 0), "not connected within 0.3 s: process 1, 2"),
    ],
)
def test_refused(arguments, message, monkeypatch):
    monkeypatch.setattr(processes, "_SECONDS", 0.3)
    place, *rest = arguments
    with pytest.raises(InputError, match=message):
        processes.start(address() if "PORT" in place else place, *rest)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("one", "one"), ("a,b", "a"), ("n[03-04,7],m1", "n03"), ("n[7,9]", "n7"), ("a1,n[1-2]", "a1")],
)
def test_slurm(nodes, host, monkeypatch):
    for name, value in {
        "STEP_NUM_TASKS": "4",
        "PROCID": "2",
        "JOB_ID": "4097",
        "JOB_NODELIST": "x",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_STEP_NODELIST", nodes)
    assert processes._slurm() == (f"{host}:61441", 4, 2)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert processes.start(None, None, None) is processes.ALONE
    monkeypatch.setenv("SLURM_NTASKS", "4")  # in a batch script, for steps to come
    for name in ("STEP_NUM_TASKS", "STEP_NODELIST"):
        monkeypatch.delenv(f"SLURM_{name}")
    assert processes.start(None, None, None) is processes.ALONE


CHANGES = {"batch_size": 12, "num_steps": 400, "checkpoint_every": 20, "accelerator": "cpu"}


def launch(
    directory: pathlib.Path, number: int, total: int = 6, **changes: Any
) -> list[subprocess.Popen]:
    """Starts a run with `total` devices in as many processes as told."""
    config = directory.with_suffix(f".{number}.json")
    fields = {"devices": 0 if number > 1 else total}
    write_json(config, tiny_config().to_dict() | CHANGES | fields | changes)
    command = [sys.executable, "-m", "gan_jax.main", f"--config={config}", f"--workdir={directory}"]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(total // number)}
    place = address()
    several = [f"--coordinator={place}", f"--num_processes={number}"] * (number > 1)
    return [
        subprocess.Popen(
            [*command, *several, *[f"--process_id={i}"] * (number > 1)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(number)
    ]


def ends(started: list[subprocess.Popen]) -> list[tuple[int, str]]:
    errors = [process.communicate(timeout=300)[1] for process in started]
    return [(p.returncode, error) for p, error in zip(started, errors, strict=True)]


def newest(directory: pathlib.Path) -> int:
    return max(checkpoint.steps(directory / "checkpoints"), default=0)


def interrupt(directory: pathlib.Path, kind: int, victim: int) -> list:
    """Sends a signal to one of two processes after the next checkpoint; how both ended."""
    before, started = newest(directory), launch(directory, 2, 2)
    while newest(directory) == before and all(p.poll() is None for p in started):
        time.sleep(0.02)
    time.sleep(random.random() / 5)
    begun = time.monotonic()
    started[victim].send_signal(kind)
    found = ends(started)
    assert time.monotonic() - begun < 20
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same run by one process with two devices."""
    directory = tmp_path_factory.mktemp("processes") / "whole"
    assert [code for code, _ in ends(launch(directory, 1, 2))] == [0]
    return directory


@pytest.mark.slow
def test_interrupted_and_killed(whole, tmp_path):
    """The run resumes to the bytes of one process, and as another number of processes."""
    run = tmp_path / "run"
    assert [code for code, _ in interrupt(run, signal.SIGTERM, 1)] == [143, 143]
    assert workdir.read_json(run / "run.json")["status"] == "interrupted"
    for victim in (1, 0):
        found = interrupt(run, signal.SIGKILL, victim)
        assert found[victim][0] == -signal.SIGKILL
        code, error = found[1 - victim]
        assert code != 0
        assert f"error: process {victim} was killed or has lost its connection" in error
    other = shutil.copytree(run, tmp_path / "other")
    assert [code for code, _ in ends(launch(run, 2, 2))] == [0, 0]
    assert sha(run) == sha(whole)
    names = {n: x for n, x in files(run).items() if n != "config.json"}
    assert names == {n: x for n, x in files(whole).items() if n != "config.json"}
    assert workdir.read_json(run / "run.json")["processes"] == 2
    assert [code for code, _ in ends(launch(other, 3, 3))] == [0, 0, 0]
    record = workdir.read_json(other / "run.json")
    assert record["resumed_from"] > 0
    assert (record["status"], record["processes"]) == ("finished", 3)
    assert record["earlier"][-1]["processes"] == 2


@pytest.mark.slow
def test_sharded_states(tmp_path):
    """Two processes with half of the state each equal one with both, and it resumes their run."""
    # Interrupted between outputs, for which states are gathered anyway.
    periods = ("metrics_every", "log_every", "sample_every", "checkpoint_every", "eval_every")
    changes = dict.fromkeys((*periods, "num_steps"), 300) | {"shard_state": True, "ema": 0.9}
    changes |= {"eval_num": 10, "eval_metrics": ("parzen",)}
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert [code for code, _ in ends(launch(whole, 1, 2, **changes))] == [0]
    started = launch(run, 2, 2, **changes)
    while not (run / "samples/step_0000000.png").exists() and started[0].poll() is None:
        time.sleep(0.02)
    started[1].send_signal(signal.SIGTERM)
    assert [code for code, _ in ends(started)] == [143, 143]
    assert 0 < newest(run) < 300
    other = shutil.copytree(run, tmp_path / "other")
    for directory, number in ((run, 2), (other, 1)):
        assert [code for code, _ in ends(launch(directory, number, 2, **changes))] == [0] * number
        record = workdir.read_json(directory / "run.json")
        assert record["resumed_from"] > 0
        assert record["shard_state"]
        assert sha(directory) == sha(whole)
        name = "metrics.jsonl"
        assert (directory / name).read_bytes() == (whole / name).read_bytes()
