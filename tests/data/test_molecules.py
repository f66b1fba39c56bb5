"""Tests of data sets of molecules, against RDKit called directly."""

import itertools
import logging
import sys

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import MACCSkeys, rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold

from gan_jax import data
from gan_jax.data import molecules
from gan_jax.errors import InputError

SMILES = ("CCO", "c1ccccc1C(=O)O", "CC(=O)Oc1ccccc1C(=O)O", "C1CCNCC1", "CN1CCCCC1", "CCCCN")
ACTIVE = (0, 1, 1, 0, 1, 0)


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return f"smiles:{path}"


@pytest.fixture
def six(tmp_path):
    rows = (f"{i},{s},CI,{a}" for i, (s, a) in enumerate(zip(SMILES, ACTIVE, strict=True)))
    return write(tmp_path / "six.csv", "id,SMILES,activity,HIV_active", *rows)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    molecules._log_once.cache_clear()
    caplog.set_level(logging.INFO, "gan_jax")


@pytest.mark.parametrize("kind", ["smiles", "smiles_morgan"])
def test_fingerprints_are_those_of_rdkit(kind, six, caplog):
    found = data.load(six.replace("smiles", kind))
    assert sorted(found.names) == sorted(SMILES)
    assert found.class_names == ("inactive", "active")
    assert found.images.dtype == np.float32
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    for x, label, text in zip(found.images, found.labels, found.names, strict=True):
        assert label == ACTIVE[SMILES.index(text)]
        molecule = Chem.MolFromSmiles(text)
        if kind == "smiles":
            on = [i - 1 for i in MACCSkeys.GenMACCSKeys(molecule).GetOnBits()]
        else:
            on = list(generator.GetFingerprint(molecule).GetOnBits())
        assert len(x) == (166 if kind == "smiles" else 1024)
        assert np.flatnonzero(x).tolist() == on
        assert set(np.unique(x)) == {0, 1}
    assert caplog.messages == [f"{kind}:{six[7:]}: 6 molecules, 3 of them active"]


def test_slices_share_at_most_one_scaffold(tmp_path):
    rings = ("C1CCCCC1", "c1ccccc1", "c1ccncc1", "C1CCOC1", "c1ccsc1")
    texts = [f"{'C' * n}{ring}" for n in range(1, 5) for ring in rings]
    whole = data.load(write(tmp_path / "x.csv", "smiles", *texts))
    assert whole.labels is None
    scaffolds = [MurckoScaffold.MurckoScaffoldSmiles(text) for text in whole.names]
    changes = sum(a != b for a, b in itertools.pairwise(scaffolds))
    assert changes == len(rings) - 1
    assert list(whole.names) != texts
    part = data.load(f"smiles:{tmp_path / 'x.csv'}", "train[4:10]")
    np.testing.assert_array_equal(part.images, whole.images[4:10])
    assert list(part.names) == list(whole.names[4:10])


def test_invalid_lines_are_counted_and_named(tmp_path, caplog, capfd):
    lines = ("CCO,1", "C1CC,0", "CC,0", ",1", "xyz,0", "C(C,1", "CN,0")
    name = write(tmp_path / "x.csv", "smiles,active", *lines)
    for _ in range(2):  # from the file and from the cache
        found = data.load(name)
        assert dict(zip(found.names, found.labels.tolist(), strict=True)) == {
            "CCO": 1,
            "CC": 0,
            "CN": 0,
        }
        summary = "3 molecules, 1 of them active; 4 invalid SMILES left out, in lines 3, 5, 6, ..."
        assert caplog.messages == [f"{name}: {summary}"]
        caplog.clear()
        molecules._log_once.cache_clear()
    assert "SMILES Parse Error" not in capfd.readouterr().err


def test_cache_follows_the_molecules(six, tmp_path, monkeypatch):
    first = data.load(six)
    monkeypatch.setattr(molecules, "_decode", None)  # would fail if called
    np.testing.assert_array_equal(data.load(six).images, first.images)
    text = (tmp_path / "six.csv").read_text()
    (tmp_path / "six.csv").write_text(text.replace("CCO,CI,0", "CCO,CI,1"))
    changed = data.load(six)  # labels are not cached
    assert changed.labels.sum() == 4
    assert changed.sha256 != first.sha256
    monkeypatch.undo()
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "six.csv").write_text(text.replace("CCO", "CCS"))
    assert "CCS" in data.load(six).names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a header and at least one line"),
        ("smiles,active\n", "expected a header and at least one line"),
        ("molecule,active\nCC,1\n", "expected a column named smiles, found 'molecule, active'"),
        ("smiles,active\nCC,1\nCO,CM\n", "line 3: active is 'CM', but must be 0 or 1"),
        ("smiles,activity\nCC,\n", "line 2: activity is '', but must be 0 or 1"),
        ("smiles,active\nCC\n", "line 2: 1 columns, but the header has 2"),
        ("smiles\nxyz\nC1\n", r"none of 2 SMILES is valid \(lines 2, 3\)"),
        ('smiles\n"CC\n', "cannot be read as a CSV file"),
        ("smiles\n\xff\n", "cannot be read as a CSV file"),
    ],
)
def test_unsuitable_files(text, words, tmp_path):
    (tmp_path / "x.csv").write_bytes(text.encode("latin1"))
    with pytest.raises(InputError, match=words):
        data.load(f"smiles:{tmp_path / 'x.csv'}")


def test_unsuitable_requests(six, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="there is no file nowhere"):
        data.load("smiles:nowhere.csv")
    with pytest.raises(InputError, match="has no split 'test': expected one of train"):
        data.load(six, "test")
    with pytest.raises(InputError, match="fingerprints, without a size"):
        data.load(six, image_size=8)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(InputError, match=r"needs RDKit: pip install 'gan_jax\[molecules\]'"):
        data.load(six)
