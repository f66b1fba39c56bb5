"""Faults that a run survives: each is provoked, and the run resumed to the same bytes."""

import json
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import time

import pytest

from gan_jax import checkpoint, cli, config, reproduce, train, workdir, writers
from gan_jax.errors import InputError
from gan_jax.losses import LOSSES
from tests.conftest import ROOT, fill
from tests.test_train import files, sha


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A finished run, and a copy of it as it was after iteration 8 of 12."""
    from tests.conftest import tiny_config

    whole = tmp_path_factory.mktemp("faults") / "whole"
    train.run(tiny_config(), whole, "digits")
    return whole


@pytest.fixture
def halfway(undisturbed, tmp_path):
    """The run as a kill after the checkpoint of iteration 8 leaves it."""
    directory = tmp_path / "halfway"
    shutil.copytree(undisturbed, directory)
    shutil.rmtree(directory / "checkpoints/step_0000012")
    for name in ("run.json", "curves.png", "samples.gif", "samples/step_0000012.png"):
        (directory / name).unlink()
    return directory


def assert_same_end(a: pathlib.Path, b: pathlib.Path) -> None:
    assert files(a) == files(b)
    assert sha(a) == sha(b)


def resumed_from(directory: pathlib.Path) -> int:
    return workdir.read_json(directory / "run.json")["resumed_from"]


def test_a_killed_run_goes_on_to_the_same_bytes(tiny, halfway, undisturbed):
    assert train.run(tiny, halfway, "digits") == 0
    assert resumed_from(halfway) == 8
    assert_same_end(halfway, undisturbed)


def test_a_line_cut_off_by_a_kill_is_written_again(tiny, halfway, undisturbed):
    metrics = halfway / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-7])
    train.run(tiny, halfway, "digits")
    assert_same_end(halfway, undisturbed)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("optimizer", "schedule", "widths", "activation", "prior"),
    [
        ("sgd", "linear", "()", "relu", "normal"),
        ("momentum", "exponential", "(4,)", "leaky_relu", "uniform"),
        ("adam", "constant", "(4,3)", "tanh", "normal"),
        ("rmsprop", "cosine", "(3,)", "relu", "uniform"),
    ],
)
@pytest.mark.slow
def test_resuming_is_exact_in_every_game(
    k, loss, optimizer, schedule, widths, activation, prior, tiny, tmp_path
):
    settings = [f"--config.k={k}", f"--config.loss={loss}", f"--config.prior.name={prior}"]
    for player, network in (("d", "discriminator"), ("g", "generator")):
        settings += [
            f"--config.{player}_optimizer.name={optimizer}",
            f"--config.{player}_optimizer.schedule={schedule}",
            f"--config.{player}_optimizer.decay_steps=12",
            f"--config.{player}_optimizer.decay_rate=0.5",
            f"--config.{network}.widths={widths}",
            f"--config.{network}.activation={activation}",
        ]
    c = config.override(tiny, settings)
    train.run(c, tmp_path / "whole", "digits")
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed/checkpoints/step_0000012")
    (tmp_path / "killed/run.json").unlink()
    train.run(c, tmp_path / "killed", "digits")
    assert resumed_from(tmp_path / "killed") == 8
    assert_same_end(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_five_kills():
    command = [sys.executable, "benchmarks/chaos.py", "--kills=5", "--num_steps=60000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "5 kills" in done.stdout
    assert "identical" in done.stdout
    assert done.returncode == 0


def truncate(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, pathlib.Path.unlink])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(
    damage, tiny, halfway, undisturbed, caplog
):
    largest = max(halfway.glob("checkpoints/step_0000008/**/*"), key=lambda p: p.stat().st_size)
    damage(largest)
    train.run(config.override(tiny, ["--config.keep_checkpoints=2"]), halfway, "digits")
    assert "step_0000008 is damaged" in caplog.text
    assert resumed_from(halfway) == 4
    assert checkpoint.steps(halfway / "checkpoints") == [8, 12]  # the damaged one did not count
    assert sha(halfway) == sha(undisturbed)
    assert (halfway / "metrics.jsonl").read_bytes() == (undisturbed / "metrics.jsonl").read_bytes()


def test_only_damaged_checkpoints_are_status_2_and_nothing_is_lost(tiny, halfway):
    for path in halfway.glob("checkpoints/*/manifest.ocdbt"):
        truncate(path)
    before = {p: p.read_bytes() for p in halfway.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="every checkpoint"):
        train.run(tiny, halfway, "digits")
    after = {p: p.read_bytes() for p in halfway.rglob("*") if p.is_file()}
    assert {p.name for p in before.keys() ^ after.keys()} <= {".lock"}
    assert all(after[p] == before[p] for p in before if p.name != ".lock")


def test_what_a_kill_during_a_save_leaves_is_not_taken_for_a_checkpoint(tiny, halfway, undisturbed):
    checkpoints = halfway / "checkpoints"
    shutil.copytree(checkpoints / "step_0000008", checkpoints / "unfinished")
    shutil.copytree(checkpoints / "step_0000004", checkpoints / "doomed")
    assert checkpoint.steps(checkpoints) == [4, 8]
    train.run(config.override(tiny, ["--config.keep_checkpoints=1"]), halfway, "digits")
    assert sha(halfway) == sha(undisturbed)
    assert [p.name for p in checkpoints.iterdir()] == ["step_0000012"]


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_checkpoint_of_pickled_objects_is_refused(halfway, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in halfway.rglob("checkpoints/*/**/*"):
        if path.is_file() and path.name != "manifest.json":
            path.write_bytes(pickle.dumps(_Evil()))
    for path in (halfway / "checkpoints").iterdir():  # as one would who has forged the hashes too
        manifest = {
            "step": int(path.name[5:]),
            "best_by": {},
            "sha256": checkpoint._hash_files(path),
        }
        (path / "manifest.json").write_text(json.dumps(manifest))
    (halfway / "run.json").write_text('{"dataset": {"shape": [1500, 8, 8, 1]}}')
    with pytest.raises(InputError):
        workdir.load(halfway)
    assert not (tmp_path / "evil").exists()


# Where the disk fills up in the middle of a save, orbax leaves writes behind that nobody awaits.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", ["checkpoint", "metrics", "picture"])
def test_a_full_disk_is_one_line_and_resumes_once_there_is_space(
    what, tiny, small_disk, undisturbed, monkeypatch, capsys
):
    ballast = small_disk / "ballast"
    names = {
        "checkpoint": (checkpoint.Writer, "_save"),
        "metrics": (writers.Files, "flush"),
        "picture": (writers, "write_whole"),
    }
    owner, name = names[what]
    original = getattr(owner, name)

    def fill_first(*arguments):
        if (small_disk / "run/checkpoints/step_0000004").exists():
            fill(ballast)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fill_first)
        patch.setattr(sys, "argv", ["train"])
        with pytest.raises(SystemExit) as e:
            cli.run(lambda: train.run(tiny, small_disk / "run", "digits"))
    assert e.value.code == 1
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(err) == 1
    assert "No space left on device" in err[0]
    ballast.unlink()
    assert train.run(tiny, small_disk / "run", "digits") == 0
    assert resumed_from(small_disk / "run") >= 4
    assert_same_end(small_disk / "run", undisturbed)


def test_a_workdir_removed_under_the_run_is_one_line_and_not_made_anew(
    tiny, tmp_path, monkeypatch, capsys
):
    directory = tmp_path / "run"
    chunks = train._chunks

    def remove_at_two(*arguments):
        for state, info in chunks(*arguments):
            if info["step"] == 2:
                shutil.rmtree(directory)
            yield state, info

    monkeypatch.setattr(train, "_chunks", remove_at_two)
    with pytest.raises(SystemExit) as e:
        cli.run(lambda: train.run(tiny, directory, "digits"))
    assert e.value.code == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "No such file or directory" in err
    assert not directory.exists()


def test_a_second_signal_ends_the_process_at_once_and_the_checkpoint_is_whole(tiny, tmp_path):
    """The first signal arrives while a save takes a minute; the second does not wait for it."""
    code = (
        "import pathlib, time\n"
        "from gan_jax import checkpoint, cli, config, train\n"
        "save = checkpoint.Writer._save\n"
        "def slow(self, step, *rest):\n"
        "    if step == 8: print('saving', flush=True); time.sleep(60)\n"
        "    save(self, step, *rest)\n"
        "checkpoint.Writer._save = slow\n"
        f"c = config.load({str(tmp_path / 'config.json')!r})\n"
        f"cli.run(lambda: train.run(c, pathlib.Path({str(tmp_path / 'run')!r}), 'x'))\n"
    )
    writers.write_json(tmp_path / "config.json", tiny.to_dict())
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    while (line := process.stdout.readline()) != "saving\n":
        assert line
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=5)
    assert process.returncode == -signal.SIGTERM  # which a shell shows as 128 + 15
    assert checkpoint.steps(tmp_path / "run/checkpoints") == [4]
    once = tmp_path / "once"
    assert train.run(tiny, once, "digits") == train.run(tiny, tmp_path / "run", "digits") == 0
    assert_same_end(once, tmp_path / "run")


def test_a_run_is_reproduced_or_the_first_difference_named(undisturbed, halfway, capsys):
    assert reproduce.reproduce(undisturbed) == 0
    assert "identical" in capsys.readouterr().out
    metrics = halfway / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('"d_real": 0.', '"d_real": 0.0')
    metrics.write_text("".join(lines))
    shutil.copy(undisturbed / "run.json", halfway)
    record = workdir.read_json(halfway / "run.json")
    record["versions"]["jax"] = "0.0.1"
    writers.write_json(halfway / "run.json", record)
    assert reproduce.reproduce(halfway) == 1
    out = capsys.readouterr().out
    assert "differs first at iteration 4, d_real" in out
    assert "environment differs in versions" in out
    assert "0.0.1" in out


def test_reproduction_compares_parameters_and_pictures(undisturbed, tmp_path, capsys):
    for name in ("sha", "picture"):
        shutil.copytree(undisturbed, tmp_path / name)
    record = workdir.read_json(tmp_path / "sha/run.json")
    writers.write_json(tmp_path / "sha/run.json", record | {"params_sha256": 64 * "0"})
    assert reproduce.reproduce(tmp_path / "sha") == 1
    assert "differs first at params_sha256: 0000" in capsys.readouterr().out
    flip(tmp_path / "picture/samples/step_0000012.png")
    assert reproduce.reproduce(tmp_path / "picture") == 1
    assert "differs first at samples/step_0000012.png" in capsys.readouterr().out
    (tmp_path / "picture/metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="no metrics yet"):
        reproduce.reproduce(tmp_path / "picture")


def test_a_run_whose_metrics_every_changed_on_the_way_is_reproduced(tiny, halfway, capsys):
    tiny.metrics_every = 3
    train.run(tiny, halfway, "digits")
    steps = [line["step"] for line in writers.read_metrics(halfway / "metrics.jsonl")]
    assert steps == [1, 2, 4, 6, 9, 12]  # 8 was of the old kind, and the checkpoint's own
    assert reproduce.reproduce(halfway) == 0
    assert "identical: 6 lines" in capsys.readouterr().out
