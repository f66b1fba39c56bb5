"""Prints docs/configuration.md."""

from gan_jax.config.schema import markdown

print(markdown(), end="")
