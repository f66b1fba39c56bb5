"""The tutorial GAN on scikit-learn's 8x8 handwritten digits, which need no download.

python -m gan_jax.main --config=configs/digits.py

Time: 20 seconds on one core. Result: legible digits; not scored.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({"dataset": "digits", "z_dim": 32, "sample_grid": (8, 8)})
