"""Tests of gan_jax.retrieve, the command."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from gan_jax import data, retrieve, workdir
from gan_jax.errors import InputError
from gan_jax.evaluation import features
from gan_jax.writers import write_json
from tests.conftest import assert_one_line_error, call, open_image


@pytest.fixture
def query(tmp_path):
    """The fourth training image of digits, as a file."""
    file = tmp_path / "query.png"
    Image.fromarray(data.load("digits", "train").images[3, ..., 0]).save(file)
    return file


def rows(file):
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.mark.parametrize("kind", ["discriminator", "pixels"])
def test_an_image_of_the_set_is_its_nearest(kind, finished, query, tmp_path, monkeypatch, capfd):
    arguments = [f"--workdir={finished}", f"--query={query}", f"--out={tmp_path / 'found.png'}"]
    arguments += [f"--features={kind}", "--num=40"]
    assert call(retrieve, monkeypatch, *arguments) == 0
    assert "found.png, found.csv: 40 nearest of 1500 images by" in capfd.readouterr().out
    found = rows(tmp_path / "found.csv")
    assert list(found[0]) == ["rank", "index", "file", "label", "distance"]
    dataset = data.load("digits", "train")
    assert found[0] == {"rank": "1", "index": "3", "file": "", "label": "3", "distance": "0.0"}
    assert [row["label"] for row in found] == [
        str(dataset.labels[int(row["index"])]) for row in found
    ]
    if kind == "pixels":
        every = np.linalg.norm((dataset.images / 255.0 - dataset.images[3] / 255.0), axis=(1, 2))
        nearest = every.ravel().argsort(kind="stable")[:40]
        np.testing.assert_array_equal([int(row["index"]) for row in found], nearest)
        distances = [float(row["distance"]) for row in found]
        np.testing.assert_allclose(distances, every.ravel()[nearest], rtol=1e-5)
    assert open_image(tmp_path / "found.png").size[0] > 500  # of 31 hits
    assert call(retrieve, monkeypatch, *arguments) == 2
    assert_one_line_error(capfd.readouterr().err, "exists: remove it or choose another file")


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A folder of 12x10 pixels: two classes, of red and of blue images."""
    folder = tmp_path_factory.mktemp("colours")
    for name, colour in (("red", (250, 10, 10)), ("blue", (10, 10, 250))):
        (folder / name).mkdir()
        for i in range(3):
            shade = np.clip(np.array(colour) + 20 * i, 0, 255).astype(np.uint8)
            Image.fromarray(np.tile(shade, (10, 12, 1))).save(folder / name / f"{i}.png")
    return folder


def test_a_folder_for_a_grey_run(colours, finished, tmp_path):
    query = tmp_path / "query.png"
    with Image.open(colours / "blue" / "1.png") as image:
        image.convert("RGBA").resize((24, 20)).save(query)
    out = tmp_path / "found.png"
    arguments = {"num": 6, "features": "pixels", "dataset": f"folder:{colours}"}
    hits = retrieve.retrieve(finished, query, out, **arguments)
    assert [hit.file for hit in hits[:3]] == ["blue/1.png", "blue/2.png", "blue/0.png"]
    assert [hit.label for hit in hits] == ["blue"] * 3 + ["red"] * 3
    assert [row["file"] for row in rows(tmp_path / "found.csv")] == [hit.file for hit in hits]
    assert hits[0].distance == 0
    names = data.load(f"folder:{colours}", "train", 8).names
    assert [str(names[hit.number]) for hit in hits] == [hit.file for hit in hits]


def test_a_folder_that_has_changed(colours, finished, query, tmp_path, monkeypatch):
    run = shutil.copytree(finished, tmp_path / "run")
    changed = workdir.read_config(run)
    changed.dataset, changed.split = f"folder:{colours}", "train"
    write_json(run / "config.json", changed.to_dict())
    with pytest.raises(InputError, match=r"has images of 10x12, but .* was trained on 8x8"):
        retrieve.retrieve(run, query, tmp_path / "found.png", num=2)


def test_split_and_evaluator(finished, query, tmp_path, monkeypatch):
    class Constant:
        params, shape, name = {}, (8, 8, 1), "classifier-1"

    monkeypatch.setattr(features.evaluators, "load", lambda name, train_set: Constant)
    monkeypatch.setattr(
        features.evaluators, "outputs", lambda _, x: (np.float32(x[:, 4, 2:6, 0]), None)
    )
    out = tmp_path / "x.png"
    arguments = {"num": 5, "features": "evaluator", "split": "test"}
    hits = retrieve.retrieve(finished, query, out, **arguments)
    test, image = data.load("digits", "test").images, data.load("digits", "train").images[3]
    every = np.linalg.norm(test[:, 4, 2:6, 0] - np.float64(image[4, 2:6, 0]), axis=1)
    assert [hit.number for hit in hits] == every.argsort(kind="stable")[:5].tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--query=none.png"], "none.png cannot be read as an image"),
        (["--query=text.txt"], "text.txt cannot be read as an image"),
        (["--query=."], "cannot be read as an image"),
        (["--out=x.jpg"], "--out=x.jpg must end in .png"),
        (["--num=1501"], "--num=1501: digits has 1500 images"),
        (["--num=0"], "integer of at least 1"),
        (["--layer=conv0"], "--layer=conv0: expected one of dense0"),
        (["--layer=dense0", "--features=pixels"], "is of --features=discriminator, not pixels"),
        (["--features=encoder"], "has no encoder of images: expected discriminator, evaluator"),
        (["--features=colour"], "invalid choice"),
        (["--data=folder:none"], "there is no directory"),
        (["--data=ring"], "ring has points"),
        (["--split=validation"], "digits has no split 'validation'"),
        (["--workdir=none"], "is not the directory of a run"),
    ],
)
def test_one_line_errors(arguments, words, finished, query, capfd, monkeypatch, tmp_path):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "text.txt").write_text("not an image")
    given = [f"--workdir={finished}", f"--query={query}", "--out=x.png", *arguments]
    assert call(retrieve, monkeypatch, *given) == 2
    assert_one_line_error(capfd.readouterr().err, words)
    assert [p.name for p in place.iterdir()] == ["text.txt"]
