"""Prints docs/configuration.md."""

from gan_jax.config.markdown import markdown

print(markdown(), end="")
