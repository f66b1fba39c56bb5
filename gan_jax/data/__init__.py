"""Data sets as arrays: `load` is all that most callers need."""

from gan_jax.data.cache import cache_dir, read_cache_file, write_cache_file
from gan_jax.data.dataset import Captions, Dataset, SplitError, from_arrays, num_classes, select
from gan_jax.data.load import load, overlap

__all__ = [
    "Captions",
    "Dataset",
    "SplitError",
    "cache_dir",
    "from_arrays",
    "load",
    "num_classes",
    "overlap",
    "read_cache_file",
    "select",
    "write_cache_file",
]
