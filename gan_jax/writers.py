"""Writers of a run's files other than checkpoints."""

import csv
import io
import json
import math
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from PIL import Image

from gan_jax.errors import InputError


def check_new(out: pathlib.Path, *suffixes: str, replace: bool = False) -> None:
    """Raises an InputError unless --out can be a new file with one of these suffixes.

    replace: whether it may replace a file.
    """
    if out.suffix not in suffixes:
        raise InputError(f"--out={out} must end in {' or '.join(suffixes)}")
    if out.exists() and not (replace and out.is_file()):
        raise InputError(f"--out={out} exists: remove it or choose another file")
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out={out}: there is no directory {out.parent}")


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file atomically: readers see the old content or the new, never a part."""
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
    """The value with infinities and NaNs, which JSON lacks, as null."""
    if isinstance(value, dict):
        return {key: _strict(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: pathlib.Path, value: Any) -> None:
    write_whole(path, (json.dumps(_strict(value), indent=2) + "\n").encode())


def csv_bytes(rows: Iterable[Iterable[Any]]) -> bytes:
    """A CSV file; bytes of names that are not UTF-8 are kept."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def sample_name(step: int) -> str:
    """File name of the sample grid of an iteration."""
    return f"step_{step:07}.png"


def sample_grids(directory: pathlib.Path) -> dict[int, pathlib.Path]:
    """Files of a run's sample grids by iteration, in order."""
    images = (directory / "samples").glob("step_*.png")
    # By number, not by name: its 7 digits become 8 in a very long run.
    return dict(sorted((int(p.stem[5:]), p) for p in images if p.stem[5:].isdecimal()))


class Files:
    """A run's metrics.jsonl, one object per line, and its sample grids in samples/."""

    def __init__(self, directory: pathlib.Path, begin: int, keep_begin: bool):
        """Opens metrics.jsonl to append after its lines up to step `begin`.

        Args:
          directory: the run's directory.
          begin: the step to resume from.
          keep_begin: whether to keep the line of that step, present if a run ended there.

        Raises:
          InputError: lines up to `begin` are missing or damaged.
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

    def image(self, step: int, image: Image.Image) -> None:
        write_whole(self._samples / sample_name(step), png(image))

    def flush(self) -> None:
        """Makes the lines written so far durable; call it before a checkpoint is saved.

        Raises:
          OSError: they cannot be written, or the file has been removed.
        """
        self._metrics.stat()
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _line(metrics: dict[str, Any]) -> str:
    return json.dumps(_strict(metrics)) + "\n"


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    """The complete lines of a metrics.jsonl; ignores a last one that was cut off.

    Raises:
      InputError: no such file, or a complete line that is not an object with a `step`.
    """
    try:
        *complete, _ = path.read_bytes().split(b"\n")
    except OSError as e:
        raise InputError(f"{path} cannot be read: {e.strerror}") from None
    lines = []
    for number, text in enumerate(complete, 1):
        try:
            line = json.loads(text)
            if type(line["step"]) is not int:
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{path} is damaged in line {number}") from None
        lines.append(line)
    return lines
