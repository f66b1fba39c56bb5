"""Configs: their fields (schema), how they are read (load) and what they build (build)."""

from gan_jax.config.build import hparams, spec
from gan_jax.config.load import call, default, differences, flatten, load, override, replace
from gan_jax.config.schema import needs_mean

__all__ = [
    "call",
    "default",
    "differences",
    "flatten",
    "hparams",
    "load",
    "needs_mean",
    "override",
    "replace",
    "spec",
]
