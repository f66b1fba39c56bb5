"""What the benchmarks count, with sizes that take no time; nothing of what they measure."""

import copy
import json

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import pacgan_table1, population, table1
from gan_jax import config
from gan_jax.errors import InputError
from tests.conftest import ROOT, tiny_config


def test_bytes_that_an_iteration_moves():
    c = config.load(str(ROOT / "configs/mnist.py"))
    d = (784 + 1) * 128 + (128 + 1)
    g = (100 + 1) * 128 + (128 + 1) * 784
    images = jnp.zeros((2, 28, 28, 1), jnp.uint8)
    for k in (1, 3):
        c.k = k
        game, hparams = config.game(c, (28, 28, 1)), config.hparams(c)
        # Parameters and Adam's two moments, float32, read and written; a minibatch read.
        wanted = k * (2 * 3 * 4 * d + 128 * 784) + 2 * 3 * 4 * g
        assert population.moved(game, hparams, images) == wanted


def test_the_constant_bounds_every_peak_and_no_less_does():
    peaks = {1: 500.0, 8: 560.0, 128: 800.0}
    c = population.constant(peaks, state=2.5)
    assert c == pytest.approx(560 - 1.2 * 8 * 2.5)
    assert all(peak <= 1.2 * n * 2.5 + c for n, peak in peaks.items())


def test_bandwidth_is_that_of_reading_and_writing():
    assert population.bandwidth(4096, repeats=2) > 0


@pytest.mark.slow
def test_the_gpu_part_by_a_few_members(monkeypatch, capsys):
    monkeypatch.setattr(population, "SECONDS", 0.001)
    c = tiny_config()
    images = jnp.uint8(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)))
    setup = c, config.game(c, (8, 8, 1)), config.hparams(c), images
    result = population.on_gpu(setup, (1, 2), rounds=2, whole=2, really=True, copied=4096)
    assert {name: len(rates) for name, rates in result["rates"].items()} == {"1": 2, "2": 2}
    assert result["bytes"] == population.moved(*setup[1:])
    rate = np.median(result["rates"]["2"])
    assert result["whole_estimated_s"] == pytest.approx(2 * c.num_steps / rate)
    assert result["whole_s"] > 0
    assert "whole_s, 2 trainings of 12 iterations" in capsys.readouterr().out


@pytest.fixture
def committed() -> dict:
    """What table1.py goes on from."""
    return json.loads((ROOT / "benchmarks/results/table1.json").read_text())


def test_table_1_of_the_committed_results(committed):
    rows = table1.table1(committed)
    names = [row[:40].strip() for row in rows]
    published = [f"{name} (published)" for name in table1.PUBLISHED]
    configs, trivial = names[len(published) : -3], names[-3:]
    assert names == [*published, *configs, *trivial]
    assert configs == ["goodfellow2014, 1 seed", "mnist_best, 3 seeds"]
    assert trivial == ["real data", "Gaussians", "k-means"]
    readme = (ROOT / "README.md").read_text()
    for row in rows[len(published) :]:
        assert f"{row[40:].strip().replace('+-', '±')}" in readme
    assert table1.comparison(committed)[-1].split()[:2] == ["Parzen", "log-likelihood"]


def test_table_1_of_a_config_with_more_seeds_and_metrics(committed):
    first = copy.deepcopy(committed["goodfellow2014"])
    for metric in first["seeds"][0]["metrics"].keys() - {"parzen"}:
        del first["seeds"][0]["metrics"][metric]
    other = first | {"seeds": [copy.deepcopy(first["seeds"][0]) for _ in range(2)]}
    for seed, value in zip(other["seeds"], (200.0, 210.0), strict=True):
        seed["metrics"]["parzen"]["value"] = value
        seed["metrics"]["fid"] = {"value": 10.0}
    rows = table1.table1({"goodfellow2014": first, "other": other})
    assert rows[5].split() == ["other,", "2", "seeds", "205.0", "+-", "5.0"]
    assert len(rows) == 9
    header, row = table1.comparison({"goodfellow2014": first, "other": other})
    assert header.split() == ["goodfellow2014", "other", "better"]
    assert row.split()[-3:] == ["179.8", "205", "higher"]
    assert [row.split()[0] for row in table1.comparison({"other": other})[1:]] == ["FID", "Parzen"]


def test_table_1_keeps_other_settings_of_a_config_as_a_row_of_their_own(
    committed, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "table1.json"
    out.write_text(json.dumps(committed))
    seed = copy.deepcopy(committed["goodfellow2014"]["seeds"][0])
    seed["validation"] = {seed["iteration"]: 1.0}  # JSON has no whole numbers as keys
    monkeypatch.setattr(table1, "measure", lambda *_: seed)
    monkeypatch.setattr("sys.argv", ["table1.py", f"--out={out}", "--config.update=alternating"])
    assert table1.main() == 0
    found = json.loads(out.read_text())
    assert found.keys() - committed.keys() == {"goodfellow2014 --config.update=alternating"}
    assert {name: found[name] for name in committed} == committed
    assert "goodfellow2014 --config.update=alternating" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [("hello", "table1.json cannot be read"), ('{"a": 1}', "holds something else than rows")],
)
def test_table_1_refuses_a_file_of_something_else_before_it_trains(
    text, message, tmp_path, monkeypatch
):
    out = tmp_path / "table1.json"
    out.write_text(text)
    monkeypatch.setattr("sys.argv", ["table1.py", f"--out={out}"])
    with pytest.raises(InputError, match=message):
        table1.main()
    assert out.read_text() == text


def test_table_1_is_of_mnist(tmp_path):
    with pytest.raises(InputError, match="--config is of digits, but the published rows are of"):
        table1.measure(ROOT / "configs/digits.py", [], tmp_path)


@pytest.mark.parametrize("fraction", ["-1", "0", "1.1", "nan"])
def test_pacgan_s_table_takes_a_share_of_its_iterations(fraction, monkeypatch):
    monkeypatch.setattr("sys.argv", ["pacgan_table1.py", f"--fraction={fraction}"])
    with pytest.raises(InputError, match="--fraction must be above 0 and at most 1, not "):
        pacgan_table1.main()
