import json
import pathlib
import re

import numpy as np
import pytest

from gan_jax import checkpoint, config, core, plots, train, workdir
from gan_jax.errors import InputError
from tests.conftest import ROOT, picture


def files(directory: pathlib.Path) -> dict[str, bytes]:
    """All that a run leaves, but for the checkpoints' inner files and the provenance."""
    names = ["metrics.jsonl", "config.json", "curves.png", "samples.gif"]
    paths = [directory / name for name in names] + sorted(directory.glob("samples/*"))
    return {str(p.relative_to(directory)): p.read_bytes() for p in paths}


def sha(directory: pathlib.Path) -> str:
    return workdir.read_json(directory / "run.json")["params_sha256"]


def test_a_run_leaves_its_files(tiny, tmp_path, capsys):
    assert train.run(tiny, tmp_path, "digits") == 0
    assert workdir.read_config(tmp_path) == tiny
    record = workdir.read_json(tmp_path / "run.json")
    assert record["status"] == "finished"
    assert record["seed"] == tiny.seed
    assert record["step"] == 12
    assert record["dataset"]["shape"] == [1500, 8, 8, 1]
    assert record["seconds_to_first_step"] > 0
    assert record["steps_per_second"] > 0
    for field in ("git_commit", "git_dirty", "versions", "device"):
        assert field in record
    for field in ("params_sha256", ("dataset", "sha256")):
        digest = record[field] if isinstance(field, str) else record[field[0]][field[1]]
        assert re.fullmatch("[0-9a-f]{64}", digest)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 4, 6, 8, 10, 12]
    expected = {"step", "d_loss", "g_loss", "d_real", "d_fake", "d_grad_norm", "g_grad_norm"}
    assert expected <= lines[0].keys()
    names = [p.name for p in sorted((tmp_path / "samples").iterdir())]
    assert names == ["step_0000000.png", "step_0000006.png", "step_0000012.png"]
    assert picture(tmp_path / "samples.gif").n_frames == 3
    assert picture(tmp_path / "curves.png").size[0] > 500
    assert checkpoint.steps(tmp_path / "checkpoints") == [4, 8, 12]
    out = capsys.readouterr().out.splitlines()
    assert out[0] == str(tmp_path)
    printed = [re.fullmatch(r"Iter: (\d+) D_loss: [\d.]+, G_loss: [\d.]+", line) for line in out]
    assert [int(m[1]) for m in printed if m] == [1, 5, 10, 12]


def test_every_picture_is_of_one_fixed_noise(tiny, tmp_path):
    train.run(tiny, tmp_path, "digits")
    for step in (4, 8, 12):
        game, state = workdir.load(tmp_path, step)
        key = core.role_key(state.key, core.Role.NOISE_SAMPLE)
        noise = core.sample_noise(game, key, 6)
        images = np.asarray(core.generate(game, state.g.variables, noise))
        expected = plots.png(plots.image_grid(images, 2, 3))
        assert plots.png(train.sample_picture(tiny, game, state, images)) == expected
    assert (tmp_path / "samples/step_0000012.png").read_bytes() == expected


def test_any_quantity_that_is_not_finite_is_noticed():
    good = {"step": 3, "d_loss": 0.5, "d_param_norm": 2.0}
    assert train._not_finite(good) is None
    for value in (float("nan"), float("inf"), -float("inf")):
        assert train._not_finite(good | {"d_param_norm": value}) == "d_param_norm"


def test_metrics_of_the_past_are_kept_and_must_be_whole(tiny, tmp_path):
    train.run(tiny, tmp_path / "run", "digits")
    tiny.num_steps, tiny.metrics_every = 20, 5
    metrics = tmp_path / "run/metrics.jsonl"
    whole = metrics.read_bytes()
    for damaged in (None, whole.replace(b"{", b"(", 1), b"\n" + whole, b'{"step": 1}\n'):
        metrics.unlink() if damaged is None else metrics.write_bytes(damaged)
        with pytest.raises(InputError, match=r"metrics\.jsonl"):
            train.run(tiny, tmp_path / "run", "digits")
    metrics.write_bytes(whole)
    train.run(tiny, tmp_path / "run", "digits")
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == [1, 2, 4, 6, 8, 10, 15, 20]


def test_points_beyond_the_reach_of_sigmoid_are_refused(tiny, tmp_path):
    np.save(tmp_path / "points.npy", np.full((20, 2), 1.5, np.float32))
    tiny.dataset = f"npy:{tmp_path}/points.npy"
    with pytest.raises(InputError, match=r"generator\.output=linear"):
        train.run(tiny, tmp_path / "run", "points")


def test_a_seed_repeats_a_run_and_another_does_not(tiny, tmp_path):
    for name in ("a", "b"):
        train.run(tiny, tmp_path / name, "digits")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert sha(tmp_path / "a") == sha(tmp_path / "b")
    tiny.seed = 1
    train.run(tiny, tmp_path / "c", "digits")
    assert sha(tmp_path / "c") != sha(tmp_path / "a")


def test_what_is_written_does_not_change_what_is_trained(tiny, tmp_path, monkeypatch):
    train.run(tiny, tmp_path / "a", "digits")
    tiny.log_every, tiny.metrics_every, tiny.sample_every, tiny.checkpoint_every = 1, 3, 12, 12
    train.run(tiny, tmp_path / "b", "digits")
    monkeypatch.setattr(train, "_CHUNK_SECONDS", 0.0)  # chunks of one iteration
    train.run(tiny, tmp_path / "c", "digits")
    assert sha(tmp_path / "a") == sha(tmp_path / "b") == sha(tmp_path / "c")


def test_a_longer_run_goes_on_from_a_shorter_one_as_if_it_had_been_one(tiny, tmp_path):
    train.run(tiny, tmp_path / "once", "digits")
    tiny.num_steps = 7
    train.run(tiny, tmp_path / "twice", "digits")
    tiny.num_steps = 12
    train.run(tiny, tmp_path / "twice", "digits")
    assert workdir.read_json(tmp_path / "twice/run.json")["resumed_from"] == 7
    once, twice = files(tmp_path / "once"), files(tmp_path / "twice")
    assert twice.pop("samples/step_0000007.png")
    assert once.pop("samples.gif") != twice.pop("samples.gif")  # one frame more
    assert once == twice
    assert sha(tmp_path / "once") == sha(tmp_path / "twice")


def test_a_finished_run_is_left_alone(tiny, tmp_path, capsys):
    train.run(tiny, tmp_path, "digits")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    capsys.readouterr()
    assert train.run(tiny, tmp_path, "digits") == 0
    assert "finished" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_another_config_is_refused_by_the_names_of_its_fields(tiny, tmp_path):
    train.run(tiny, tmp_path, "digits")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    tiny.d_optimizer.learning_rate = 0.5
    tiny.num_steps = 11
    with pytest.raises(InputError, match=r"num_steps.*d_optimizer.learning_rate \(0.001 -> 0.5\)"):
        train.run(tiny, tmp_path, "digits")
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_divergence_stops_the_run_and_keeps_the_last_finite_checkpoint(tiny, tmp_path, capsys):
    tiny.d_optimizer.name = "sgd"
    tiny.d_optimizer.learning_rate = 1e30
    tiny.checkpoint_every = 1
    assert train.run(tiny, tmp_path, "digits") == 1
    record = workdir.read_json(tmp_path / "run.json")
    assert record["status"] == "diverged"
    assert "params_sha256" not in record
    step = record["diverged"]["step"]
    assert (
        f"{record['diverged']['in']} is not finite at iteration {step}" in capsys.readouterr().err
    )
    for done in checkpoint.steps(tmp_path / "checkpoints"):
        assert done < step
        _, state = workdir.load(tmp_path, done)
        assert np.isfinite(state.d.params["Dense_0"]["kernel"]).all()


def test_a_run_that_diverged_at_its_end_is_not_a_finished_one(tiny, tmp_path):
    tiny.d_optimizer.name = "sgd"
    tiny.d_optimizer.learning_rate = 1e30
    train.run(tiny, tmp_path / "a", "digits")
    tiny.num_steps = workdir.read_json(tmp_path / "a/run.json")["step"]
    for _ in range(2):
        assert train.run(tiny, tmp_path / "b", "digits") == 1


def test_new_runs_are_numbered(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n in (1, 2):
        assert train.run(tiny, None, "digits") == 0
        assert (tmp_path / "runs/digits" / str(n) / "run.json").exists()


def test_points_are_drawn_as_a_scatter_plot(tiny, tmp_path):
    points = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    tiny.dataset = f"npy:{tmp_path}/points.npy"
    tiny.generator.output = "linear"
    assert train.run(tiny, tmp_path / "run", "points") == 0
    assert picture(tmp_path / "run/samples/step_0000012.png").size == (480, 480)


def test_tensorboard_has_the_scalars_and_pictures(tiny, tmp_path):
    tiny.tensorboard = True
    train.run(tiny, tmp_path, "digits")
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"d_loss" in events.read_bytes()
    assert b"samples" in events.read_bytes()


def test_data_that_changed_under_a_run_are_refused(tiny, tmp_path):
    rng = np.random.default_rng(0)
    tiny.dataset = f"npy:{tmp_path}/images.npy"
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (20, 8, 8), np.uint8))
    train.run(tiny, tmp_path / "run", "x")
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (20, 8, 8), np.uint8))
    tiny.num_steps = 20
    with pytest.raises(InputError, match="has changed since"):
        train.run(tiny, tmp_path / "run", "x")


@pytest.mark.slow
def test_mnist_begins_as_the_tutorials_published_runs_do(mnist_dir, tmp_path, monkeypatch):
    """Theirs print 1.446/2.288 and 1.671/1.718 at first, 0.0645/6.974 and 0.0501/4.74 after 2k."""
    monkeypatch.setenv("TFDS_DATA_DIR", mnist_dir)
    c = config.load(str(ROOT / "configs/mnist.py"), ["--config.num_steps=2000"])
    assert train.run(c, tmp_path, "mnist") == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert 1.2 < lines[0]["d_loss"] < 2.2
    assert 1.2 < lines[0]["g_loss"] < 3.2
    assert lines[-1]["d_loss"] < 0.2
    assert 3.5 < lines[-1]["g_loss"] < 10
