"""Sweeps: many settings of one config, each with several seeds."""
