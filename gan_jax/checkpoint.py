"""Checkpoints of any pytree of arrays, through orbax, each with the hashes of its files.

A checkpoint is a directory step_NNNNNNN, which appears under this name only when it is complete,
and is read only if every file of it is as it was written. Orbax's own CheckpointManager looks at
neither the content of files nor the space on the disk.
"""

import concurrent.futures
import errno
import hashlib
import json
import logging
import os
import pathlib
import shutil
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from gan_jax.errors import InputError, brief

Tree = TypeVar("Tree")

_MANIFEST = "manifest.json"  # {"step": n, "best_by": {name: value}, "sha256": {file: hash}}

_MARGIN = 2**20  # bytes of disk that a checkpoint takes beyond its arrays, rounded up

# Orbax tells its progress as absl warnings, and its failures as exceptions as well.
logging.getLogger("absl").setLevel(logging.CRITICAL)


def sha256(tree: Any) -> str:
    """Hex digest over the paths, types, shapes and bytes of every array of a pytree."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype.str} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _path(directory: pathlib.Path, step: int) -> pathlib.Path:
    return directory / f"step_{step:07}"


def steps(directory: pathlib.Path) -> list[int]:
    """The steps of the complete checkpoints in a directory, oldest first."""
    names = (path.name.partition("_") for path in directory.glob("step_*"))
    return sorted(int(number) for _, _, number in names if number.isdecimal())


def _manifest(path: pathlib.Path) -> dict[str, Any]:
    """What a checkpoint says of itself; nothing where that cannot be read."""
    empty: dict[str, Any] = {"step": None, "best_by": {}, "sha256": None}
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return empty
    return manifest if isinstance(manifest, dict) and manifest.keys() == empty.keys() else empty


def _hash_files(path: pathlib.Path) -> dict[str, str]:
    files = sorted(f for f in path.rglob("*") if f.is_file() and f != path / _MANIFEST)
    return {str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


class Writer:
    """Saves in the background, one at a time; keeps the newest few, and the best one."""

    def __init__(self, directory: pathlib.Path, keep: int, begin: int):
        """Opens a directory, and deletes its checkpoints past step `begin`.

        They are damaged if a run begins before them, and must not count among those to keep.
        """
        directory.mkdir(exist_ok=True)
        self._directory = directory.resolve()
        self._keep = keep
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        for step in steps(directory):
            if step > begin:
                self._delete(_path(self._directory, step))
        self._pending: concurrent.futures.Future[None] | None = None

    def save(self, step: int, tree: Any, best_by: dict[str, float] | None = None) -> None:
        """Copies the tree off the device and returns; the files are written meanwhile.

        Args:
          step: that names the checkpoint; one of that name is replaced.
          tree: arrays.
          best_by: a quantity by its name: of all checkpoints that name it, the lowest is kept.

        Raises:
          OSError: the save before this one failed.
        """
        self.wait()
        self._pending = self._thread.submit(self._save, step, jax.device_get(tree), best_by or {})

    def _save(self, step: int, tree: Any, best_by: dict[str, float]) -> None:
        # Asked before orbax is: it would make the directory anew under a run that somebody has
        # removed, and leave its threads in disorder on a disk that fills up under it.
        need = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + _MARGIN
        if shutil.disk_usage(self._directory).free < need:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._directory))
        for leftover in self._directory.glob("unfinished*"):
            shutil.rmtree(leftover)
        unfinished = self._directory / "unfinished"
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            checkpointer.save(unfinished, tree)
        manifest = {"step": step, "best_by": best_by, "sha256": _hash_files(unfinished)}
        (unfinished / _MANIFEST).write_text(json.dumps(manifest, indent=2))
        path = _path(self._directory, step)
        self._delete(path)
        unfinished.rename(path)
        present = steps(self._directory)
        kept = set(present[-self._keep :])
        # By the newest that names a quantity: not all do, and another may have been chosen before.
        named = (_manifest(_path(self._directory, step))["best_by"] for step in reversed(present))
        kept |= {best(self._directory, name) for name in next(filter(None, named), {})}
        for old in set(present) - kept:
            self._delete(_path(self._directory, old))

    def _delete(self, path: pathlib.Path) -> None:
        doomed = self._directory / "doomed"  # half of a checkpoint must not stand under its name
        shutil.rmtree(doomed, ignore_errors=True)
        if path.exists():
            shutil.rmtree(path.rename(doomed))

    def wait(self) -> None:
        """Returns when the last save is complete on disk.

        Raises:
          OSError: it failed.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            try:
                pending.result()
            except Exception as e:  # tensorstore has its own
                full = os.strerror(errno.ENOSPC)  # which stands at the end of its pages of text
                why = full if full in str(e) else brief(e)
                raise OSError(f"no checkpoint could be written: {why}") from e

    def close(self) -> None:
        try:
            self.wait()
        finally:
            self._thread.shutdown()


def best(directory: pathlib.Path, name: str) -> int:
    """The step of the checkpoint that has the lowest `name` among its best_by, see `Writer.save`.

    Raises:
      InputError: none names it.
    """
    manifests = {step: _manifest(_path(directory, step))["best_by"] for step in steps(directory)}
    values = {step: best_by[name] for step, best_by in manifests.items() if name in best_by}
    if not values:
        raise InputError(f"{directory} has no best checkpoint: config.keep_best was {name!r}")
    return min(values, key=lambda step: (values[step], step))


def restore(directory: pathlib.Path, step: int, like: Tree) -> Tree:
    """Reads one checkpoint.

    Args:
      directory: where the checkpoints are.
      step: which one.
      like: a tree of the structure, shapes and types to expect; its values are not used.

    Raises:
      InputError: no such checkpoint, or one that is damaged or holds something else.
    """
    path = _path(directory.resolve(), step)
    if not path.is_dir():
        found = ", ".join(map(str, steps(directory))) or "none"
        raise InputError(f"{directory} has no checkpoint of step {step}; it has: {found}")
    manifest = _manifest(path)
    if manifest["step"] != step or manifest["sha256"] != _hash_files(path):
        raise InputError(f"{path} is damaged: its files are not as they were written")
    target = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), like)
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            tree: Tree = checkpointer.restore(path, target)
    except (ValueError, KeyError, TypeError) as e:  # another structure
        raise InputError(f"{path} is of another config: {brief(e)}") from e
    if jax.tree.map(np.shape, tree) != jax.tree.map(np.shape, like):  # orbax does not look
        raise InputError(f"{path} is of another config: its arrays have other shapes")
    return tree


def restore_newest(directory: pathlib.Path, like: Tree) -> Tree | None:
    """Reads the newest checkpoint that is whole; None where there is none at all.

    Raises:
      InputError: there are checkpoints, and every one of them is damaged.
    """
    for step in reversed(steps(directory)):
        try:
            return restore(directory, step, like)
        except InputError as e:
            logging.warning("%s; trying the one before", e)
    if steps(directory):
        raise InputError(f"every checkpoint in {directory} is damaged: start again elsewhere")
    return None
