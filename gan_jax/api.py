"""Training, sampling and scoring of runs from notebooks and scripts.

Import it as `from gan_jax import api`: `gan_jax.train`, `gan_jax.sample` and `gan_jax.evaluate`
are modules, not these functions. Invalid input raises an InputError with
the message of the command. Use from the main thread only, as training handles signals.
"""

import io
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gan_jax import config as config_lib
from gan_jax import evaluate as evaluation
from gan_jax import plots, writers
from gan_jax import sample as sampling
from gan_jax import train as training
from gan_jax import workdir as workdir_lib

__all__ = ["Run", "evaluate", "load_run", "sample", "train"]


class Run(NamedTuple):
    """A run, as its directory describes it. Notebooks show the images as they are."""

    directory: pathlib.Path
    config: ConfigDict
    record: dict[str, Any]  # of run.json: status, iteration, data, provenance

    def __repr__(self) -> str:
        step = self.record.get("step")  # none while it trains
        at = "" if step is None else f" at iteration {step}"
        return f"Run({str(self.directory)!r}: {self.record.get('status')}{at})"

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return writers.read_metrics(self.directory / "metrics.jsonl")

    def sample_grid(self) -> Image.Image:
        """The newest sample grid."""
        *_, newest = writers.sample_grids(self.directory).values()
        return Image.open(io.BytesIO(newest.read_bytes()))

    def curves(self) -> Image.Image:
        """The losses and D's outputs over iterations."""
        image = plots.curves(self.metrics(), plots.run_title(self.config))
        return Image.open(io.BytesIO(image))


def train(
    config: str | os.PathLike[str] | ConfigDict, workdir: str | os.PathLike[str], **fields: Any
) -> Run:
    """Trains a config with a progress bar.

    On the directory of an unfinished run of the same config, training resumes; a finished run is
    returned as it is. Interrupting the kernel saves a checkpoint and returns the run so far.

    Args:
      config: a config's name, a path, or the config itself.
      workdir: the run's directory.
      **fields: values of config fields, such as num_steps=500, or **{"generator.widths": (64,)}
        for dotted names.

    Raises:
      InputError: invalid config, data or directory; nothing was written.
      RuntimeError: training diverged.
    """
    if not isinstance(config, ConfigDict):
        config = config_lib.load(os.fspath(config))
    directory = pathlib.Path(workdir)
    config = config_lib.replace(config, fields)
    training.run(config, directory, directory.name, progress_bar=True)
    run = load_run(directory)
    if run.record["status"] == "diverged":
        raise RuntimeError(f"{directory} diverged at iteration {run.record['diverged']['step']}")
    return run


def load_run(workdir: str | os.PathLike[str]) -> Run:
    """The run in a directory, finished or not.

    Raises:
      InputError: there is none.
    """
    directory = pathlib.Path(workdir)
    config = workdir_lib.read_config(directory)
    return Run(directory, config, workdir_lib.read_json(directory / "run.json"))


def sample(
    run: Run,
    num: int,
    *,
    label: int | str | None = None,
    text: str | None = None,
    seed: int = 0,
    step: int | Literal["best"] | None = None,
) -> np.ndarray:
    """Draws samples of a run: images in [0, 1], (num, height, width, channels), or points.

    Args:
      run: the run.
      num: number of samples.
      label: class to draw, by number or name; None for all in turn.
      text: caption to draw, for runs conditioned on text.
      seed: of the noise.
      step: iteration of the checkpoint; "best" by config.keep_best, None for the newest.

    Raises:
      InputError: no such checkpoint, class or caption, or too many samples.
    """
    name = None if label is None else str(label)
    drawn = sampling.draw(run.directory, num=num, seed=seed, step=step, label=name, text=text)
    return drawn.examples


def evaluate(
    run: Run,
    num: int = 10_000,
    *,
    metrics: Sequence[str] | None = None,
    split: str | None = None,
    step: int | Literal["best"] | None = None,
) -> dict[str, Any]:
    """Scores a run, prints a table, and writes evaluation.json and evaluation.png to the run.

    Args:
      run: the run.
      num: number of samples.
      metrics: a name, such as "fid", or several; None for all that are available.
      split: of the data to compare with; None for config.test_split.
      step: iteration of the checkpoint; "best" by config.keep_best, None for the newest.

    Returns:
      The contents of evaluation.json.

    Raises:
      InputError: no such checkpoint or metric, or an unavailable metric.
    """
    names = [metrics] if isinstance(metrics, str) else None if metrics is None else list(metrics)
    return evaluation.evaluate(run.directory, step=step, num=num, split=split, metrics=names)
