"""What a run writes besides checkpoints: files whole or not at all, metrics line by line."""

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from gan_jax.plots import png


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file so that whoever looks sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: pathlib.Path, value: Any) -> None:
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


class Files:
    """A run's metrics.jsonl, an object a line, and samples/step_NNNNNNN.png."""

    def __init__(self, directory: pathlib.Path, keep: Callable[[int], bool]):
        """Opens metrics.jsonl to append, after the lines of steps for which keep(step) is true."""
        self._samples = directory / "samples"
        self._samples.mkdir(exist_ok=True)
        self._metrics = directory / "metrics.jsonl"
        if self._metrics.exists():
            lines = [line for line in read_metrics(self._metrics) if keep(line["step"])]
            write_whole(self._metrics, "".join(map(_line, lines)).encode())
        self._file = self._metrics.open("a")

    def scalars(self, step: int, metrics: dict[str, Any]) -> None:
        self._file.write(_line(metrics))

    def picture(self, step: int, picture: Image.Image) -> None:
        write_whole(self._samples / f"step_{step:07}.png", png(picture))

    def flush(self) -> None:
        """Before a checkpoint: the lines that lead up to it must outlive the process with it.

        Raises:
          OSError: they cannot be written, or somebody has removed the file.
        """
        self._metrics.stat()
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Scalars and pictures for TensorBoard, by way of tensorboardX."""

    def __init__(self, directory: pathlib.Path, step: int):
        """Opens the log; what it holds of steps past `step` is hidden."""
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(directory), purge_step=step + 1)

    def scalars(self, step: int, metrics: dict[str, Any]) -> None:
        for name in metrics.keys() - {"step"}:
            self._writer.add_scalar(name, metrics[name], step)

    def picture(self, step: int, picture: Image.Image) -> None:
        self._writer.add_image(
            "samples", np.asarray(picture.convert("RGB")), step, dataformats="HWC"
        )

    def close(self) -> None:
        self._writer.close()


def _line(metrics: dict[str, Any]) -> str:
    return json.dumps(metrics) + "\n"


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    """The complete lines of a metrics.jsonl; a last one cut off by a kill is passed over."""
    lines = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            lines.append(json.loads(line))
    return lines
