"""A run's directory: creating, locking and reading it.

Requires a file system with atomic renames. Locks between machines require a shared file system with
`flock`, such as NFS 4.
"""

import contextlib
import json
import os
import pathlib
import platform
import textwrap
from collections.abc import Iterator
from typing import Any, Literal

import filelock
import numpy as np
from ml_collections import ConfigDict

from gan_jax import algorithms, checkpoint
from gan_jax import config as config_lib
from gan_jax.config.schema import RESUME_MUTABLE
from gan_jax.data.molecules import FINGERPRINTS
from gan_jax.errors import InputError, brief, did_you_mean
from gan_jax.evaluation import text_encoder
from gan_jax.spec import AutoencoderSpec, Spec
from gan_jax.state import State

SWEEP = "sweep.json"  # in the directory of a sweep or shard
# Data sets named by a path.
_FILES = ("folder:", "npz:", "npy:", *(f"{kind}:" for kind in FINGERPRINTS))


def next_run(name: str) -> pathlib.Path:
    """Creates runs/<name>/<n> with the next free n."""
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
        raise InputError(f"cannot create a directory in {parent}: {e.strerror}") from None


def read_json(path: pathlib.Path, missing_ok: bool = False) -> dict[str, Any]:
    """The object in a run's JSON file; with `missing_ok`, {} if there is no such file.

    Raises:
      InputError: no such file, or not a JSON object.
    """
    if missing_ok and not path.exists():
        return {}
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
    """A run's validated config; an InputError for the directory of a sweep."""
    if (workdir / SWEEP).exists():
        raise InputError(
            f"{workdir} is a sweep; retrain a member with `gan-jax sweep --workdir={workdir} "
            f"--rerun=N` and use {workdir / 'members' / 'N'}"
        )
    return config_lib.override(read_json(workdir / "config.json"), [])


def is_new(workdir: pathlib.Path) -> bool:
    """Whether a directory does not exist yet, or holds only hidden files.

    Raises:
      InputError: it cannot be written.
    """
    try:
        existing = next(p for p in (workdir, *workdir.absolute().parents) if p.exists())
    except OSError as e:  # name too long
        raise InputError(f"--workdir: {e.strerror}") from None
    if not existing.is_dir():
        raise InputError(f"--workdir={workdir}: {existing} is not a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--workdir={workdir}: {existing} cannot be written")
    return existing != workdir or all(p.name.startswith(".") for p in workdir.iterdir())


def holds_finished(workdir: pathlib.Path, config: ConfigDict, sha256: str | None = None) -> bool:
    """Whether a directory holds the finished run of a config; writes nothing.

    Args:
      workdir: the directory.
      config: the run's config; its `dataset` may be a new path of the same files.
      sha256: hash of the training data; None before they are loaded, when a run whose data have
        moved does not count as finished yet.

    Raises:
      InputError: it cannot be written, or holds something else, a run with another config or, by
        `sha256`, one on other data.
    """
    if is_new(workdir):
        return False
    if (workdir / SWEEP).exists():
        raise InputError(f"{workdir} is a sweep; use another --workdir")
    if not (workdir / "config.json").exists():
        raise InputError(f"--workdir={workdir} is not empty and not a run: choose another")
    old = read_config(workdir)
    changed = config_lib.differences(old, config)
    if config.num_steps > old.num_steps:  # a longer run extends a shorter one
        del changed["num_steps"]
    movable = ["condition.captions", "condition.encoder"] * (config.condition.on == "text")
    if old.dataset.startswith(_FILES) and config.dataset.startswith(_FILES):
        movable.append("dataset")
    moved = bool(changed.keys() & movable)
    changed = {name: text for name, text in changed.items() if name not in movable}
    refused = [f"{name} ({text})" for name, text in changed.items() if name not in RESUME_MUTABLE]
    if refused:
        raise InputError(
            f"--workdir={workdir} holds a run with another config: {', '.join(refused)}; "
            "resuming allows a larger num_steps, moved data, and changes of outputs"
        )
    record = read_json(workdir / "run.json", missing_ok=True)
    if sha256 is not None:
        _check_data(workdir, record, sha256, moved)
    elif moved:
        return False
    return record.get("status") == "finished" and record.get("step") == config.num_steps


def check_data(workdir: pathlib.Path, sha256: str) -> None:
    """Raises an InputError if a run was trained on data with another hash."""
    _check_data(workdir, read_json(workdir / "run.json", missing_ok=True), sha256, moved=False)


def _check_data(workdir: pathlib.Path, record: dict[str, Any], sha256: str, moved: bool) -> None:
    recorded = record.get("dataset")
    if not isinstance(recorded, dict):
        if moved:
            raise InputError(f"{workdir} does not record its data: set the same config.dataset")
    elif recorded.get("sha256") != sha256:
        raise InputError(
            f"{workdir} was trained on other data: {recorded.get('name')} has "
            + ("other content" if moved else "changed since")
        )


def load(workdir: pathlib.Path, step: int | Literal["best"] | None = None) -> tuple[Spec, State]:
    """A run's spec, and its state at a checkpoint.

    Args:
      workdir: the run's directory.
      step: iteration of the checkpoint; "best" by config.keep_best, None for the newest intact one.

    Raises:
      InputError: not a run, or no such checkpoint.
    """
    config = read_config(workdir)
    dataset = read_json(workdir / "run.json").get("dataset")
    dataset = dataset if isinstance(dataset, dict) else {}
    shape, classes = dataset.get("shape"), dataset.get("classes", 0)  # older runs record no classes
    if not isinstance(shape, list) or len(shape) not in (2, 4) or not all(map(_is_count, shape)):
        raise InputError(f"{workdir / 'run.json'} does not record the shape of the data")
    spec = config_lib.spec(config, tuple(shape[1:]), classes if type(classes) is int else 0)
    like = algorithms.shapes(spec, config_lib.hparams(config))
    directory = workdir / "checkpoints"
    if step == "best":
        step = checkpoint.best(directory, config.keep_best)
    if step is not None:
        return spec, checkpoint.restore(directory, step, like)
    state = checkpoint.restore_newest(directory, like)
    if state is None:
        raise InputError(f"{workdir} has no checkpoint yet")
    return spec, state


def class_names(workdir: pathlib.Path, spec: Spec) -> list[str]:
    """Names of the classes that condition a run; clusters have none."""
    clusters = isinstance(spec, AutoencoderSpec) and spec.infers_classes and not spec.num_labelled
    if clusters or not spec.classes:
        return []
    return read_json(workdir / "run.json")["dataset"].get("class_names") or []


def class_number(workdir: pathlib.Path, spec: Spec, label: str, option: str = "label") -> int:
    """The class of a conditional run given by number or name.

    Args:
      workdir: the run's directory.
      spec: its spec.
      label: number or name.
      option: of the command line, for messages.

    Raises:
      InputError: the run is not conditional, or has no such class.
    """
    if not spec.classes:
        raise InputError(f"--{option}={label}: {workdir} is not conditional (see config.condition)")
    names = class_names(workdir, spec)
    if label in names:
        return names.index(label)
    if label.isdecimal() and int(label) < spec.classes:
        return int(label)
    listed = textwrap.shorten(", ".join(names), 300)
    by_name = f"a class name ({listed}) or its number, " if names else ""
    hint = did_you_mean(label, names)
    raise InputError(f"--{option}={label}: expected {by_name}0 to {spec.classes - 1}{hint}")


def embed_caption(workdir: pathlib.Path, spec: Spec, text: str | None) -> np.ndarray:
    """The text embedding (d,) of a caption, for a run conditioned on text.

    Raises:
      InputError: the run is not, the caption is missing, or the encoder is another one.
    """
    if not spec.text:
        raise InputError(f"--text: {workdir} is not conditioned on text (see config.condition)")
    if not text:
        raise InputError(f"{workdir} is conditioned on text: give a caption by --text")
    return text_encoder.encode(recorded_encoder(workdir), [text])[0]


def recorded_encoder(workdir: pathlib.Path) -> text_encoder.TextEncoder:
    """The text encoder that a run was trained with.

    Raises:
      InputError: the config names another one now.
    """
    encoder = text_encoder.load(read_config(workdir).condition.encoder)
    recorded = read_json(workdir / "run.json").get("text_encoder")
    if not isinstance(recorded, dict) or encoder.sha256 != recorded.get("sha256"):
        raise InputError(
            f"{workdir}: the text encoder differs from the one used in training: {encoder.sha256}, "
            f"not {recorded}"
        )
    return encoder


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def is_locked(workdir: pathlib.Path) -> bool:
    """Whether a process holds the lock of an existing directory."""
    if not (workdir / ".lock").exists():
        return False
    try:
        with filelock.FileLock(workdir / ".lock", timeout=0):
            return False
    except filelock.Timeout:
        return True
    except OSError:  # a directory that is read-only here
        return True


@contextlib.contextmanager
def lock(workdir: pathlib.Path, seconds: float = 0) -> Iterator[None]:
    """Locks a directory for this process; the lock is released if the process dies.

    Args:
      workdir: the directory.
      seconds: to wait for a process that holds the lock.

    Raises:
      InputError: another process holds the lock, or the directory cannot be created.
      OSError: re-raised from the body, with a hint on how to resume.
    """
    owner = workdir / ".owner"  # a separate file: filelock may truncate the locked one
    held = filelock.FileLock(workdir / ".lock", timeout=seconds)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except filelock.Timeout:
        holder = owner.read_text().strip() if owner.exists() else "another process"
        raise InputError(f"--workdir={workdir} is in use by {holder}") from None
    except OSError as e:
        raise InputError(f"--workdir={workdir} cannot be written: {e.strerror}") from None
    try:
        owner.write_text(f"process {os.getpid()} on {platform.node()}\n")
        yield
    except OSError as e:
        raise OSError(
            f"{e} (what was saved is intact: once the cause is gone, resume with this --workdir)"
        ) from e
    finally:
        held.release()
