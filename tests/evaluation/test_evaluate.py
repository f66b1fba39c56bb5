"""Tests of gan_jax.evaluate, and of evaluation during training."""

import json
import os
import pathlib
import shutil
import signal

import pytest

from gan_jax import checkpoint, config, evaluate, loop, train, workdir, writers
from gan_jax.errors import InputError
from gan_jax.evaluation import registry, scoring, tables
from tests.conftest import assert_one_line_error, call, contents, open_image
from tests.evaluation.conftest import PIXELS, shorten, spots, spots_config, write

MEASURED = ("precision", "parzen")


def evaluated_config(name: str):
    """A run of 12 iterations, evaluated after 5 and 10."""
    fields = {"eval_every": 5, "eval_num": 60, "eval_metrics": MEASURED, "keep_checkpoints": 20}
    return config.replace(spots_config(name), fields)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> pathlib.Path:
    """A directory with a labelled and an unlabelled data set, and a finished run on each."""
    home = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        train.run(evaluated_config(write(home / "x.npz", spots(500))), home / "run", "spots")
    name = write(home / "y.npz", spots(500), labelled=False)
    train.run(spots_config(name), home / "unlabelled", "spots")
    return home


@pytest.fixture
def copy(home, tmp_path) -> pathlib.Path:
    return shutil.copytree(home / "run", tmp_path / "copy")


def assert_refused(directory, words, monkeypatch, capfd, *arguments) -> None:
    """The command prints one line on stderr and leaves the directory unchanged."""
    before = contents(directory)
    assert call(evaluate, monkeypatch, *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert_one_line_error(err, words)
    assert contents(directory) == before


def lines(directory: pathlib.Path) -> dict[int, dict]:
    return {line["step"]: line for line in writers.read_metrics(directory / "metrics.jsonl")}


# The command


def test_command_scores_a_run_reproducibly(copy, home, monkeypatch, capsys):
    before = contents(copy)
    arguments = [f"--workdir={copy}", "--num=60", "--metrics=precision,class_kl,parzen,"]
    assert call(evaluate, monkeypatch, *arguments) == 0
    printed, after = capsys.readouterr().out, contents(copy)
    new = [copy / "evaluation.json", copy / "evaluation.png"]
    assert after.keys() - before.keys() == set(new)
    assert before.items() <= after.items()
    found = json.loads(new[0].read_text())
    assert (found["step"], found["samples"], found["test_examples"]) == (12, 60, 100)
    assert found["dataset"] == f"npz:{home}/x.npz"
    assert found["test_split"] == "train[400:500]"
    assert found["evaluator"]["name"].startswith("npz-")
    assert found["evaluator"]["accuracy"] > 0.9
    assert found["unavailable"] == {}
    assert list(found["metrics"]) == ["precision", "class_kl", "parzen"]
    for name, entry in found["metrics"].items():
        assert entry["low"] - 1e-9 <= entry["value"] <= entry["high"] + 1e-9
        assert entry["better"] == registry.METRICS[name].better
        assert entry["interval"] == registry.METRICS[name].interval
        assert list(entry["baselines"]) == ["real data", "Gaussians", "k-means"]
    assert found["metrics"]["precision"]["baselines"]["real data"]["value"] > 0.8
    assert open_image(new[1]).size[0] > 500
    head, *rows = printed.splitlines()
    assert head.startswith(f"{copy}, iteration 12: 60 samples against 100 examples of npz:")
    assert [row.split("  ")[0] for row in rows[1:4]] == [
        registry.METRICS[name].label for name in found["metrics"]
    ]
    assert [row.strip() for row in rows[-2:]] == [*map(str, new)]
    assert call(evaluate, monkeypatch, *arguments) == 0
    assert capsys.readouterr().out == printed
    again = contents(copy)
    assert {p: x for p, (_, x) in again.items()} == {p: x for p, (_, x) in after.items()}


def test_training_and_command_agree(copy):
    for step in (5, 10):
        found = evaluate.evaluate(
            copy, step=step, num=60, split="train[300:400]", metrics=list(MEASURED)
        )
        assert found["step"] == step
        for name in MEASURED:
            assert found["metrics"][name]["value"] == lines(copy)[step][name]


def test_unavailable_metrics_are_explained(home, tmp_path, capsys):
    run = shutil.copytree(home / "unlabelled", tmp_path / "run")
    found = evaluate.evaluate(run, step=None, num=60, split=None, metrics=None)
    assert found["evaluator"] is None
    assert list(found["metrics"]) == PIXELS
    assert found["unavailable"].keys() == registry.METRICS.keys() - set(PIXELS)
    assert open_image(run / "evaluation.png")
    out = capsys.readouterr().out.splitlines()
    labels, mixtures, text, conditional, colour, file = (
        line for line in out if line.startswith("unavailable: ")
    )
    assert "fid, fid_infinity, kid" in labels
    assert "has no labels" in labels
    assert mixtures.startswith("unavailable: modes_covered, high_quality, reverse_kl: ")
    assert text == "unavailable: r_precision: the run is not conditioned on text"
    assert conditional.endswith("transfer_accuracy: the run is not conditional")
    assert colour.startswith("unavailable: fid_efficientnet, kid_efficientnet, ")
    assert file.endswith(
        "recall_inception and 2 more: it needs --features=inception --weights=FILE"
    )


def test_table_is_aligned():
    def entry(value):
        return {"value": value, "low": value - 0.25, "high": value + 1000}

    entries = {"fid": entry(123.456), "class_kl": dict.fromkeys(("value", "low", "high"), 1e999)}
    entries |= {"modes": dict.fromkeys(("value", "low", "high"), 7.0), "parzen": entry(-0.00123)}
    others = {
        "real data": dict.fromkeys(entries, entry(1.5) | {"samples": 60}),
        "Gaussians": dict.fromkeys(entries, entry(2.5) | {"samples": 12}),
        "k-means": dict.fromkeys(entries),
    }
    head, *rows, intervals, wide, near, count = tables.table(entries, others, 60)
    assert len({len(row) for row in (head, *rows)}) == 1
    columns = "this run 95 % interval real data Gaussians of 12 k-means better"
    assert head.split() == columns.split()
    expected = [
        "FID 123.5 123.2 to 1123.5 1.50 2.50 - lower",
        "class KL (nats) inf - 1.50 2.50 - lower",
        "classes present 7 - 1.50 2.50 - higher",
        "Parzen log-likelihood (nats) -0.00123 -0.251 to 1000.0 1.50 2.50 - higher",
    ]
    assert [" ".join(row.split()) for row in rows] == expected
    for text, shown in (("this run", "123.5"), ("k-means", "-"), ("real data", "1.50")):
        assert rows[0][: head.index(text) + len(text)].endswith(" " + shown)
    assert intervals.startswith("intervals: ")
    assert [note.partition(":")[0].strip() for note in (wide, near, count)] == [
        registry.METRICS[name].label for name in ("fid", "class_kl", "modes")
    ]
    found = {"log_likelihood": {"value": -1.5, "standard_error": 0.25}}
    (line,) = tables.likelihoods_and_errors({"test_split": "test", "log_likelihood": found})
    how = "partition function by annealed importance sampling"
    assert line == f"log-likelihood of test: -1.50 ± 0.25 nats ({how})"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "--workdir"),
        ("--workdir=nowhere", "not the directory of a run"),
        ("--workdir=RUN --num=0", "'0' is not an integer of at least 1"),
        ("--workdir=RUN --num=4294967295", "GB of memory"),
        ("--workdir=RUN --metrics=fid,fidd", "--metrics: 'fidd' is not one of fid, "),
        ("--workdir=RUN --metrics=", "'' is not one of"),
        ("--workdir=RUN --metrics=fid --num=1", "fid cannot be measured: it needs 4 samples"),
        ("--workdir=RUN --metrics=fid --split=train[:3]", "it needs 4 examples to compare with"),
        ("--workdir=RUN --metrics=fid --split=test", "error: --split: npz"),
        ("--workdir=RUN --step=3", "it has: 4, 5, 8, 10, 12"),
        ("--workdir=RUN --step=last", "--step: 'last' is not an integer"),
        ("--workdir=RUN --step=best", "config.keep_best"),
        ("--workdir=UNLABELLED --metrics=parzen,kid", "has no labels"),
    ],
)
def test_one_line_errors(arguments, words, home, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    arguments = arguments.replace("RUN", f"{home}/run").replace("UNLABELLED", f"{home}/unlabelled")
    assert_refused(home, words, monkeypatch, capfd, *arguments.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("checkpoints", "no checkpoint yet"),
        ("metrics.jsonl", "metrics.jsonl cannot be read"),
        ({"test_split": "test"}, "error: config.test_split: npz:"),
        ({"test_split": "test"}, "expected one of train; use --split='train[300:400]'"),
        ({"validation_split": "train[500:]"}, "config.validation_split: split 'train[500:]'"),
        ({"dataset": "npz:z.npz"}, "has changed since"),
        ({"dataset": "npz:gone.npz"}, "gone.npz"),
    ],
)
def test_damaged_runs_are_left_alone(damage, words, copy, monkeypatch, capfd):
    monkeypatch.chdir(copy.parent)
    write(copy.parent / "z.npz", spots(500, 8))
    if isinstance(damage, dict):
        fields = json.loads((copy / "config.json").read_text())
        writers.write_json(copy / "config.json", fields | damage)
    else:
        (copy / damage).rename(copy.parent / "removed")
    arguments = f"--workdir={copy}", "--num=60", "--metrics=parzen"
    assert_refused(copy, words, monkeypatch, capfd, *arguments)


# During training


def test_evaluation_is_periodic_and_changes_nothing(home):
    evaluated, plain = lines(home / "run"), lines(home / "unlabelled")
    assert [*evaluated] == [1, 2, 4, 5, 6, 8, 10, 12]
    for step, line in evaluated.items():
        assert line.keys() & registry.METRICS.keys() == (set(MEASURED) if step % 5 == 0 else set())
    assert all(line.items() <= evaluated[step].items() for step, line in plain.items())
    assert checkpoint.steps(home / "run/checkpoints") == [4, 5, 8, 10, 12]
    a, b = (workdir.read_json(home / name / "run.json") for name in ("run", "unlabelled"))
    assert a["params_sha256"] == b["params_sha256"]


def scripted(monkeypatch, name: str, values: list[float]) -> None:
    """Makes evaluations return these values, one after the other."""
    left = iter(values)
    monkeypatch.setattr(scoring, "score", lambda *_, **__: {name: {"value": next(left)}})


@pytest.mark.parametrize(("name", "best"), [("memorisation", 6), ("parzen", 9), ("g_loss", None)])
def test_best_checkpoint_is_kept(name, best, home, tmp_path, monkeypatch):
    scripted(monkeypatch, name, [5.0, 1.0, 9.0, 3.0, 4.0])  # at 3, 6, 9, 12 and 15
    fields = {"checkpoint_every": 2, "keep_checkpoints": 1, "keep_best": name, "num_steps": 15}
    if best:
        fields |= {"eval_every": 3, "eval_metrics": (name,)}
    train.run(config.replace(spots_config(f"npz:{home}/y.npz"), fields), tmp_path, "spots")
    if not best:
        saved = {step: line[name] for step, line in lines(tmp_path).items() if step in range(2, 16)}
        best = min((s for s in saved if s % 2 == 0 or s == 15), key=saved.get)
        assert best < 15
    assert checkpoint.steps(tmp_path / "checkpoints") == [best, 15]
    assert workdir.load(tmp_path, "best")[1].step == best
    assert workdir.load(tmp_path)[1].step == 15


@pytest.mark.parametrize("stop", [5, "shorter"])  # killed when evaluated, or extended
def test_resumed_runs_have_same_metrics(stop, home, tmp_path, monkeypatch):
    c, original = evaluated_config(f"npz:{home}/x.npz"), loop.train

    def interrupted(*arguments, **options):
        for chunk in original(*arguments, **options):
            if chunk.step == stop:
                os.kill(os.getpid(), signal.SIGTERM)
            yield chunk

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", interrupted)
        if stop == "shorter":
            assert train.run(config.replace(c, {"num_steps": 7}), tmp_path, "spots") == 0
        else:
            assert train.run(c, tmp_path, "spots") == 128 + signal.SIGTERM
    assert train.run(c, tmp_path, "spots") == 0
    resumed = workdir.read_json(tmp_path / "run.json")["resumed_from"]
    assert resumed == (7 if stop == "shorter" else stop)
    assert (home / "run/metrics.jsonl").read_bytes() == (tmp_path / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dataset": "y"}, "has no labels"),
        ({"validation_split": "validation"}, "config.validation_split: "),
        ({"validation_split": "train[300:323]"}, "precision cannot be measured: it needs 24"),
        ({"eval_metrics": ("fid_infinity",)}, "fid_infinity cannot be measured: it needs 1280"),
    ],
)
def test_impossible_evaluations_write_nothing(fields, words, home, tmp_path):
    c = evaluated_config(f"npz:{home}/{fields.pop('dataset', 'x')}.npz")
    with pytest.raises(InputError, match=words):
        train.run(config.replace(c, fields), tmp_path / "run", "spots")
    assert not (tmp_path / "run").exists()
