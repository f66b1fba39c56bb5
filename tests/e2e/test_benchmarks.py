"""Tests of benchmarks/ on small sizes, except for the timings themselves."""

import json

import numpy as np
import pytest

from benchmarks import (
    codes,
    common,
    convolutions,
    engines,
    equilibrium,
    jax_sides,
    molecules,
    pacgan_table1,
    population,
    reproduce_all,
    scaling,
    speed,
    table1,
    validation,
)
from gan_jax import algorithms, config, data, workdir
from gan_jax.data.mixtures import MIXTURES, draw
from gan_jax.errors import InputError
from gan_jax.sweeps.executors import Options
from gan_jax.writers import write_json
from tests.conftest import (
    assert_one_line_error,
    call,
    figure_of,
    open_image,
    tiny_config,
    untrained,
)


def committed(name: str) -> dict:
    return json.loads((common.RESULTS / name).read_text())


def test_sides_alternate_for_equal_durations():
    calls = []

    def side(name, seconds):
        return lambda num: calls.append((name, num)) or num * seconds

    rates = common.in_turn({"a": side("a", 0.5), "b": side("b", 0.1)}, rounds=2, duration=10)
    assert rates == {"a": pytest.approx([2, 2]), "b": pytest.approx([10, 10])}
    assert calls[4:] == [("a", 20), ("b", 100), ("b", 100), ("a", 20)]


def test_origin_omits_directories(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/x/table1.py", "--seeds=2", "--out=/x/y", "--workdir=/z"])
    assert common.origin()["command"] == "python benchmarks/table1.py --seeds=2"


def test_executor_runs_empty_units():
    first, every = engines.seconds("local", Options(), 3)
    assert 0 < first <= every < 10


def test_observed_chunks(tiny):
    chunks, end = speed.observe(tiny)
    assert chunks[0].num_steps == 1
    assert sum(chunk.num_steps for chunk in chunks) == tiny.num_steps
    assert chunks[0].begun < chunks[0].ended <= chunks[1].begun < chunks[-1].ended < end


def test_outputs_share(monkeypatch):
    chunks = [speed.Chunk(1, 0, 5), speed.Chunk(10, 6, 8), speed.Chunk(20, 10, 13)]
    monkeypatch.setattr(speed, "observe", lambda _: (chunks, 25))
    monkeypatch.setattr(speed.jax_sides, "population", lambda *_: lambda num: None)
    monkeypatch.setattr(speed.common, "seconds", lambda _, num: num / 10)
    shares = speed.outputs_share(None, None)
    assert shares["waiting"] == pytest.approx([0.75] * 3)  # 15 of 20 s outside of train_chunk
    assert shares["in_all"] == pytest.approx([0.85] * 3)  # 3 s without outputs


def test_products_of_an_iteration():
    """Counted by hand for D's first layer and G's last, which has the same sizes."""
    images = np.zeros((1000, 8, 8, 1), np.uint8)
    small = {"image_size": 8, "batch_size": 6, "schedules": ()}
    for player in ("generator", "discriminator"):
        small |= {f"{player}.widths": (4,), f"{player}.hidden": ()}
    base = config.replace(config.load("dcgan_mnist"), small)

    def products(weight, interval):
        penalties = {}
        for name in ("r1", "r2"):
            penalties |= {f"penalties.{name}.weight": weight}
            penalties |= {f"penalties.{name}.interval": interval}
        return convolutions.products(config.replace(base, penalties), images)

    plain, lazy, every = products(0.0, 1), products(1.0, 4), products(1.0, 1)
    pixels = 6 * 4 * 4
    assert plain[pixels, 16, 4] == 2 * 2 + 1  # D on real and fake for each player; G's gradient
    assert plain[pixels, 4, 16] == 2 * 1 + 1  # the fake images for each player; their gradient
    assert plain[1, pixels, 4] == 16 * (2 + 1)  # gradients of D's kernel; of G's
    assert {k: 4 * (lazy[k] - plain[k]) for k in every} == {k: every[k] - plain[k] for k in every}
    assert sum(every.values()) > sum(plain.values())


@pytest.mark.parametrize("k", [1, 3])
def test_bytes_moved_per_iteration(k):
    c = config.replace(config.load("mnist"), {"k": k})
    d = (784 + 1) * 128 + (128 + 1)
    g = (100 + 1) * 128 + (128 + 1) * 784
    # Parameters and Adam's two moments, float32, read and written; a minibatch read.
    expected = k * (2 * 3 * 4 * d + 128 * 784) + 2 * 3 * 4 * g
    assert population.moved(c, np.zeros((2, 28, 28, 1), np.uint8)) == expected


def test_screening_of_molecules():
    rng = np.random.default_rng(0)
    kinds = (np.arange(40) < 20, np.arange(40) >= 20)  # bits of inactive and of active ones
    labels = (np.arange(400) % 50 == 0).astype(np.int32)
    images = np.stack([kinds[y] for y in labels]) & (rng.random((400, 40)) < 0.7)
    whole = data.from_arrays(images.astype(np.float32), labels)
    probabilities = tuple(np.tile(0.9 * kind, (30, 1)) for kind in kinds)
    found, sampled = molecules.measure(probabilities, whole, whole)
    scores = {name: round(found[f"{name}, at 1/2"]) for name in ("active", "inactive")}
    assert scores == {"active": 50, "inactive": 0}
    assert found["difference, drawn"] == pytest.approx(50)
    assert (sampled["bits"]["active, at 1/2"] == 20).all()
    assert sampled["bits"]["active, drawn"].mean() == pytest.approx(18, abs=1)
    assert molecules.baselines(whole, whole)["nearest training active"] == pytest.approx(50)
    assert molecules.summary(np.arange(10), np.arange(5, 15)) == {
        "mean": 4.5,
        "real": 9.5,
        "ks": 0.5,
    }


def test_memory_constant_bounds_peaks():
    peaks = {1: 500.0, 8: 560.0, 128: 800.0}
    assert population.constant(peaks, state=2.5) == pytest.approx(560 - 1.2 * 8 * 2.5)


@pytest.mark.slow
@pytest.mark.parametrize("side", [jax_sides.population, jax_sides.limit, jax_sides.python_loop])
def test_sides_run(side):
    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 1), np.uint8)
    assert common.seconds(side(config.load("mnist"), images), 2) > 0


@pytest.mark.slow
def test_populations_on_gpu(monkeypatch):
    monkeypatch.setattr(population, "SECONDS", 0.001)
    c = tiny_config()
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    result = population.on_gpu(c, images, (1, 2), rounds=2, copied=4096)
    assert {name: len(rates) for name, rates in result["rates"].items()} == {"1": 2, "2": 2}


@pytest.mark.slow
def test_equilibrium(tmp_path):
    plane = equilibrium.Plane("grid")
    assert plane.p_data.sum() == pytest.approx(1)
    points, _ = draw(MIXTURES["grid"], 10**6, seed=0)
    counts = 10**6 * plane.p_data
    errors = (10**6 * plane.histogram(points) - counts)[counts > 10] / counts[counts > 10] ** 0.5
    assert 0.9 < errors.std() < 1.1  # those of counts
    found = equilibrium.curves("grid", 2, 2, 30, plane.measure)
    assert found["updates"].tolist() == [3 * n for n in range(1, 11)]
    assert found["jsd"].shape == found["d_gap"].shape == (2, 10)
    assert (found["jsd"] > plane.floor()).all()
    assert (found["jsd"] <= np.log(2)).all()
    mean, half = equilibrium.interval(np.array([[1.0], [2.0], [3.0]]))
    assert (mean[0], half[0]) == (2, pytest.approx(4.303 / 3**0.5, rel=1e-3))


def test_model_of_communication():
    # 900 MB over 450 GB/s, 7/8 of it twice, and 2 all-reduces of 3 doublings each.
    expected = 2 * 7 / 8 * 900e6 / 450e9 + 2 * 3 * scaling.LATENCY
    assert scaling.communication(900e6, 2, 8) == pytest.approx(expected)
    found = {"communication_ms": {"8": 1.0, "64": 3.0}}
    assert scaling.efficiency(found, 1000) == {"8": 0.5, "64": 0.25}


def test_reproductions_are_listed(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["reproduce_all.py", "--list"])
    assert reproduce_all.main() == 0
    printed = capsys.readouterr().out
    assert "PacGAN, Table 2: modes, reverse KL\n    published: 1,000, 0.06\n" in printed
    assert "not reproduced; one seed" in printed
    assert "](" not in printed
    commands = reproduce_all.commands()
    assert len(commands) > 20
    for command in commands:
        if command[1] != "-m":
            assert (reproduce_all.ROOT / command[1]).exists()
        else:  # resumes when it is run again
            assert any(argument.startswith("--workdir=") for argument in command)


def test_table1_compares_common_metrics():
    results = committed("table1.json")
    del results["mnist_best"]["seeds"][2]["metrics"]["kid"]
    header, *rows = table1.comparison(results)
    assert header.split()[3:] == ["goodfellow2014", "mnist_best", "better"]
    assert rows[0].split() == ["FID", "1.168", "0.2887", "lower"]
    assert not any(row.startswith("KID") for row in rows)


def test_table1_adds_a_row_per_settings(tmp_path, monkeypatch, capsys):
    before, out = committed("table1.json"), tmp_path / "table1.json"
    out.write_text(json.dumps(before))
    seed = before["goodfellow2014"]["seeds"][0]
    seed = seed | {"validation": {seed["iteration"]: 1.0}}  # JSON has no integer keys
    monkeypatch.setattr(table1, "measure", lambda *_: seed)
    monkeypatch.setattr("sys.argv", ["table1.py", f"--out={out}", "--config.update=alternating"])
    assert table1.main() == 0
    after = json.loads(out.read_text())
    assert after.keys() - before.keys() == {"goodfellow2014 --config.update=alternating"}
    assert {name: after[name] for name in before} == before
    assert "goodfellow2014 --config.update=alternating, 1 seed" in capsys.readouterr().out


def test_table1_scores_the_best_checkpoint(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(table1.train, "run", lambda *_: 0)
    monkeypatch.setattr(table1, "read_json", lambda _: {"steps_per_second": 1.0})
    monkeypatch.setattr(table1, "read_metrics", lambda _: [])

    def evaluate(directory, **arguments):
        asked.update(arguments)
        return {"step": 4, "metrics": {}}

    monkeypatch.setattr(table1.evaluate, "evaluate", evaluate)
    assert table1.measure("mnist_best", [], tmp_path)["iteration"] == 4
    assert asked == {"step": "best", "num": 10_000, "split": None, "metrics": None}


@pytest.mark.parametrize(
    ("script", "content", "argument", "message"),
    [
        (table1, "hello", "--seeds=1", "out.json cannot be read"),
        (table1, '{"a": {}}', "--seeds=1", "is not a result of this script"),
        (table1, "{}", "--config.seed=1", "--config.seed is given by --seeds"),
        (table1, "{}", "--config=digits", "--config is of digits, but"),
        (table1, "{}", "--config=mnist", "that does not overlap with split"),
        *(
            (pacgan_table1, "{}", f"--fraction={x}", "is not above 0 and at most 1")
            for x in ("0", "1.1", "nan")
        ),
    ],
)
def test_mistakes_stop_before_training(script, content, argument, message, tmp_path, monkeypatch):
    out = tmp_path / "out.json"
    out.write_text(content)
    monkeypatch.setattr(table1.train, "run", lambda *_: pytest.fail("trains"))
    monkeypatch.setattr("sys.argv", ["script.py", f"--out={out}", argument])
    with pytest.raises(InputError, match=message):
        script.main()
    assert out.read_text() == content


def test_ticks_are_plain_numbers(monkeypatch):
    groups = {"a": {0: {1: 2.0, 2: 0.03}}}
    drawn = figure_of(monkeypatch, validation.figure, groups, "fid")
    drawn.draw_without_rendering()
    texts = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert [float(text) for text in texts if text]


def test_best_validation_values(tmp_path, monkeypatch, capsys):
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        write_json(tmp_path / str(seed) / "run.json", {"seed": seed, "device": {"kind": "cpu"}})
        lines = [{"step": i, "density": x, "fid": x} for i, x in enumerate((0.2, 0.98, 1.4))]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / str(seed) / "metrics.jsonl").write_text(text)
    group = f"x={tmp_path / '0'},{tmp_path / '1'}"
    for metric, found in (("density", "0.98 at iteration 1"), ("fid", "0.2 at iteration 0")):
        arguments = [f"--metric={metric}", f"--out={tmp_path / metric}", group]
        assert call(validation, monkeypatch, *arguments) == 0
        assert capsys.readouterr().out.count(f": {found}") == 2
        assert (tmp_path / metric / "validation.png").exists()
    assert call(validation, monkeypatch, *arguments, group) == 2
    assert_one_line_error(capsys.readouterr().err, "x is given twice")
    assert (
        call(validation, monkeypatch, *arguments[:2], f"x={tmp_path / '0'},{tmp_path / '0'}") == 2
    )
    assert_one_line_error(capsys.readouterr().err, "has the seed 0 of another run")


def test_codes(tmp_path, monkeypatch, capsys):
    grid = codes.quantiles(3)
    np.testing.assert_allclose(grid[0], [-0.9674, 0.9674], atol=1e-4)  # of 1/6 and 5/6
    np.testing.assert_array_equal(grid[4], [0, 0])
    fields = {"algorithm": "vae", "prior.name": "normal", "z_dim": 2}
    run = untrained(config.replace(tiny_config(), fields), tmp_path / "run")
    out = tmp_path / "codes.png"
    assert call(codes, monkeypatch, f"--workdir={run}", f"--out={out}") == 0
    assert open_image(out).size == (1320, 660)
    decoded = []
    monkeypatch.setattr(codes, "figure", lambda _, __, images, ___: decoded.append(images) or b"")
    assert call(codes, monkeypatch, f"--workdir={run}", f"--out={out}") == 0
    expected = algorithms.generate(*workdir.load(run), codes.quantiles(codes.SIDE))
    np.testing.assert_array_equal(decoded, [expected])
    for changes, message in (
        ({"z_dim": 3}, "is not of an autoencoder with z_dim=2"),
        ({"algorithm": "aae", "condition.on": "label"}, "without classes"),
        ({"algorithm": "aae", "prior.name": "swiss_roll"}, "not normal: swiss_roll"),
    ):
        other = untrained(config.replace(tiny_config(), fields | changes), tmp_path / message)
        assert call(codes, monkeypatch, f"--workdir={other}", f"--out={out}") == 2
        assert message in capsys.readouterr().err
