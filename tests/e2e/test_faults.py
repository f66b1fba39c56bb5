"""Fault tolerance: a resumed run is bitwise identical to an undisturbed one."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from gan_jax import checkpoint, cli, config, loop, plots, sample, train, workdir, writers
from gan_jax.errors import InputError
from tests.conftest import (
    ROOT,
    assert_one_line_error,
    call,
    contents,
    files,
    fill,
    sha,
)


@pytest.fixture
def halfway(finished, tmp_path):
    """The run as if killed after iteration 8 of 12, in the middle of a line of metrics."""
    directory = tmp_path / "halfway"
    shutil.copytree(finished, directory)
    shutil.rmtree(directory / "checkpoints/step_0000012")
    for name in ("curves.png", "samples.gif", "samples/step_0000012.png"):
        (directory / name).unlink()
    metrics = directory / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-7])
    record = workdir.read_json(directory / "run.json")
    writers.write_json(directory / "run.json", record | {"status": "running"})
    return directory


def assert_same_end(a: pathlib.Path, b: pathlib.Path) -> None:
    assert files(a) == files(b)
    assert sha(a) == sha(b)


def resumed_from(directory: pathlib.Path) -> int:
    return workdir.read_json(directory / "run.json")["resumed_from"]


def flip(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_three_kills():
    command = [sys.executable, "benchmarks/chaos.py", "--kills=3", "--num_steps=60000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "3 kills" in done.stdout
    assert "identical" in done.stdout
    assert done.returncode == 0


def test_resume_is_bitwise_identical(tiny, halfway, finished):
    """Even if interrupted saves left directories behind that are not checkpoints."""
    checkpoints = halfway / "checkpoints"
    shutil.copytree(checkpoints / "step_0000008", checkpoints / "unfinished")
    shutil.copytree(checkpoints / "step_0000004", checkpoints / "doomed")
    with workdir.lock(halfway), pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        train.run(tiny, halfway, "digits")
    assert train.run(config.replace(tiny, {"keep_checkpoints": 1}), halfway, "digits") == 0
    assert resumed_from(halfway) == 8
    assert [p.name for p in checkpoints.iterdir()] == ["step_0000012"]
    assert train.run(tiny, halfway, "digits") == 0  # whose config.json is then the same again
    writers.write_json(halfway / "config.json", tiny.to_dict())
    assert_same_end(halfway, finished)


def test_damaged_checkpoint_is_skipped(tiny, halfway, finished, caplog):
    flip(max(halfway.glob("checkpoints/step_0000008/**/*"), key=lambda p: p.stat().st_size))
    train.run(config.replace(tiny, {"keep_checkpoints": 2}), halfway, "digits")
    assert "step_0000008 is damaged" in caplog.text
    assert resumed_from(halfway) == 4
    assert checkpoint.steps(halfway / "checkpoints") == [8, 12]  # the damaged one was overwritten
    assert sha(halfway) == sha(finished)
    assert (halfway / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()


def test_unusable_checkpoints_are_kept(tiny, halfway):
    """Resuming fails without modifying anything."""
    for path in halfway.glob("checkpoints/*/manifest.ocdbt"):
        flip(path)
    before = contents(halfway)
    with pytest.raises(InputError, match="every checkpoint"):
        train.run(tiny, halfway, "digits")
    assert contents(halfway) == before


# If the disk fills up during a save, Orbax never awaits some of its writes.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", ["checkpoint", "metrics", "image", "figures"])
def test_full_disk(what, tiny, small_disk, finished, monkeypatch, capsys):
    ballast = small_disk / "ballast"
    owner, name = {
        "checkpoint": (checkpoint.Writer, "_save"),
        "metrics": (writers.Files, "flush"),
        "image": (writers, "write_whole"),
        "figures": (plots, "write_whole"),
    }[what]
    original = getattr(owner, name)

    def fill_first(*arguments):
        if (small_disk / "run/checkpoints/step_0000004").exists():
            fill(ballast)
        return original(*arguments)

    monkeypatch.setattr(owner, name, fill_first)
    with pytest.raises(SystemExit) as e:
        cli.run(lambda: train.run(tiny, small_disk / "run", "digits"))
    monkeypatch.undo()
    assert e.value.code == 1
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(err) == 1
    assert "No space left on device" in err[0]
    ballast.unlink()
    assert train.run(tiny, small_disk / "run", "digits") == 0
    assert resumed_from(small_disk / "run") >= 4
    assert_same_end(small_disk / "run", finished)


def test_changed_environment_is_recorded(tiny, halfway, monkeypatch, caplog):
    monkeypatch.setenv("NPROC", "64")
    train.run(tiny, halfway, "digits")
    assert "resuming in another environment: cores" in caplog.text
    assert "-> 64; the bytes may differ" in caplog.text
    record = workdir.read_json(halfway / "run.json")
    assert record["cores"] == 64
    assert [segment["until"] for segment in record["earlier"]] == [8]


@pytest.mark.slow
def test_bytes_ignore_jax_variables(tiny, finished, tmp_path, monkeypatch):
    variables = {
        "JAX_ENABLE_X64": "1",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "JAX_RANDOM_SEED_OFFSET": "3",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_DISABLE_JIT": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    writers.write_json(tmp_path / "config.json", tiny.to_dict())
    for module, *arguments in (
        ("main", f"--config={tmp_path}/config.json"),
        ("sample", "--num=3", f"--out={tmp_path}/a.npz"),
    ):
        command = [sys.executable, "-m", f"gan_jax.{module}", f"--workdir={tmp_path}/run"]
        subprocess.run([*command, *arguments], cwd=ROOT, check=True, env=os.environ | variables)
    assert_same_end(tmp_path / "run", finished)
    arguments = [f"--workdir={finished}", "--num=3", f"--out={tmp_path}/b.npz"]
    assert call(sample, monkeypatch, *arguments) == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_removed_workdir(tiny, tmp_path, monkeypatch, capsys):
    directory = tmp_path / "run"
    original = loop.train

    def remove_at_two(*arguments, **options):
        for chunk in original(*arguments, **options):
            if chunk.step == 2:
                shutil.rmtree(directory)
            yield chunk

    monkeypatch.setattr(loop, "train", remove_at_two)
    with pytest.raises(SystemExit) as e:
        cli.run(lambda: train.run(tiny, directory, "digits"))
    assert e.value.code == 1
    assert_one_line_error(capsys.readouterr().err, "No such file or directory")
    assert not directory.exists()
