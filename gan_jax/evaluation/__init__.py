"""Evaluation: metrics of generated samples, the data they are compared with, and baselines."""
