"""Checkpoints of any pytree of arrays, through orbax, each with the hash of what it holds.

A checkpoint is a directory step_NNNNNNN, which orbax writes under another name and renames when it
is complete. The hash is an array of the checkpoint: whatever is read must agree with it.
"""

import hashlib
import logging
import pathlib
import shutil
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from gan_jax.errors import InputError

Tree = TypeVar("Tree")

# Orbax tells its progress as absl warnings; its failures are exceptions.
logging.getLogger("absl").setLevel(logging.ERROR)


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


class Writer:
    """Saves in the background, one checkpoint at a time, and keeps the newest few."""

    def __init__(self, directory: pathlib.Path, keep: int):
        self._directory = directory.resolve()
        self._keep = keep
        self._orbax = ocp.StandardCheckpointer()
        for leftover in self._directory.glob("*tmp*"):  # of a process that was killed
            shutil.rmtree(leftover)

    def save(self, step: int, tree: Any) -> None:
        """Copies the tree off the device and returns; the files are written meanwhile."""
        self.wait()
        tree = jax.device_get(tree)
        digest = np.frombuffer(bytes.fromhex(sha256(tree)), np.uint8)
        self._orbax.save(_path(self._directory, step), {"tree": tree, "sha256": digest}, force=True)

    def wait(self) -> None:
        """Returns when the last save is complete on disk, and deletes what it makes obsolete."""
        self._orbax.wait_until_finished()
        for step in steps(self._directory)[: -self._keep]:
            doomed = self._directory / f"tmp_{step}"  # a half-deleted one must not look whole
            _path(self._directory, step).rename(doomed)
            shutil.rmtree(doomed)

    def close(self) -> None:
        self.wait()
        self._orbax.close()


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
    target = {
        "tree": jax.tree.map(lambda x: np.empty(x.shape, x.dtype), like),
        "sha256": np.empty(32, np.uint8),
    }
    try:
        saved = ocp.StandardCheckpointer().restore(path, target)
    except Exception as e:  # damage shows in as many ways as there are layers below
        raise InputError(f"{path} cannot be read ({type(e).__name__})") from e
    if bytes(np.asarray(saved["sha256"])).hex() != sha256(saved["tree"]):
        raise InputError(f"{path} is damaged: its content does not match its checksum")
    return saved["tree"]


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
