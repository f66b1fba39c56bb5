"""Configs: their fields (schema), how they are read (load) and what they build (build)."""

from gan_jax.config.build import hparams, spec
from gan_jax.config.conflicts import needs_all_data
from gan_jax.config.load import (
    call_from_file,
    changed,
    default,
    differences,
    flatten,
    load,
    override,
    replace,
)

__all__ = [
    "call_from_file",
    "changed",
    "default",
    "differences",
    "flatten",
    "hparams",
    "load",
    "needs_all_data",
    "override",
    "replace",
    "spec",
]
