"""Prefetching of minibatches from host memory, for data that exceed device memory."""

import contextlib
import functools
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from gan_jax import shuffle
from gan_jax.draws import Batch, Stream, Window, stream_key
from gan_jax.parallel import BATCH, MEMBERS, put

_WINDOW_BYTES = 2**26
_MAX_LENGTH = 1000  # iterations in a window


class Feed:
    """Gathers the minibatches of training, a window of iterations at a time.

    A thread gathers the next window during training on the current one.

    Attributes:
      example: a minibatch of a single example of zeros.
      length: iterations per window; window n starts after n * length iterations.
    """

    def __init__(
        self,
        images: np.ndarray,
        conditions: np.ndarray | None,
        roots: np.ndarray,
        counts: Mapping[Stream, int],
        batch_size: int,
        mesh: Mesh,
    ):
        """Creates a feed; nothing is gathered yet.

        Args:
          images: all examples, possibly memory-mapped.
          conditions: their labels or groups of captions, int32 (n,), or None.
          roots: root keys of the members, uint32 (members, 2).
          counts: minibatches per iteration from each stream.
          batch_size: examples per minibatch.
          mesh: devices of the members, each of which is sent its own examples only.
        """
        self._images, self._conditions = images, conditions
        self._roots, self._counts = roots, counts
        self._batch_size, self._mesh = batch_size, mesh
        self.example = Batch(jnp.zeros_like(images[:1]))
        size = self.example.x.nbytes * batch_size * sum(counts.values()) * len(roots)
        self.length = min(max(1, _WINDOW_BYTES // size), _MAX_LENGTH)
        self._pool = ThreadPoolExecutor(1)
        self._windows: dict[int, Future[Window]] = {}  # by number: the current and the next one

    def window(self, step: int) -> Window:
        """The window that contains the iteration after `step` completed ones."""
        number = step // self.length
        self._windows = {
            n: self._windows.get(n) or self._pool.submit(self._gather, n)
            for n in (number, number + 1)
        }
        return self._windows[number].result()

    def _gather(self, number: int) -> Window:
        start, batches = {}, {}
        for stream, count in self._counts.items():
            begin, total = number * self.length * count, self.length * count
            with _on_cpu():  # the accelerator is busy training
                index = np.asarray(
                    _indices(self._roots, stream, begin, total, self._batch_size, len(self._images))
                )
            examples = P(MEMBERS, None, BATCH)
            source = self._images, self._conditions
            batches[stream] = Batch(*put(self._mesh, examples, source, index))
            begins = np.full(len(self._roots), begin, np.int32)
            start[stream] = put(self._mesh, P(MEMBERS), begins)
        return Window(start, batches)


def _on_cpu() -> contextlib.AbstractContextManager[None]:
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # excluded by JAX_PLATFORMS
        return contextlib.nullcontext()


@functools.partial(jax.jit, static_argnames=("stream", "total", "batch_size", "n"))
def _indices(
    roots: jax.Array, stream: Stream, begin: int, total: int, batch_size: int, n: int
) -> jax.Array:
    """Indices (members, total, batch_size) of the examples in minibatches from `begin` on."""

    def one(root: jax.Array, number: jax.Array) -> jax.Array:
        return shuffle.indices(stream_key(root, stream), number, batch_size, n)

    numbers = begin + jnp.arange(total)
    return jax.vmap(lambda root: jax.vmap(functools.partial(one, root))(numbers))(roots)
