"""Tests of gan_jax.screen: the ranking, and what is refused."""

import csv

import numpy as np
import pytest

from gan_jax import config, data, evaluate, sample, screen, train
from tests.conftest import assert_one_line_error, call, open_image, tiny_config

# Of two kinds with few bits in common: the label tells which.
ACTIVE = [f"O=S(=O)(N{'C' * n})c1ccc(F)cc1" for n in range(1, 21)]
INACTIVE = [f"{'C' * n}O" for n in range(1, 21)]
PLANTED = "O=S(=O)(NCC(C)CCC)c1ccc(F)cc1"
OTHERS = ["CCCCCCCCC(C)O", "CCC(C)CO", "OCCCO", "C1CCOCC1", "CC(C)C", "not a molecule"]


def table(path, actives, inactives):
    rows = [f"{s},1" for s in actives] + [f"{s},0" for s in inactives]
    path.write_text("\n".join(["smiles,active", *rows]) + "\n")
    return f"smiles:{path}"


@pytest.fixture(scope="module")
def molecules(tmp_path_factory):
    """Directory of a run on molecules, with the CSV files of its data and of a library."""
    directory = tmp_path_factory.mktemp("molecules")
    changes = {
        "algorithm": "aae",
        "condition.on": "label",
        "dataset": table(directory / "data.csv", ACTIVE, INACTIVE),
        "test_split": "train",
        "num_steps": 300,
        "z_dim": 2,
        "prior.name": "normal",
        "encoder.widths": (16,),
        "generator.widths": (16,),
        "optimizer.learning_rate": 0.01,
        "log_every": 300,
        "sample_every": 300,
        "checkpoint_every": 300,
    }
    table(directory / "library.csv", [PLANTED], OTHERS)
    assert train.run(config.replace(tiny_config(), changes), directory / "run", "aae") == 0
    return directory


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def run(directory, monkeypatch, out, *arguments, library="smiles:{}/library.csv"):
    where = [f"--workdir={directory / 'run'}", f"--library={library.format(directory)}"]
    return call(screen, monkeypatch, *where, f"--out={out}", "--num=50", *arguments)


def test_screening_finds_a_planted_molecule(molecules, tmp_path, monkeypatch, capsys):
    out = tmp_path / "hits.csv"
    assert run(molecules, monkeypatch, out) == 0
    printed = capsys.readouterr().out
    assert f"{out}: 6 molecules by similarity to 50 samples of iteration 300" in printed
    assert "actives in the first 1%: 6.00 times" in printed
    rows = read(out)
    assert rows[0]["smiles"] == PLANTED
    assert [row["rank"] for row in rows] == list("123456")
    assert [row["active"] for row in rows] == list("100000")
    similarities = [float(row["similarity"]) for row in rows]
    assert similarities == sorted(similarities, reverse=True)
    picture = open_image(out.with_suffix(".png"))
    assert np.asarray(picture.convert("L")).min() < 200  # something is drawn

    inactive = tmp_path / "inactive.csv"
    assert run(molecules, monkeypatch, inactive, "--label=inactive") == 0
    assert read(inactive)[0]["smiles"] != PLANTED

    both = tmp_path / "both.csv"
    assert run(molecules, monkeypatch, both, "--against=inactive") == 0
    contrasts = read(both)
    assert contrasts[0]["smiles"] == PLANTED
    found = [[row[n] for n in ("smiles", "similarity", "against")] for row in contrasts]
    others = {row["smiles"]: row["similarity"] for row in read(inactive)}
    expected = [[row["smiles"], row["similarity"], others[row["smiles"]]] for row in rows]
    assert sorted(found) == sorted(expected)
    differences = [float(a) - float(b) for _, a, b in found]
    assert np.diff(differences).max() < 2e-4  # the table has four digits


def test_libraries_without_activity(molecules, tmp_path, monkeypatch):
    (tmp_path / "library.csv").write_text(f"smiles\n{PLANTED}\nCCO\n")
    out, library = tmp_path / "hits.csv", f"smiles:{tmp_path}/library.csv"
    assert run(molecules, monkeypatch, out, "--split=train[:1]", library=library) == 0
    expected = data.load(library, "train[:1]").names[0]
    (row,) = read(out)
    assert list(row) == ["rank", "smiles", "similarity"]
    assert row["smiles"] == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--label=actve"],
            "expected a class name (inactive, active) or its number, 0 to 1; did you mean active?",
        ),
        (["--against=foo"], "--against=foo: expected a class name (inactive, active)"),
        (["--library=smiles_morgan:x.csv"], "expected smiles:FILE, with the fingerprints of"),
        (["--library=smiles:x.csv"], "there is no file x.csv"),
        (["--out=x.png"], "must end in .csv"),
        (["--out={}/data.csv"], "exists"),
        (["--split=train[9:]"], "has 6 examples"),
        (["--workdir={}"], "not the directory of a run"),
    ],
)
def test_one_line_errors(arguments, words, molecules, tmp_path, monkeypatch, capsys):
    arguments = [argument.format(molecules) for argument in arguments]
    assert run(molecules, monkeypatch, tmp_path / "x.csv", *arguments) == 2
    assert_one_line_error(capsys.readouterr().err, words)


def test_drawings_are_not_overwritten(molecules, tmp_path, monkeypatch, capsys):
    (tmp_path / "x.png").touch()
    assert run(molecules, monkeypatch, tmp_path / "x.csv") == 2
    assert_one_line_error(capsys.readouterr().err, "x.png exists")


def test_runs_on_other_data(finished, tmp_path, monkeypatch, capsys):
    arguments = [f"--workdir={finished}", "--library=smiles:x.csv", f"--out={tmp_path}/x.csv"]
    assert call(screen, monkeypatch, *arguments) == 2
    assert_one_line_error(capsys.readouterr().err, "was not trained on molecules")


def test_other_commands(molecules, tmp_path, monkeypatch, capsys):
    where = f"--workdir={molecules / 'run'}"
    for name in ("x.png", "x.npz"):
        assert call(sample, monkeypatch, where, f"--out={tmp_path / name}", "--num=6") == 0
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["images"].shape == (6, 166)
    assert call(evaluate, monkeypatch, where, "--num=30") == 0
    assert "unavailable: fid" in capsys.readouterr().out
