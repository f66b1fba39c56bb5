"""Checkpoints of any pytree of arrays, written by orbax, with a hash of every file.

A checkpoint is a directory step_NNNNNNN. It is renamed to this once complete, and read only if
every file matches its hash. Orbax's CheckpointManager checks neither file contents nor disk space.
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
_ARRAYS = "arrays.json"  # {path: dtype and shape}; the first version had none

# Process 0 alone reads and writes, without waiting for others.
_ALONE: dict[str, Any] = {
    "multiprocessing_options": ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix="gan_jax"
    )
}
_MARGIN = 2**20  # bytes of disk space beyond the arrays, rounded up

# Orbax reports progress as absl warnings; its failures are exceptions as well.
logging.getLogger("absl").setLevel(logging.CRITICAL)


class DamagedError(InputError):
    """A checkpoint's files do not match their hashes."""


def sha256(tree: Any) -> str:
    """Hex digest over the paths, dtypes, shapes and bytes of every array of a pytree."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype.str} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _arrays(tree: Any) -> dict[str, str]:
    """Dtype and shape of every array, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): f"{x.dtype} {tuple(x.shape)}" for path, x in leaves}


def _path(directory: pathlib.Path, step: int) -> pathlib.Path:
    return directory / f"step_{step:07}"


def steps(directory: pathlib.Path) -> list[int]:
    """The steps of the complete checkpoints in a directory, ascending."""
    names = (path.name.partition("_") for path in directory.glob("step_*"))
    return sorted(int(number) for _, _, number in names if number.isdecimal())


def _manifest(path: pathlib.Path) -> dict[str, Any]:
    """A checkpoint's manifest; an empty one if it cannot be read."""
    empty: dict[str, Any] = {"step": None, "best_by": {}, "sha256": None}
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return empty
    return manifest if isinstance(manifest, dict) and manifest.keys() == empty.keys() else empty


def _hash_files(path: pathlib.Path) -> dict[str, str]:
    files = sorted(f for f in path.rglob("*") if f.is_file() and f != path / _MANIFEST)
    return {str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def _checkpointer() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.StandardCheckpointHandler(**_ALONE), **_ALONE)


class Writer:
    """Saves checkpoints in the background, one at a time; keeps the newest few and the best."""

    def __init__(self, directory: pathlib.Path, keep: int, begin: int):
        """Opens a directory and deletes its checkpoints past step `begin`.

        Those were found damaged on resuming, so they must not count towards `keep`.
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
        """Copies the tree to the host and returns; files are written in the background.

        Args:
          step: names the checkpoint; an existing one of that name is replaced.
          tree: pytree of arrays.
          best_by: values by name; of all checkpoints with a name, the lowest is kept.

        Raises:
          OSError: the previous save failed.
        """
        self.wait()
        self._pending = self._thread.submit(self._save, step, jax.device_get(tree), best_by or {})

    def _save(self, step: int, tree: Any, best_by: dict[str, float]) -> None:
        # Checked first: orbax would recreate a removed directory, and its threads do not recover
        # from a disk that fills up during a save.
        need = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + _MARGIN
        if shutil.disk_usage(self._directory).free < need:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._directory))
        for leftover in self._directory.glob("unfinished*"):
            shutil.rmtree(leftover)
        unfinished = self._directory / "unfinished"
        with _checkpointer() as checkpointer:
            checkpointer.save(unfinished, tree)
        (unfinished / _ARRAYS).write_text(json.dumps(_arrays(tree), indent=2))
        manifest = {"step": step, "best_by": best_by, "sha256": _hash_files(unfinished)}
        (unfinished / _MANIFEST).write_text(json.dumps(manifest, indent=2))
        path = _path(self._directory, step)
        self._delete(path)
        unfinished.rename(path)
        present = steps(self._directory)
        kept = set(present[-self._keep :])
        # Names are those of the newest checkpoint that has any: config.keep_best may have changed.
        named = (_manifest(_path(self._directory, step))["best_by"] for step in reversed(present))
        kept |= {best(self._directory, name) for name in next(filter(None, named), {})}
        for old in set(present) - kept:
            self._delete(_path(self._directory, old))

    def _delete(self, path: pathlib.Path) -> None:
        doomed = self._directory / "doomed"  # a partly deleted checkpoint must not look like one
        shutil.rmtree(doomed, ignore_errors=True)
        if path.exists():
            shutil.rmtree(path.rename(doomed))

    def wait(self) -> None:
        """Blocks until the last save is complete on disk.

        Raises:
          OSError: it failed.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            try:
                pending.result()
            except Exception as e:  # TensorStore raises its own
                full = os.strerror(errno.ENOSPC)  # at the end of pages of text
                why = full if full in str(e) else brief(e)
                raise OSError(f"no checkpoint could be written: {why}") from e

    def close(self) -> None:
        try:
            self.wait()
        finally:
            self._thread.shutdown()


def best(directory: pathlib.Path, name: str) -> int:
    """The step of the checkpoint with the lowest `best_by[name]`, see `Writer.save`.

    Raises:
      InputError: none has that name.
    """
    manifests = {step: _manifest(_path(directory, step))["best_by"] for step in steps(directory)}
    values = {step: best_by[name] for step, best_by in manifests.items() if name in best_by}
    if not values:
        raise InputError(f"{directory} has no best checkpoint: config.keep_best was {name!r}")
    return min(values, key=lambda step: (values[step], step))


def restore(directory: pathlib.Path, step: int, like: Tree) -> Tree:
    """Reads one checkpoint.

    Args:
      directory: directory of checkpoints.
      step: iteration of the checkpoint.
      like: a pytree with the expected structure, shapes and dtypes; its values are not used.

    Raises:
      DamagedError: its files do not match their hashes.
      InputError: no such checkpoint, or it is intact but of another config or version.
    """
    path = _path(directory.resolve(), step)
    if not path.is_dir():
        found = ", ".join(map(str, steps(directory))) or "none"
        raise InputError(f"{directory} has no checkpoint of step {step}; it has: {found}")
    manifest = _manifest(path)
    if manifest["step"] != step or manifest["sha256"] != _hash_files(path):
        raise DamagedError(f"{path} is damaged: its files do not match their hashes")
    if not (path / _ARRAYS).exists():
        raise InputError(f"{path} was written by an earlier version of gan_jax: use that version")
    saved, wanted = json.loads((path / _ARRAYS).read_bytes()), _arrays(like)
    for name in dict.fromkeys([*wanted, *saved]):
        if (found := saved.get(name, "none")) != (want := wanted.get(name, "none")):
            raise InputError(f"{path} is from another config: {name} is {found}, expected {want}")
    target = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), like)
    try:
        with _checkpointer() as checkpointer:
            tree: Tree = checkpointer.restore(path, target)
    except (ValueError, KeyError, TypeError) as e:  # another version of orbax, or forged hashes
        raise InputError(f"{path} cannot be read: {brief(e)}") from e
    return tree


def restore_newest(directory: pathlib.Path, like: Tree) -> Tree | None:
    """Reads the newest checkpoint that is not damaged; None if there are no checkpoints.

    Raises:
      InputError: all are damaged, or the newest intact one is of another config or version.
    """
    for step in reversed(steps(directory)):
        try:
            return restore(directory, step, like)
        except DamagedError as e:
            logging.warning("%s; trying the one before", e)
    if steps(directory):
        raise InputError(f"every checkpoint in {directory} is damaged: use another --workdir")
    return None
