"""State dicts of PyTorch, pinned by their hash; nothing but tensors is unpickled.

The format is that of torch.save before PyTorch 1.6, which files of that time keep.
"""

import collections
import hashlib
import io
import math
import pickle
from typing import Any

import numpy as np

from gan_jax.errors import InputError

Weights = dict[str, np.ndarray]

_CLASSES: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch.FloatStorage": np.float32,
    "torch.LongStorage": np.int64,
    "torch._utils._rebuild_tensor_v2": lambda *arguments: arguments,
}


def load(content: bytes, name: str, sha256: str) -> Weights:
    """The tensors by name, such as "_blocks.0._bn1.weight", of a file with this hash.

    Raises:
      InputError: another file.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(f"{name} has sha256 {found}, but the features are pinned to {sha256}")
    return parse(content)


class _Unpickler(pickle.Unpickler):
    """Reads tensors as (storage, offset, shape, strides, ...); refuses every other object."""

    def find_class(self, module: str, name: str) -> Any:
        found = _CLASSES.get(f"{module}.{name}")
        if found is None:
            raise pickle.UnpicklingError(f"unexpected {module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        return pid  # ("storage", dtype, key, ...)


def parse(content: bytes) -> Weights:
    """The tensors of a state dict that torch.save wrote in its format before 1.6.

    Three pickles of headers, one of the state dict, one of the keys of storages, then each storage
    as its length and its numbers.
    """
    stream = io.BytesIO(content)
    *_, state, keys = (_Unpickler(stream, encoding="latin1").load() for _ in range(5))
    dtypes = {key: np.dtype(kind) for (_, kind, key, *_), *_ in state.values()}
    storages = {}
    for key in keys:
        (length,) = np.frombuffer(stream.read(8), np.int64)
        dtype = dtypes[key]
        storages[key] = np.frombuffer(stream.read(length * dtype.itemsize), dtype)
    weights = {}
    for name, ((_, _, key, *_), offset, shape, strides, *_) in state.items():
        own = storages[key][offset : offset + math.prod(shape)]
        order = sorted(range(len(shape)), key=lambda axis: -strides[axis])  # in memory
        ordered = own.reshape([shape[axis] for axis in order])
        weights[name] = ordered.transpose(np.argsort(order))
    return weights
