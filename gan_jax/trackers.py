"""Experiment trackers. Each has `scalars`, `image` and `close`.

`close` takes the exit status of training: 0 finished, 1 failed, 128 + signal interrupted. A resumed
run continues the same tracker run, whose id is stored in trackers.json. Nothing leaves the machine
unless WANDB_MODE or MLFLOW_TRACKING_URI is set.
"""

import json
import logging
import os
import pathlib
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gan_jax.config import flatten
from gan_jax.data.cache import cache_dir
from gan_jax.errors import InputError, brief
from gan_jax.writers import sample_name, write_json

log = logging.getLogger(__name__)

_PROJECT = "gan_jax"


class TensorBoard:
    """Event files in tensorboard/. On resume, entries after `step` are purged."""

    def __init__(self, directory: pathlib.Path, config: ConfigDict, step: int):
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1)

    def _check(self) -> None:
        # An error such as a full disk ends its thread; a full queue would then block forever.
        if not self._writer.file_writer.event_writer._worker.is_alive():
            raise OSError("its thread has ended")

    def scalars(self, step: int, metrics: dict[str, Any]) -> None:
        self._check()
        for name, x in metrics.items():
            self._writer.add_scalar(name, x, step)

    def image(self, step: int, image: Image.Image) -> None:
        self._check()
        self._writer.add_image("samples", np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self, exit_status: int) -> None:
        self._check()
        self._writer.close()


class WandB:
    """A Weights & Biases run, offline in wandb/ by default."""

    def __init__(self, directory: pathlib.Path, config: ConfigDict, step: int):
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_CACHE_DIR", str(cache_dir() / "wandb"))
        import wandb

        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=_name(directory),
            id=_run_id(directory, "wandb", lambda: uuid.uuid4().hex),
            resume="allow",
            dir=directory,
            config=config.to_dict(),
            allow_val_change=True,  # a larger num_steps
            settings=wandb.Settings(console="off"),
        )

    def scalars(self, step: int, metrics: dict[str, Any]) -> None:
        self._run.log(metrics, step)

    def image(self, step: int, image: Image.Image) -> None:
        self._run.log({"samples": self._image(image)}, step)

    def close(self, exit_status: int) -> None:
        self._run.finish(exit_status)


class MLflow:
    """An MLflow run, in mlflow.db and mlflow/ by default."""

    def __init__(self, directory: pathlib.Path, config: ConfigDict, step: int):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        local = f"sqlite:///{directory.absolute()}/mlflow.db"
        uri = os.environ.get("MLFLOW_TRACKING_URI", local)
        if uri == local and "?" in local:  # SQLAlchemy would end the path there
            raise InputError("it cannot write to a path with a question mark")
        self._client = client = MlflowClient(uri)
        self._metric = Metric

        def create() -> str:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
            place = (directory.absolute() / "mlflow").as_uri() if uri == local else None
            found = client.get_experiment_by_name(name)
            number = found.experiment_id if found else client.create_experiment(name, place)
            run = client.create_run(number, run_name=_name(directory)).info.run_id
            params = [Param(field, repr(value)) for field, value in flatten(config).items()]
            client.log_batch(run, params=params)
            return run

        self._run = _run_id(directory, "mlflow", create)
        client.update_run(self._run, "RUNNING")

    def scalars(self, step: int, metrics: dict[str, Any]) -> None:
        now = round(1000 * time.time())
        values = [self._metric(name, x, now, step) for name, x in metrics.items()]
        self._client.log_batch(self._run, values)

    def image(self, step: int, image: Image.Image) -> None:
        self._client.log_image(self._run, image, f"samples/{sample_name(step)}")

    def close(self, exit_status: int) -> None:
        status = {0: "FINISHED", 1: "FAILED"}.get(exit_status, "KILLED")  # by a signal
        self._client.set_terminated(self._run, status)


Tracker = TensorBoard | WandB | MLflow
_TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


def start(name: str, directory: pathlib.Path, config: ConfigDict, step: int) -> Tracker:
    """Starts a tracker for a run that continues after `step`.

    Raises:
      InputError: the tracker failed to start, e.g. without credentials.
    """
    try:
        return _TRACKERS[name](directory, config, step)
    except Exception as e:  # a tracker's own
        raise InputError(f"config.trackers: {name} failed to start: {brief(e)}") from e


def each(active: dict[str, Tracker], call: Callable[[Tracker], None]) -> None:
    """Calls a function of every tracker; one that fails is dropped with a warning."""
    for name, tracker in list(active.items()):
        try:
            call(tracker)
        except Exception as e:  # a tracker's own
            log.warning("config.trackers: %s failed and was dropped: %s", name, brief(e))
            del active[name]


def _name(directory: pathlib.Path) -> str:
    return "/".join(directory.absolute().parts[-2:])


def _run_id(directory: pathlib.Path, tracker: str, create: Callable[[], str]) -> str:
    """The id of a run in a tracker, created when the run first starts."""
    path = directory / "trackers.json"
    ids = json.loads(path.read_bytes()) if path.exists() else {}
    if tracker not in ids:
        ids[tracker] = create()
        write_json(path, ids)
    return ids[tracker]
