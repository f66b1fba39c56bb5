"""Tests of notebooks/: committed outputs match a fresh execution."""

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

DRAWS = re.compile(r"^(axes = |left, right = |fig, .*= |show\(|frames\[\d+\]$)", re.MULTILINE)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def kernel(tmp_path, monkeypatch) -> str:
    """Name of a Jupyter kernel that runs this interpreter."""
    spec = tmp_path / "kernels/gan_jax_test/kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "test", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # not the user's settings
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # set by every command that ran in this process
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # the committed numbers are from a CPU
    return spec.parent.name


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: NotebookNode) -> list[tuple[str, ...]]:
    """Stream name or MIME types of each output; ignores stderr, as warnings vary."""
    return [
        (out.name,) if out.output_type == "stream" else (out.output_type, *sorted(out.data))
        for out in cell.outputs
        if out.get("name") != "stderr"
    ]


def printed(cell: NotebookNode) -> tuple[list[str], list[Decimal]]:
    """Printed words, with # in place of numbers, and the numbers."""
    text = "".join(out.text for out in cell.outputs if out.get("name") == "stdout")
    return NUMBER.sub("#", text).split(), [Decimal(x) for x in NUMBER.findall(text)]


def close(a: Decimal, b: Decimal) -> bool:
    """Whether numbers agree up to one unit in the last place; integers must be equal.

    Training in theory.ipynb differs by a relative 1e-6 between instruction sets. Rounding errors
    around 0 may differ arbitrarily.
    """
    place = min(a.as_tuple().exponent, b.as_tuple().exponent)
    return a == b or (place < 0 and abs(a - b) <= max(Decimal(1).scaleb(place), Decimal("1e-12")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_format(path):
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
        texts = [cell.source, *(json.dumps(out) for out in cell.get("outputs", []))]
        for place in (str(ROOT), str(pathlib.Path.home()), "/tmp/", "/home/", "site-packages"):
            assert not any(place in text for text in texts), place


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# The kernel's connection, which is local.
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::RuntimeWarning")
def test_notebook_outputs(path, kernel, mnist_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", mnist_dir)
    committed = nbformat.read(path, as_version=4)
    executed = nbformat.read(path, as_version=4)
    client = NotebookClient(
        executed,
        timeout=300,
        kernel_name=kernel,
        coalesce_streams=True,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()  # raises if a cell does
    for before, after in zip(code(committed), code(executed), strict=True):
        assert kinds(after) == kinds(before), before.source
        assert not any(out.get("name") == "stderr" for out in before.outputs), before.source
        (words, numbers), (words_now, numbers_now) = printed(before), printed(after)
        assert words_now == words, before.source
        if path.stem == "theory":  # training on images is chaotic across machines
            assert all(map(close, numbers, numbers_now)), (before.source, numbers_now)
        if DRAWS.search(before.source):
            assert any("image/png" in kind for kind in kinds(before)), before.source
