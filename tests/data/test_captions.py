"""Tests of captions by image and by class, and of classes left out."""

import numpy as np
import pytest

from gan_jax import data
from gan_jax.data import captions
from gan_jax.errors import InputError
from tests.data.conftest import load_error

CLASSES = ("class_00001", "class_00012", "rose")
BY_CLASS = (
    "class\tgroup\tcaption1\tcaption2\n1\t7\ta red one\tred\n12\t8\tblue\t\nrose\t9\tpink\t\n"
)


def dataset(names=None, labels=(2, 0, 0, 1)):
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    labels = None if labels is None else np.array(labels, np.int32)
    classes = None if labels is None else CLASSES
    return data.from_arrays(images, labels, classes, None if names is None else np.array(names))


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "captions.tsv").write_text(text)
        return str(tmp_path / "captions.tsv")

    return write


def test_captions_by_class(write):
    found = captions.load(write(BY_CLASS), dataset())
    assert found.texts == ("a red one", "red", "blue", "pink")
    assert found.first.tolist() == [0, 2, 3, 4]
    assert found.groups.tolist() == [2, 0, 0, 1]
    drawn = found.draw(np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1]), np.random.default_rng(0))
    assert drawn[0] == 3
    assert set(drawn[1:].tolist()) == {0, 1}


def test_captions_by_image(write):
    names = ["a/1.png", "a/2.png", "b/1.png", "b/3.jpg"]
    rows = ["3\tthree", "a/1.png\tone", "b/1\tother", "2.png\ttwo", "a/1\tone again"]
    found = captions.load(write("\n".join(["image\tcaption", *rows])), dataset(names))
    assert found.texts == ("one", "one again", "two", "other", "three")
    assert found.first.tolist() == [0, 2, 3, 4, 5]
    selected = data.select(dataset(names)._replace(captions=found), np.array([3, 0]))
    assert selected.names.tolist() == ["b/3.jpg", "a/1.png"]
    assert selected.captions.groups.tolist() == [3, 0]
    names = ["b/a/1.png", "a/1.png", "c.png", "d.png"]  # the second ends the first
    text = write("image\tcaption\nc\tc\nb/a/1\tnested\na/1\touter\nd\td\n")
    assert captions.load(text, dataset(names)).texts == ("nested", "outer", "c", "d")


@pytest.mark.parametrize(
    ("text", "names", "words"),
    [
        ("", None, "expected a header"),
        ("1\tred\n", None, "expected a header"),
        ("class\ttext\n1\tred\n", None, "expected a header"),
        (
            BY_CLASS + "x\t\ty\t\nz\t\ty\t\n",
            None,
            "captions of 2 classes that the data set lacks: x, z",
        ),
        (
            "class\tcaption\n1\tred\n",
            None,
            "no captions of 2 classes of the data set: class_00012, rose",
        ),
        ("class\tcaption\n1\n", None, "line 2: 1 columns, but the header has 2"),
        ("image\tcaption\na\tred\n", None, "only folder:DIR has images with names"),
        (
            "image\tcaption\na\tx\nb\tx\nc\tx\nd\tx\ne\tx\n",
            list("abcx"),
            "captions of 2 images that the data set lacks: d, e",
        ),
        ("image\tcaption\n1\tx\n", ["a/1", "b/1", "c", "d"], "1 images that the data set lacks: 1"),
    ],
)
def test_unusable_captions(write, text, names, words):
    with pytest.raises(InputError, match=words):
        captions.load(write(text), dataset(names))


def test_missing_or_unlabelled(tmp_path, write):
    with pytest.raises(InputError, match="there is no file"):
        captions.load(str(tmp_path / "none.tsv"), dataset())
    with pytest.raises(InputError, match="has no named classes"):
        captions.load(write(BY_CLASS), dataset(labels=None))


def test_classes_left_out():
    whole = data.load("digits")
    without = data.load("digits", without=("3", "4"))
    only = data.load("digits", only=("3", "4"))
    assert set(np.unique(without.labels)) == {0, 1, 2, 5, 6, 7, 8, 9}
    assert set(np.unique(only.labels)) == {3, 4}
    assert len(without.images) + len(only.images) == len(whole.images)
    assert len({whole.sha256, without.sha256, only.sha256}) == 3
    assert "has no class '10'" in load_error("digits", without=("10",))
    assert "leaves no example" in load_error("digits", without=tuple("0123456789"))
    assert "no named classes" in load_error("grid", without=("1",))


def test_captions_change_the_hash(tmp_path, write):
    rows = "".join(f"{i}\tdigit {i}\n" for i in range(10))
    plain, one = (
        data.load("digits"),
        data.load("digits", captions_file=write("class\tcaption\n" + rows)),
    )
    other = data.load("digits", captions_file=write("class\tcaption\n" + rows + "1\tuno\n"))
    assert len({plain.sha256, one.sha256, other.sha256}) == 3
