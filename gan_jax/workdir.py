"""A run's directory: made, locked, and described by config.json and run.json."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any, Literal

import jax
from ml_collections import ConfigDict

from gan_jax import checkpoint, core
from gan_jax import config as config_lib
from gan_jax.core import Game, State
from gan_jax.errors import InputError, brief
from gan_jax.fields import FREE

_PACKAGES = ("gan_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def next_run(name: str) -> pathlib.Path:
    """Makes runs/<name>/<n> with the next free n."""
    parent = pathlib.Path("runs", name)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        n = max((int(p.name) for p in parent.iterdir() if p.name.isdecimal()), default=0)
        while True:
            n += 1
            with contextlib.suppress(FileExistsError):  # another run took this number
                (parent / str(n)).mkdir()
                return parent / str(n)
    except OSError as e:
        raise InputError(f"cannot make a directory under {parent}: {e.strerror}") from None


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file of a run.

    Raises:
      InputError: no such file, or not a JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path.parent} is not the directory of a run: no {path.name}") from None
    except (OSError, ValueError, RecursionError) as e:
        raise InputError(f"{path} cannot be read: {brief(e)}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a JSON object")
    return value


def read_config(workdir: pathlib.Path) -> ConfigDict:
    """The validated config of a run."""
    return config_lib.override(read_json(workdir / "config.json"), [])


def is_new(workdir: pathlib.Path) -> bool:
    """Whether a directory is still to be made, or empty but for hidden files.

    Raises:
      InputError: it cannot be written.
    """
    try:
        existing = next(p for p in (workdir, *workdir.absolute().parents) if p.exists())
    except OSError as e:  # a name that is too long
        raise InputError(f"--workdir: {e.strerror}") from None
    if not existing.is_dir():
        raise InputError(f"--workdir={workdir}: {existing} is not a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--workdir={workdir}: {existing} cannot be written")
    return existing != workdir or all(p.name.startswith(".") for p in workdir.iterdir())


def holds_finished(workdir: pathlib.Path, config: ConfigDict) -> bool:
    """Whether a directory holds the finished run of a config; nothing is written.

    Raises:
      InputError: it cannot be written, or holds something else, or another config's run.
    """
    if is_new(workdir):
        return False
    if not (workdir / "config.json").exists():
        raise InputError(f"--workdir={workdir} holds something that is not a run; name another")
    old = read_config(workdir)
    changed = config_lib.differences(old, config)
    if config.num_steps > old.num_steps:  # the longer run begins as the shorter one did
        del changed["num_steps"]
    refused = [f"{field} ({text})" for field, text in changed.items() if field not in FREE]
    if refused:
        raise InputError(
            f"--workdir={workdir} holds a run with another config: {', '.join(refused)}; only "
            "num_steps may be raised"
        )
    path = workdir / "run.json"
    record = read_json(path) if path.exists() else {}
    return record.get("status") == "finished" and record.get("step") == config.num_steps


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def load(workdir: pathlib.Path, step: int | Literal["best"] | None = None) -> tuple[Game, State]:
    """The game of a run and its state at a checkpoint, by default the newest that is whole.

    "best" is that of the config's keep_best.

    Raises:
      InputError: not a run, or no such checkpoint.
    """
    config = read_config(workdir)
    run = read_json(workdir / "run.json")
    dataset = run.get("dataset")
    shape = dataset.get("shape") if isinstance(dataset, dict) else None
    if not isinstance(shape, list) or len(shape) not in (2, 4) or not all(map(_is_count, shape)):
        raise InputError(f"{workdir / 'run.json'} does not name the shape of the data")
    game = config_lib.game(config, tuple(shape[1:]))
    like = core.shapes(game, config_lib.hparams(config))
    directory = workdir / "checkpoints"
    if step == "best":
        step = checkpoint.best(directory, config.keep_best)
    if step is not None:
        return game, checkpoint.restore(directory, step, like)
    state = checkpoint.restore_newest(directory, like)
    if state is None:
        raise InputError(f"{workdir} has no checkpoint yet")
    return game, state


def check_data(workdir: pathlib.Path, sha256: str) -> None:
    """Refuses to go on with a run on other data than those it began with.

    Raises:
      InputError: run.json names another hash.
    """
    path = workdir / "run.json"
    recorded = read_json(path).get("dataset") if path.exists() else None
    if isinstance(recorded, dict) and recorded.get("sha256") != sha256:
        raise InputError(
            f"{workdir} was trained on other data: {recorded.get('name')} has changed since"
        )


@contextlib.contextmanager
def lock(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the directory for this process alone; the lock of a dead process does not count.

    Raises:
      InputError: another process holds it, or it cannot be made.
      OSError: what happened meanwhile, with a word on how to go on.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = (workdir / ".lock").open("a+")
    except OSError as e:
        raise InputError(f"--workdir={workdir} cannot be written: {e.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(f"--workdir={workdir} is in use by {file.read().strip()}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        try:
            yield
        except OSError as e:
            raise OSError(
                f"{e} (what was saved is whole: once the cause is gone, the same --workdir goes on)"
            ) from e


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def provenance() -> dict[str, Any]:
    """What a result depends on besides config and data: code, versions and device."""
    status = _git("status", "--porcelain", "--", ".")
    devices = jax.devices()
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": {"kind": devices[0].device_kind, "count": len(devices)},
    }
