"""Tests of notebooks/: they run from top to bottom, and what is committed is what comes out."""

import json
import pathlib
import re
import sys
from decimal import Decimal

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.conftest import ROOT

DRAWS = re.compile(r"^(axes = |left, right = |drawn, .*= |show\(|frames\[\d+\]$)", re.MULTILINE)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def kernel(tmp_path, monkeypatch) -> str:
    """The name of a kernel of this very interpreter, whatever others are installed."""
    spec = tmp_path / "kernels/gan_jax_test/kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "test", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # without the user's own settings
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # of which the committed numbers are
    return spec.parent.name


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: NotebookNode) -> list[tuple[str, ...]]:
    """Of each output of a cell what it is: a stream's name, or the formats of a figure.

    Without stderr, where libraries say on one machine what they do not on another.
    """
    return [
        (out.name,) if out.output_type == "stream" else (out.output_type, *sorted(out.data))
        for out in cell.outputs
        if out.get("name") != "stderr"
    ]


def printed(cell: NotebookNode) -> tuple[list[str], list[Decimal]]:
    """The words that a cell prints, each number a #, and the numbers."""
    text = "".join(out.text for out in cell.outputs if out.get("name") == "stdout")
    return NUMBER.sub("#", text).split(), [Decimal(x) for x in NUMBER.findall(text)]


def alike(a: Decimal, b: Decimal) -> bool:
    """Equal up to the last decimal place that is printed; whole numbers exactly.

    What the theory's notebook trains differs by 1e-6 of itself between one CPU's instruction sets,
    so no other digit may. What is 0 but for rounding may be any such number.
    """
    place = min(a.as_tuple().exponent, b.as_tuple().exponent)
    return a == b or (place < 0 and abs(a - b) <= max(Decimal(1).scaleb(place), Decimal("1e-12")))


def test_numbers_are_alike_up_to_their_last_place():
    for a, b in (("0.00057", "0.00058"), ("-1.2376", "-1.2375"), ("2e-16", "1e-14"), ("7", "7")):
        assert alike(Decimal(a), Decimal(b))
    for a, b in (("0.00057", "0.00059"), ("-1.23", "1.23"), ("7", "8"), ("2e-16", "1e-11")):
        assert not alike(Decimal(a), Decimal(b))


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["mnist", "theory"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_in_order_and_says_nothing_of_where_it_ran(path):
    text = path.read_text()
    assert len(text) < 1_000_000
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert [cell.execution_count for cell in code(notebook)] == [
        i + 1 for i in range(len(code(notebook)))
    ]
    for cell in notebook.cells:
        assert cell.metadata == {}
        said = [cell.source, *(json.dumps(out) for out in cell.get("outputs", []))]
        for place in (str(ROOT), str(pathlib.Path.home()), "/tmp/", "/home/", "site-packages"):
            assert not any(place in x for x in said), place


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# Of the kernel's connection, which is to this machine and none other.
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::RuntimeWarning")
def test_a_notebook_runs_and_gives_what_is_committed(path, kernel, mnist_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", mnist_dir)
    committed = nbformat.read(path, as_version=4)
    executed = nbformat.read(path, as_version=4)
    client = NotebookClient(
        executed,
        timeout=300,
        kernel_name=kernel,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()  # which raises the error of a cell that has one
    for before, after in zip(code(committed), code(executed), strict=True):
        assert kinds(after) == kinds(before), before.source
        assert not any(out.get("name") == "stderr" for out in before.outputs), before.source
        (words, numbers), (words_now, numbers_now) = printed(before), printed(after)
        assert words_now == words, before.source
        # What 4,000 iterations of images end in is another on another machine.
        if path.stem != "mnist":
            assert all(map(alike, numbers, numbers_now)), (before.source, numbers_now)
        if DRAWS.search(before.source):
            assert any("image/png" in kind for kind in kinds(before)), before.source
