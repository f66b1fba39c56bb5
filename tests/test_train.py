"""Tests of gan_jax.train: output schedule and files, reproducibility, divergence."""

import itertools
import os
import pathlib
import re
import shutil
import signal
import time
import types

import numpy as np
import pytest

from gan_jax import (
    algorithms,
    checkpoint,
    config,
    data,
    draws,
    grid,
    loop,
    plots,
    population,
    train,
    workdir,
)
from gan_jax.draws import Stream
from gan_jax.errors import InputError
from gan_jax.evaluation import scoring
from gan_jax.writers import png, read_metrics
from tests.conftest import contents, files, open_image, sha, untrained


def steps_of(directory: pathlib.Path) -> list[int]:
    return [line["step"] for line in read_metrics(directory / "metrics.jsonl")]


# A run


def test_files_of_a_run(tiny, finished):
    assert workdir.read_config(finished) == tiny
    record = workdir.read_json(finished / "run.json")
    assert record["status"] == "finished"
    assert (record["seed"], record["step"], record["resumed_from"]) == (tiny.seed, 12, 0)
    assert record["dataset"]["shape"] == [1500, 8, 8, 1]
    assert record["seconds_to_first_step"] > 0
    assert record["steps_per_second"] > 0
    for digest in (record["params_sha256"], record["dataset"]["sha256"]):
        assert re.fullmatch("[0-9a-f]{64}", digest)
    assert steps_of(finished) == [1, 2, 4, 6, 8, 10, 12]
    line = read_metrics(finished / "metrics.jsonl")[0]
    spec = config.spec(tiny, (8, 8, 1))
    assert set(line) == {"step", *algorithms.ALGORITHMS["gan"].info_names(spec)}
    names = [p.name for p in sorted((finished / "samples").iterdir())]
    assert names == ["step_0000000.png", "step_0000006.png", "step_0000012.png"]
    assert open_image(finished / "samples.gif").n_frames == 3
    assert open_image(finished / "curves.png").size[0] > 500
    assert checkpoint.steps(finished / "checkpoints") == [4, 8, 12]


def test_sample_grids_share_one_noise(tiny, finished):
    for step in (4, 12):
        spec, state = workdir.load(finished, step)
        z = draws.noise(spec, draws.stream_key(state.key, Stream.NOISE_SAMPLE), 6)
        images = algorithms.generate(spec, state, z)
        expected = png(plots.image_grid(images, 2, 3))
        assert png(grid.image(tiny, spec, state, data.load("digits"))) == expected
    assert (finished / "samples/step_0000012.png").read_bytes() == expected
    other = scoring.evaluation_samples(spec, state, 6)
    assert other.shape == images.shape
    assert np.any(other != images)


def test_bytes_depend_on_seed_only(tiny, finished, tmp_path, monkeypatch, capsys):
    """Not on logging periods or chunk lengths."""
    train.run(tiny, tmp_path / "again", "digits")
    assert files(tmp_path / "again") == files(finished)
    first, *printed = capsys.readouterr().out.splitlines()
    assert first == str(tmp_path / "again")
    pace = r"( \([\d,.]+ iterations/s, \d\d:\d\d left\))?"
    pattern = r"Iter: (\d+) D_loss: [\d.]+, G_loss: [\d.]+" + pace
    matches = [re.fullmatch(pattern, x) for x in printed]
    assert [int(m[1]) for m in matches if m] == [1, 5, 10, 12]
    *files_printed, command = printed[-4:]
    assert all(pathlib.Path(line.split()[-1]).is_file() for line in files_printed)
    assert command == f"  report     gan-jax report --workdir={tmp_path}/again"
    train.run(tiny, tmp_path / "again", "digits")
    again = capsys.readouterr().out.splitlines()
    assert again == [f"{tmp_path}/again: already finished", *printed[-4:]]
    monkeypatch.setattr(loop, "_CHUNK_SECONDS", 0.0)  # chunks of one iteration
    periods = {"log_every": 1, "metrics_every": 3, "sample_every": 12, "checkpoint_every": 12}
    train.run(config.replace(tiny, periods), tmp_path / "rarely", "digits")
    assert sha(finished) == sha(tmp_path / "again") == sha(tmp_path / "rarely")
    train.run(config.replace(tiny, {"seed": 1}), tmp_path / "other", "digits")
    assert sha(tmp_path / "other") != sha(finished)


def test_missing_images_are_redrawn(tiny, finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "run")
    before = contents(directory)
    for name in ("samples/step_0000012.png", "samples.gif", "curves.png"):
        (directory / name).unlink()
        train.run(tiny, directory, "digits")
        after = contents(directory)
        assert {p for p in after if after[p] != before[p]} == {directory / name}
        assert files(directory) == files(finished)
        before = after


def test_changed_data_prevent_redrawing(tiny, tmp_path):
    rng = np.random.default_rng(0)
    c = config.replace(
        tiny, {"dataset": f"npy:{tmp_path}/points.npy", "generator.output": "linear"}
    )
    np.save(tmp_path / "points.npy", rng.normal(size=(20, 2)))
    untrained(c, tmp_path / "run")
    image = tmp_path / "run/samples/step_0000012.png"
    image.unlink()
    np.save(tmp_path / "points.npy", rng.normal(size=(20, 2)))
    with pytest.raises(InputError, match="has changed since"):
        train.run(c, tmp_path / "run", "points")
    assert not image.exists()


def test_moved_data_of_a_finished_run(tiny, tmp_path):
    """Its config.json records the new path."""
    for name in ("old", "new"):
        np.savez(tmp_path / f"{name}.npz", images=data.load("digits").images[:20])
    c = config.replace(tiny, {"dataset": f"npz:{tmp_path}/old.npz"})
    untrained(c, tmp_path / "run")
    c.dataset = f"npz:{tmp_path}/new.npz"
    assert train.run(c, tmp_path / "run", "x") == 0
    assert workdir.read_config(tmp_path / "run") == c


@pytest.mark.parametrize("step", [3, 4])  # nothing else is due at 3
def test_signal_saves_current_state(step, tiny, finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "_CHUNK_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        iteration = itertools.count(1)

        def interrupt(*_, **__):
            if next(iteration) == step:
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(train.tqdm, "set_postfix", interrupt)
        assert train.run(tiny, tmp_path, "digits") == 128 + signal.SIGTERM
    record = workdir.read_json(tmp_path / "run.json")
    assert (record["status"], record["step"]) == ("interrupted", step)
    assert f"Interrupted after iteration {step} and saved" in capsys.readouterr().out
    assert int(workdir.load(tmp_path)[1].step) == step
    assert train.run(tiny, tmp_path, "digits") == 0
    assert workdir.read_json(tmp_path / "run.json")["resumed_from"] == step
    assert (files(tmp_path), sha(tmp_path)) == (files(finished), sha(finished))


def test_speed_excludes_first_chunk(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "_CHUNK_SECONDS", 0.0)  # twelve chunks, of half a second each
    ticks = itertools.count(0, 0.5)
    clock = types.SimpleNamespace(time=lambda: next(ticks), perf_counter=time.perf_counter)
    monkeypatch.setattr(train, "time", clock)
    train.run(tiny, tmp_path, "digits")
    assert workdir.read_json(tmp_path / "run.json")["steps_per_second"] == 2.0
    out = capsys.readouterr().out
    assert "Finished 12 iterations at 2.0 iterations/s" in out
    assert re.search(r"Iter: 10 .* \(2\.0 iterations/s, 00:01 left\)\n", out)


# Divergence


def test_divergence_keeps_finite_checkpoints(tiny, tmp_path, capsys):
    changes = {"d_optimizer.learning_rate": 3e9, "checkpoint_every": 1}
    diverging = config.replace(tiny, changes)
    assert train.run(diverging, tmp_path / "a", "digits") == 1
    record = workdir.read_json(tmp_path / "a/run.json")
    assert record["status"] == "diverged"
    assert "params_sha256" not in record
    step, quantity = record["diverged"]["step"], record["diverged"]["in"]
    assert f"{quantity} is not finite at iteration {step}" in capsys.readouterr().err
    for done in checkpoint.steps(tmp_path / "a/checkpoints"):
        assert done < step
        _, state = workdir.load(tmp_path / "a", done)
        assert np.isfinite(state.players["d"].params["Dense_0"]["kernel"]).all()
    # A run that diverges in its last iteration is not finished.
    last = config.replace(diverging, {"num_steps": step})
    for _ in range(2):
        assert train.run(last, tmp_path / "b", "digits") == 1


@pytest.mark.parametrize("name", ["d_loss", "g_grad_norm", "d_param_norm"])
def test_divergence_of_any_quantity(name, tiny, tmp_path, monkeypatch):
    original = population.train_chunk

    def overflow(*arguments):
        states, info = original(*arguments)
        return states, info | {name: info[name] * np.inf}

    monkeypatch.setattr(population, "train_chunk", overflow)
    assert train.run(tiny, tmp_path, "digits") == 1
    assert workdir.read_json(tmp_path / "run.json")["diverged"] == {"step": 1, "in": name}


def test_divergence_of_samples(tiny, tmp_path, monkeypatch):
    c = config.replace(tiny, {"eval_every": 4, "eval_num": 10, "eval_metrics": ("parzen",)})
    original = scoring.evaluation_samples
    monkeypatch.setattr(scoring, "evaluation_samples", lambda *x: original(*x) * np.nan)
    assert train.run(c, tmp_path, "digits") == 1
    assert workdir.read_json(tmp_path / "run.json")["diverged"] == {"step": 4, "in": "samples"}
    assert steps_of(tmp_path) == [1, 2]


# Data and outputs


def test_data_errors_before_training(tiny, tmp_path):
    for value in (1.5, -0.1):
        np.save(tmp_path / "points.npy", np.full((20, 2), value, np.float32))
        c = config.replace(tiny, {"dataset": f"npy:{tmp_path}/points.npy"})
        with pytest.raises(InputError, match=r"generator\.output=linear"):
            train.run(c, tmp_path / "run", "points")
    with pytest.raises(InputError, match=r"^config\.split: split 'train\[30:\]': npy:.* has 20 "):
        train.run(config.replace(c, {"split": "train[30:]"}), tmp_path / "run", "points")
    with pytest.raises(InputError, match=r"batch_size is 21, but .* has only 20 examples"):
        train.run(config.replace(c, {"batch_size": 21}), tmp_path / "run", "points")
    assert not (tmp_path / "run").exists()


def test_longer_run_extends_shorter_one(tiny, finished, tmp_path):
    train.run(config.replace(tiny, {"num_steps": 7}), tmp_path, "digits")
    metrics = tmp_path / "metrics.jsonl"
    intact = metrics.read_bytes()
    for damaged in (None, intact.replace(b"{", b"(", 1), b"\n" + intact, b"[1]\n"):
        metrics.unlink() if damaged is None else metrics.write_bytes(damaged)
        with pytest.raises(InputError, match=r"metrics\.jsonl"):
            train.run(tiny, tmp_path, "digits")
    metrics.write_bytes(intact)
    train.run(tiny, tmp_path, "digits")
    assert workdir.read_json(tmp_path / "run.json")["resumed_from"] == 7
    assert (files(tmp_path), sha(tmp_path)) == (files(finished), sha(finished))


@pytest.mark.slow
def test_mnist_begins_like_the_tutorial(mnist_dir, tmp_path, monkeypatch):
    """Tutorial: 1.446/2.288 and 1.671/1.718 at first, 0.0645/6.974 and 0.0501/4.74 at the end."""
    monkeypatch.setenv("TFDS_DATA_DIR", mnist_dir)
    assert train.run(config.load("mnist", ["--config.num_steps=2000"]), tmp_path, "mnist") == 0
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert 1.2 < lines[0]["d_loss"] < 2.2
    assert 1.2 < lines[0]["g_loss"] < 3.2
    assert lines[-1]["d_loss"] < 0.2
    assert 3.5 < lines[-1]["g_loss"] < 10
