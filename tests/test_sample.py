import jax
import numpy as np
import pytest

from gan_jax import sample
from tests.conftest import assert_one_line_error, call, open_image


def test_samples_depend_on_seed_and_checkpoint(finished, tmp_path, monkeypatch, capsys):
    def draw(name, *arguments):
        out = f"--out={tmp_path / name}"
        assert call(sample, monkeypatch, f"--workdir={finished}", out, *arguments) == 0
        return tmp_path / name

    a = np.load(draw("a.npz", "--num=10"))["images"]
    assert a.shape == (10, 8, 8, 1)
    assert a.dtype == np.uint8
    assert np.array_equal(a, np.load(draw("b.npz", "--num=10"))["images"])
    assert not np.array_equal(a, np.load(draw("c.npz", "--num=10", "--seed=1"))["images"])
    assert not np.array_equal(a, np.load(draw("d.npz", "--num=10", "--step=4"))["images"])
    assert open_image(draw("e.png", "--num=10")).size[0] >= 240
    assert len(np.load(draw("g.npz", "--num=10", "--interpolate"))["images"]) == 10
    walk = np.load(draw("f.npz", "--num=9", "--interpolate"))["images"].astype(int)
    steps = np.abs(np.diff(walk.reshape(3, 3, -1), axis=1)).sum()
    ends = np.abs(walk.reshape(3, 3, -1)[:, 0] - walk.reshape(3, 3, -1)[:, 2]).sum()
    assert steps < 2 * ends  # the middle of a walk is between its ends
    assert call(sample, monkeypatch, f"--workdir={finished}", f"--out={tmp_path}/a.npz") == 2
    assert "exists" in capsys.readouterr().err


def test_interpolation_keeps_ends_and_norms():
    z = np.random.default_rng(0).normal(size=(2, 4, 50)).astype(np.float32)
    interpolate = jax.jit(sample.interpolate, static_argnums=(1, 2))
    for prior in ("uniform", "normal"):
        walk = interpolate(z, 5, prior)
        np.testing.assert_allclose(walk[:, 0], z[0], atol=1e-5)
        np.testing.assert_allclose(walk[:, -1], z[1], atol=1e-5)
        middle = np.linalg.norm(walk[:, 2], axis=-1) / np.linalg.norm(z, axis=-1).mean(0)
        assert (middle > 0.9).all() == (prior == "normal")
    walk = interpolate(np.array([[[2.0]], [[-1.0]]]), 4, "normal")  # parallel: linearly
    np.testing.assert_allclose(walk[0, :, 0], [2, 1, 0, -1], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out=x.png"], "--workdir"),
        (["--workdir=WORKDIR"], "--out"),
        (["--workdir=nowhere", "--out=x.png"], "not the directory of a run"),
        (["--workdir=WORKDIR", "--out=x.bmp"], ".png or .npz"),
        (["--workdir=WORKDIR", "--out=no/x.png"], "no directory"),
        (["--workdir=WORKDIR", "--out=x.png", "--num=0"], "integer of at least 1"),
        (["--workdir=WORKDIR", "--out=x.png", "--num=many"], "integer of at least 1"),
        (["--workdir=WORKDIR", "--out=x.npz", "--num=4294967295"], "GB of memory"),
        (["--workdir=WORKDIR", "--out=x.png", "--step=3"], "it has: 4, 8, 12"),
        (["--workdir=WORKDIR", "--out=x.png", "--config.k=3"], "unrecognized"),
    ],
)
def test_one_line_errors(arguments, words, finished, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = [a.replace("WORKDIR", str(finished)) for a in arguments]
    assert call(sample, monkeypatch, *arguments) == 2
    assert_one_line_error(capfd.readouterr().err, words)
    assert not list(tmp_path.iterdir())
