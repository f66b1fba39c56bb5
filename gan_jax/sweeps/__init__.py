"""Sweeps: what is trained (plan), how (population, host), where it lies (shards), what it says."""
