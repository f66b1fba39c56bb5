"""Tests of notebooks/: they run from top to bottom, and what is committed is what comes out."""

import json
import pathlib
import re
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.conftest import ROOT

DRAWS = re.compile(r"^(axes = |left, right = |drawn, .*= |show\(|frames\[\d+\]$)", re.MULTILINE)
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
        if DRAWS.search(before.source):
            assert any("image/png" in kind for kind in kinds(before)), before.source
