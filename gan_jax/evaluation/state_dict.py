"""State dicts of PyTorch, pinned by their hash and read without executing a pickle.

The format is that of torch.save before PyTorch 1.6, which files of that time keep.
"""

import hashlib
import io
import math
import pickletools
from typing import Any

import numpy as np

from gan_jax.errors import InputError

Weights = dict[str, np.ndarray]


def load(content: bytes, name: str, sha256: str) -> Weights:
    """The tensors by name, such as "_blocks.0._bn1.weight", of a file with this hash.

    Raises:
      InputError: another file.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(f"{name} has sha256 {found}, but the features are pinned to {sha256}")
    return parse(content)


def _interpret(stream: Any) -> Any:
    """The object of one pickle as plain data: names stay strings, calls become tuples.

    Raises:
      ValueError: an opcode that tensors do not need.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO":
                pass
            case "BUILD":  # attributes of the state dict: versions of its modules
                stack.pop()
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "GLOBAL" | "BINUNICODE" | "SHORT_BINSTRING":  # the last of Python 2
                stack.append(argument)
            case "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(opcode.name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "TUPLE" | "APPENDS" | "SETITEMS":
                start = marks.pop()
                items = stack[start:]
                del stack[start:]
                if opcode.name == "TUPLE":
                    stack.append(tuple(items))
                elif opcode.name == "APPENDS":
                    stack[-1].extend(items)
                else:
                    stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "BINPERSID":
                stack.append(("storage", stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                ordered = function == "collections OrderedDict"
                stack.append({} if ordered else (function, arguments))
            case name:
                raise ValueError(f"unexpected opcode {name}")
    raise ValueError("no STOP")


def parse(content: bytes) -> Weights:
    """The tensors of a state dict that torch.save wrote in its format before 1.6.

    Three pickles of headers, one of the state dict, one of the keys of storages, then each storage
    as its length and its numbers.
    """
    stream = io.BytesIO(content)
    *_, state, keys = (_interpret(stream) for _ in range(5))
    types = {}
    for _, (storage, *_) in state.values():
        _, (_, kind, key, *_) = storage
        types[key] = {"FloatStorage": np.float32, "LongStorage": np.int64}[kind.split()[-1]]
    storages = {}
    for key in keys:
        (length,) = np.frombuffer(stream.read(8), np.int64)
        dtype = np.dtype(types[key])
        storages[key] = np.frombuffer(stream.read(length * dtype.itemsize), dtype)
    weights = {}
    for name, (_, (storage, offset, shape, strides, *_)) in state.items():
        _, (_, _, key, *_) = storage
        own = storages[key][offset : offset + math.prod(shape)]
        order = sorted(range(len(shape)), key=lambda axis: -strides[axis])  # in memory
        ordered = own.reshape([shape[axis] for axis in order])
        weights[name] = ordered.transpose(np.argsort(order))
    return weights
