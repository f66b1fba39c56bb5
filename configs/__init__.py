"""Experiments, one per file; installed as the package gan_jax.configs."""
