"""Tests of gan_jax.evaluate, and of evaluation while a run trains."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from gan_jax import checkpoint, config, evaluate, train, workdir, writers
from gan_jax.evaluation import registry as scores
from gan_jax.errors import InputError
from tests.conftest import ROOT, picture
from tests.test_commands import assert_one_line, call
from tests.test_scores import MIXTURE, PIXELS, configured, quick, spots, write

MEASURED = ("precision", "parzen")


def evaluated_config(name: str):
    """The tiny run of 12 iterations, evaluated after 5, 10 and 12."""
    c = configured(name)
    c.eval_every, c.eval_num, c.eval_metrics, c.keep_checkpoints = 5, 60, MEASURED, 20
    return c


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> pathlib.Path:
    """A directory with data, labelled and not, and a finished run on each."""
    home = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        c = evaluated_config(write(home / "x.npz", spots(500)))
        train.run(c, home / "run", "spots")
    c = configured(write(home / "y.npz", spots(500), labelled=False))
    train.run(c, home / "unlabelled", "spots")
    return home


@pytest.fixture
def copy(home, tmp_path) -> pathlib.Path:
    """A copy of the labelled run, to be changed."""
    shutil.copytree(home / "run", tmp_path / "copy")
    return tmp_path / "copy"


def contents(directory: pathlib.Path) -> dict[pathlib.Path, bytes]:
    return {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def lines(directory: pathlib.Path) -> list[dict]:
    return writers.read_metrics(directory / "metrics.jsonl")


def result(directory: pathlib.Path) -> dict:
    return json.loads((directory / "evaluation.json").read_text())


# The command


def test_a_run_is_scored_and_nothing_else_in_it_is_changed(copy, home, monkeypatch, capsys):
    before = contents(copy)
    arguments = ["--num=60", "--metrics=precision,class_kl,parzen"]
    assert call(evaluate, monkeypatch, f"--workdir={copy}", *arguments) == 0
    after = contents(copy)
    new = {copy / "evaluation.json", copy / "evaluation.png"}
    assert after.keys() - before.keys() == new
    assert before.items() <= after.items()
    found = result(copy)
    assert (found["step"], found["samples"], found["test_examples"]) == (12, 60, 100)
    assert found["dataset"] == f"npz:{home}/x.npz"
    assert found["test_split"] == "train[400:500]"
    assert found["evaluator"]["name"].startswith("npz-")
    assert found["evaluator"]["accuracy"] > 0.9
    # 60 samples are too few for the one, and the data are no mixture for the others.
    assert found["absent"].keys() == {"fid_infinity", *MIXTURE}
    assert list(found["metrics"]) == ["precision", "class_kl", "parzen"]
    for name, entry in found["metrics"].items():
        assert entry["low"] - 1e-9 <= entry["value"] <= entry["high"] + 1e-9
        assert entry["better"] == scores.METRICS[name].better
        assert list(entry["baselines"]) == ["real data", "Gaussians", "k-means"]
        assert all(other["low"] <= other["value"] for other in entry["baselines"].values())
    assert found["metrics"]["precision"]["baselines"]["real data"]["value"] > 0.8
    assert sum(found["metrics"]["class_kl"]["histogram"]) == 60
    assert picture(copy / "evaluation.png").size[0] > 500
    head, *rows, first, second = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{copy}, iteration 12: 60 samples against 100 examples of npz:")
    assert [row.split("  ")[0] for row in rows[1:]] == [
        scores.METRICS[name].label for name in found["metrics"]
    ]
    assert [first.strip(), second.strip()] == sorted(map(str, new))


def test_as_a_command_of_its_own(copy, home, monkeypatch):
    arguments = [f"--workdir={copy}", "--num=60", "--metrics=precision,class_kl,parzen"]
    call(evaluate, monkeypatch, *arguments)  # which fills the cache
    expected = [(copy / f"evaluation.{kind}").read_bytes() for kind in ("json", "png")]
    for kind in ("json", "png"):
        (copy / f"evaluation.{kind}").unlink()
    command = [sys.executable, "-m", "gan_jax.evaluate", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Parzen log-likelihood (nats)" in done.stdout
    assert [(copy / f"evaluation.{kind}").read_bytes() for kind in ("json", "png")] == expected


def test_it_scores_the_samples_that_training_scored(copy):
    recorded = {line["step"]: line for line in lines(copy)}
    for step in (5, 10):
        evaluate.evaluate(copy, step=step, num=60, split="train[300:400]", metrics=list(MEASURED))
        found = result(copy)
        assert found["step"] == step
        for name in MEASURED:
            assert found["metrics"][name]["value"] == recorded[step][name]


def test_unlabelled_data_say_which_metrics_are_absent_and_why(home, tmp_path, capsys):
    run = shutil.copytree(home / "unlabelled", tmp_path / "run")
    evaluate.evaluate(run, step=None, num=60, split=None, metrics=None)
    found = result(run)
    assert found["evaluator"] is None
    assert list(found["metrics"]) == PIXELS
    assert found["absent"].keys() == scores.METRICS.keys() - set(PIXELS)
    for name, why in found["absent"].items():
        assert ("none of the mixtures" if name in MIXTURE else "the data set has no labels") in why
    assert picture(run / "evaluation.png")
    out = capsys.readouterr().out.splitlines()
    labels, mixtures = (line for line in out if line.startswith("absent: "))
    assert "fid, fid_infinity, kid" in labels
    assert "has no labels" in labels
    assert mixtures.startswith("absent: modes_covered, high_quality, reverse_kl: ")
    evaluate.evaluate(run, step=None, num=60, split=None, metrics=["parzen"])
    assert "absent" not in capsys.readouterr().out


def test_the_lines_of_a_table_are_aligned():
    def entry(value):
        return {"value": value, "low": value - 0.25, "high": value + 1000}

    inf = float("inf")
    entries = {"fid": entry(123.456), "class_kl": dict.fromkeys(("value", "low", "high"), inf)}
    entries |= {"modes": entry(7.0), "parzen": entry(-0.00123)}
    others = {
        "real data": dict.fromkeys(entries, entry(1.5) | {"samples": 60}),
        "Gaussians": dict.fromkeys(entries, entry(2.5) | {"samples": 12}),
        "k-means": dict.fromkeys(entries),
    }
    head, *rows = evaluate.table(entries, others, 60)
    assert len({len(row) for row in (head, *rows)}) == 1
    assert head.split()[:5] == ["this", "run", "95", "%", "interval"]
    assert head.split()[5:] == ["real", "data", "Gaussians", "of", "12", "k-means", "better"]
    assert rows[0].split() == [
        "FID",
        "123.5",
        "123.2",
        "to",
        "1123.5",
        "1.50",
        "2.50",
        "-",
        "lower",
    ]
    assert rows[1].split()[4:] == ["inf", "inf", "to", "inf", "1.50", "2.50", "-", "lower"]
    assert rows[2].split()[2:4] == ["7", "6.75"]
    assert rows[3].split()[3:5] == ["-0.00123", "-0.251"]
    for text, shown in (("this run", "123.5"), ("k-means", "-"), ("real data", "1.50")):
        assert rows[0][: head.index(text) + len(text)].endswith(" " + shown)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--workdir"),
        (["--workdir=nowhere"], "not the directory of a run"),
        (["--workdir=RUN", "--num=0"], "'0' is not a whole number from 1 up"),
        (["--workdir=RUN", "--num=many"], "from 1 up"),
        (["--workdir=RUN", "--metrics=fid,fidd"], "--metrics: 'fidd' is none of fid, "),
        (["--workdir=RUN", "--metrics="], "'' is none of"),
        (
            ["--workdir=RUN", "--metrics=fid", "--num=1"],
            "fid cannot be measured: it needs 2 samples",
        ),
        (
            ["--workdir=RUN", "--num=100", "--metrics=fid_infinity"],
            "fid_infinity cannot be measured: it needs 1280 samples, more than 100",
        ),
        (["--workdir=RUN", "--step=3"], "it has: 4, 5, 8, 10, 12"),
        (["--workdir=RUN", "--step=last"], "--step: 'last' is not a whole number"),
        (["--workdir=RUN", "--step=best"], "config.keep_best"),
        (["--workdir=UNLABELLED", "--metrics=parzen,kid"], "has no labels"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    arguments, words, home, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(home / "run"), "UNLABELLED": str(home / "unlabelled")}
    for name, place in places.items():
        arguments = [a.replace(name, place) for a in arguments]
    before = contents(home)
    assert call(evaluate, monkeypatch, *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert_one_line(err, words)
    assert contents(home) == before
    assert not list(tmp_path.iterdir())


def with_config(run: pathlib.Path, **fields) -> None:
    c = json.loads((run / "config.json").read_text())
    writers.write_json(run / "config.json", c | fields)


def without_checkpoints(run: pathlib.Path) -> None:
    shutil.rmtree(run / "checkpoints")


def without_metrics(run: pathlib.Path) -> None:
    (run / "metrics.jsonl").unlink()


def without_its_test_split(run: pathlib.Path) -> None:
    with_config(run, test_split="test")


def without_its_validation_split(run: pathlib.Path) -> None:
    with_config(run, validation_split="train[500:]")


def with_altered_data(run: pathlib.Path) -> None:
    with_config(run, dataset=write(run.parent / "x.npz", spots(500, 8)))


def with_data_that_are_gone(run: pathlib.Path) -> None:
    with_config(run, dataset="npz:gone.npz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_checkpoints, "no checkpoint yet"),
        (without_metrics, "metrics.jsonl cannot be read"),
        (without_its_test_split, "has no split 'test'"),
        (without_its_validation_split, "want 0 <= a < b <= 500"),
        (with_altered_data, "has changed since"),
        (with_data_that_are_gone, "gone.npz"),
    ],
)
def test_a_run_that_cannot_be_scored_is_left_alone(change, words, copy, monkeypatch, capfd):
    change(copy)
    before = contents(copy)
    arguments = [f"--workdir={copy}", "--num=60", "--metrics=parzen"]
    assert call(evaluate, monkeypatch, *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert_one_line(err, words)
    assert contents(copy) == before


# While training


def test_lines_have_metrics_where_an_evaluation_is_due(home):
    found = lines(home / "run")
    assert [line["step"] for line in found] == [1, 2, 4, 5, 6, 8, 10, 12]
    for line in found:
        assert (line.keys() >= set(MEASURED)) == (line["step"] in (5, 10))
        assert bool(line.keys() & scores.METRICS.keys()) == (line["step"] in (5, 10))
    assert checkpoint.steps(home / "run/checkpoints") == [4, 5, 8, 10, 12]


def test_evaluating_does_not_change_what_is_trained(home):
    a, b = (workdir.read_json(home / name / "run.json") for name in ("run", "unlabelled"))
    assert a["params_sha256"] == b["params_sha256"]
    evaluated = {line["step"]: line for line in lines(home / "run")}
    for line in lines(home / "unlabelled"):
        assert line.items() <= evaluated[line["step"]].items()


def scripted(monkeypatch, name: str, values: list[float]) -> None:
    """Evaluations that find these values, one after the other."""
    left = iter(values)
    monkeypatch.setattr(scores, "score", lambda *_, **__: {name: {"value": next(left)}})


@pytest.mark.parametrize(("name", "best"), [("memorisation", 6), ("parzen", 9)])
def test_the_best_checkpoint_is_kept_whatever_its_age(name, best, home, tmp_path, monkeypatch):
    scripted(monkeypatch, name, [5.0, 1.0, 9.0, 3.0, 4.0])  # at 3, 6, 9, 12 and 15
    c = configured(f"npz:{home}/y.npz")
    c.num_steps, c.eval_every, c.eval_metrics, c.keep_best = 15, 3, (name,), name
    c.checkpoint_every, c.keep_checkpoints = 2, 1  # most of the checkpoints are not evaluated
    train.run(c, tmp_path / "run", "spots")
    assert checkpoint.steps(tmp_path / "run/checkpoints") == [best, 15]
    assert workdir.load(tmp_path / "run", "best")[1].step == best
    assert workdir.load(tmp_path / "run")[1].step == 15


def test_the_best_by_a_loss_is_kept_without_evaluation(home, tmp_path):
    c = configured(f"npz:{home}/y.npz")
    c.checkpoint_every, c.keep_checkpoints, c.keep_best, c.metrics_every = 3, 1, "g_loss", 3
    train.run(c, tmp_path, "spots")
    by_step = {line["step"]: line["g_loss"] for line in lines(tmp_path)[1:]}
    best = min(by_step, key=by_step.get)
    assert best < 12
    assert set(checkpoint.steps(tmp_path / "checkpoints")) == {best, 12}
    assert workdir.load(tmp_path, "best")[1].step == best


@pytest.mark.parametrize("step", [5, 6])  # one of them is evaluated
def test_an_interrupted_run_goes_on_to_the_same_metrics(step, home, tmp_path, monkeypatch):
    c, chunks = evaluated_config(f"npz:{home}/x.npz"), train._chunks

    def interrupted(*arguments):
        for state, info in chunks(*arguments):
            if info["step"] == step:
                os.kill(os.getpid(), signal.SIGTERM)
            yield state, info

    with monkeypatch.context() as patch:
        patch.setattr(train, "_chunks", interrupted)
        assert train.run(c, tmp_path, "spots") == 128 + signal.SIGTERM
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] == step
    assert train.run(c, tmp_path, "spots") == 0
    assert workdir.read_json(tmp_path / "run.json")["resumed_from"] == step
    once, twice = home / "run", tmp_path
    assert (once / "metrics.jsonl").read_bytes() == (twice / "metrics.jsonl").read_bytes()


def test_the_evaluation_at_the_end_of_a_shorter_run_is_not_one_of_the_longer(home, tmp_path):
    c = evaluated_config(f"npz:{home}/x.npz")
    for c.num_steps in (7, 12):
        train.run(c, tmp_path, "spots")
    once, twice = home / "run", tmp_path
    assert (once / "metrics.jsonl").read_bytes() == (twice / "metrics.jsonl").read_bytes()


def test_a_killed_run_goes_on_to_the_same_metrics_and_best(home, tmp_path, monkeypatch):
    c = configured(f"npz:{home}/y.npz")
    c.eval_every, c.eval_metrics, c.keep_best, c.keep_checkpoints = 5, ("parzen",), "parzen", 1
    scripted(monkeypatch, "parzen", [9.0, 2.0, 3.0])
    train.run(c, tmp_path / "run", "spots")
    assert checkpoint.steps(tmp_path / "run/checkpoints") == [5, 12]
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    shutil.rmtree(tmp_path / "run/checkpoints/step_0000012")  # as a kill during the last save
    (tmp_path / "run/run.json").unlink()
    scripted(monkeypatch, "parzen", [2.0, 3.0])
    train.run(c, tmp_path / "run", "spots")
    assert workdir.read_json(tmp_path / "run/run.json")["resumed_from"] == 5
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before
    assert checkpoint.steps(tmp_path / "run/checkpoints") == [5, 12]
    assert workdir.load(tmp_path / "run", "best")[1].step == 5


@pytest.mark.parametrize(
    "settings",
    [
        ["--config.keep_best=kid", "--config.eval_every=5"],
        ["--config.keep_best=fid"],
        ["--config.keep_best=loss"],
        ["--config.keep_best=fid", "--config.eval_every=5", "--config.eval_metrics=('kid',)"],
    ],
)
def test_the_best_by_what_is_not_measured_is_refused(settings, tiny):
    with pytest.raises(InputError, match=r"config\.keep_best is '(kid|fid|loss)'"):
        config.override(tiny, settings)


def test_evaluation_that_the_data_do_not_allow_is_refused_before_anything_is_written(
    home, tmp_path
):
    c = evaluated_config(f"npz:{home}/y.npz")
    with pytest.raises(InputError, match="has no labels"):
        train.run(c, tmp_path / "run", "spots")
    c.dataset, c.validation_split = f"npz:{home}/x.npz", "validation"
    with pytest.raises(InputError, match="'validation'"):
        train.run(c, tmp_path / "run", "spots")
    assert not (tmp_path / "run").exists()


def test_too_few_samples_for_a_metric_are_refused_before_anything_is_written(tiny, tmp_path):
    c = config.override(
        tiny,
        [
            "--config.eval_every=5",
            "--config.eval_num=60",
            "--config.eval_metrics=('fid_infinity',)",
        ],
    )
    with pytest.raises(InputError, match="fid_infinity cannot be measured: it needs 1280 samples"):
        train.run(c, tmp_path / "run", "tiny")
    assert not (tmp_path / "run").exists()
