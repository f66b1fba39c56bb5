"""What a run writes besides checkpoints: files whole or not at all, metrics line by line."""

import json
import math
import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from gan_jax.errors import InputError
from gan_jax.plots import png


def check_new(out: pathlib.Path, *suffixes: str) -> None:
    """Refuses an --out that is no new file of one of some kinds in a directory that is there.

    Raises:
      InputError: it is not.
    """
    if out.suffix not in suffixes:
        raise InputError(f"--out={out} must end in {' or '.join(suffixes)}")
    if out.exists():
        raise InputError(f"--out={out} exists; remove it or name another")
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out={out}: there is no directory {out.parent}")


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


def _strict(value: Any) -> Any:
    """A value without the infinities and NaNs that JSON has no word for: they become null."""
    if isinstance(value, dict):
        return {key: _strict(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: pathlib.Path, value: Any) -> None:
    write_whole(path, (json.dumps(_strict(value), indent=2) + "\n").encode())


class Files:
    """A run's metrics.jsonl, an object a line, and samples/step_NNNNNNN.png."""

    def __init__(self, directory: pathlib.Path, begin: int, keep_begin: bool):
        """Opens metrics.jsonl to append, after the lines up to step `begin`.

        Args:
          directory: of the run.
          begin: the step to go on from.
          keep_begin: whether to keep that step's own line, which is there if a run ended with it.

        Raises:
          InputError: there is a past, but its lines are missing or damaged.
        """
        self._samples = directory / "samples"
        self._samples.mkdir(exist_ok=True)
        self._metrics = directory / "metrics.jsonl"
        if begin > 0 or self._metrics.exists():
            lines = [
                line for line in read_metrics(self._metrics) if line["step"] < begin + keep_begin
            ]
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
    return json.dumps(_strict(metrics)) + "\n"


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    """The complete lines of a metrics.jsonl; a last one cut off by a kill is passed over.

    Raises:
      InputError: no such file, or a complete line that no run has written.
    """
    try:
        *complete, _ = path.read_bytes().split(b"\n")
    except OSError as e:
        raise InputError(f"{path} cannot be read: {e.strerror}") from None
    lines = []
    for number, text in enumerate(complete, 1):
        try:
            line = json.loads(text)
            if not {"step", "d_loss", "g_loss", "d_real", "d_fake"} <= line.keys():
                raise ValueError
        except (ValueError, AttributeError, RecursionError):
            raise InputError(f"{path} is damaged in line {number}") from None
        lines.append(line)
    return lines
