"""Data parallelism over a mesh: members of a population on one axis, examples on the other.

Programs are written for whole minibatches and partitioned by XLA (GSPMD,
https://arxiv.org/abs/2105.04663), so that batch statistics, packing and relativistic averages need
no code here. Only convolutions use shard_map, as XLA would gather the minibatch for the gradients
of grouped ones.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from gan_jax.errors import InputError

MEMBERS = "members"  # mesh axes
BATCH = "batch"


def devices_per_member(config: ConfigDict) -> int:
    """Number of devices that share a minibatch.

    Raises:
      InputError: there are fewer, or they cannot share it equally.
    """
    present = jax.device_count()
    number = config.devices or present
    if number > present:
        raise InputError(f"config.devices is {number}, but there are {present}")
    if jax.process_count() > 1 and number < present:
        raise InputError(
            f"config.devices is {number}, but {jax.process_count()} processes share each minibatch "
            f"among all of their {present} devices: set 0"
        )
    inputs = config.batch_size // config.get("pack", 1)
    if inputs % number:
        of = f" in {inputs} inputs of {config.pack}" if config.get("pack", 1) > 1 else ""
        raise InputError(
            f"config.batch_size is {config.batch_size}{of}, but must be divisible among {number} "
            "devices"
        )
    return number


def mesh(config: ConfigDict, members: int) -> Mesh:
    """Groups of devices that share a minibatch: as many as there are, or as members."""
    size = devices_per_member(config)
    devices = jax.devices()[: members * size]
    grid = np.array(devices[: len(devices) // size * size]).reshape(-1, size)
    if size == 1:
        return Mesh(grid[:, 0], (MEMBERS,))
    return Mesh(grid, (MEMBERS, BATCH), axis_types=(AxisType.Auto,) * 2)


def put(mesh: Mesh, spec: P, tree: Any, index: np.ndarray | None = None) -> Any:
    """Places host arrays on a mesh; each process reads only the parts of its own devices.

    Args:
      mesh: devices.
      spec: mesh axes of the arrays' axes; axes that the mesh lacks are ignored.
      tree: arrays.
      index: places x[index] of each array x instead, without gathering all of it.
    """
    sharding = NamedSharding(mesh, P(*(axis if axis in mesh.axis_names else None for axis in spec)))

    def one(x: np.ndarray) -> jax.Array:
        if index is None:
            return jax.make_array_from_callback(x.shape, sharding, lambda part: np.asarray(x[part]))

        def gather(part: Any) -> np.ndarray:
            return x[index[part[: index.ndim]]]

        return jax.make_array_from_callback(index.shape + x.shape[1:], sharding, gather)

    return jax.tree.map(one, tree)


def put_states(mesh: Mesh, tree: Any, sharded: bool) -> Any:
    """Places stacked host arrays of members on a mesh, as `shard` leaves them if sharded."""
    if not sharded:
        return put(mesh, P(MEMBERS), tree)

    def one(x: np.ndarray) -> jax.Array:
        axis = _longest_axis(x.shape[1:], mesh.shape[BATCH])
        rest = [] if axis is None else [*[None] * axis, BATCH]
        placed: jax.Array = put(mesh, P(MEMBERS, *rest), x)
        return placed

    return jax.tree.map(one, tree)


def broadcast(tree: Any, like: Any) -> Any:
    """Host arrays of process 0, (its `tree`), in all processes.

    Args:
      tree: ignored in other processes.
      like: shapes and dtypes of the arrays.
    """
    if jax.process_count() == 1:
        return tree
    if jax.process_index():
        tree = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    # As bytes: JAX adds the arrays of all processes, which would turn -0.0 into 0.0.
    raw = jax.tree.map(lambda x: np.ascontiguousarray(x).reshape(-1).view(np.uint8), tree)
    sent = multihost_utils.broadcast_one_to_all(raw)
    return jax.tree.map(lambda x, y: np.asarray(y).view(x.dtype).reshape(x.shape), like, sent)


def gather(tree: Any) -> Any:
    """Host copies of arrays of which this process has only a part; others as they are.

    A collective of all processes, one array at a time, as no device may have room for all.
    """

    def one(x: Any) -> Any:
        whole = not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated
        return x if whole else multihost_utils.process_allgather(x, tiled=True)

    return jax.tree.map(one, tree)


def _shared(examples: int) -> bool:
    """Whether, in the program being traced, minibatches of this size are split over BATCH."""
    mesh = jax.sharding.get_abstract_mesh()
    return BATCH in mesh.auto_axes and examples % mesh.shape[BATCH] == 0


def _longest_axis(shape: tuple[int, ...], size: int) -> int | None:
    """The longest axis that can be divided by a number of devices; the first of equal ones."""
    divisible = [axis for axis, n in enumerate(shape) if n and n % size == 0]
    return max(divisible, key=lambda axis: shape[axis], default=None)


def shard(tree: Any) -> Any:
    """A member's arrays, each split along its longest axis among the member's devices.

    XLA gathers each array where the program uses it, and updates it where it is kept: Xu et al.
    2020, https://arxiv.org/abs/2004.13336.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if BATCH not in mesh.auto_axes:
        return tree

    def one(x: jax.Array) -> jax.Array:
        axis = _longest_axis(x.shape, mesh.shape[BATCH])
        if axis is None:
            return x
        return jax.lax.with_sharding_constraint(x, P(*[None] * axis, BATCH))

    return jax.tree.map(one, tree)


def replicated(x: jax.Array) -> jax.Array:
    """An array that each device computes whole, without communication; (batch, ...)."""
    return jax.lax.with_sharding_constraint(x, P()) if _shared(x.shape[0]) else x


def split(x: jax.Array) -> jax.Array:
    """The minibatch x, (batch, ...), with its examples split among the devices that share it."""
    return jax.lax.with_sharding_constraint(x, P(BATCH)) if _shared(x.shape[0]) else x


def by_example(
    function: Callable[..., jax.Array], *args: jax.Array, shared: int = 0, total: bool = False
) -> jax.Array:
    """Applies a function on each device to its own examples.

    Args:
      function: maps arrays (batch, ...) to one that is stacked, or with `total` summed, over
        examples.
      *args: its arguments.
      shared: how many of the last arguments each device gets whole.
      total: add the results of all devices.
    """
    if not _shared(args[0].shape[0]):
        return function(*args)
    return jax.shard_map(
        lambda *args: jax.lax.psum(function(*args), BATCH) if total else function(*args),
        in_specs=(*(P(BATCH),) * (len(args) - shared), *(P(),) * shared),
        out_specs=P() if total else P(BATCH),
        axis_names={BATCH},
        check_vma=False,
    )(*args)
