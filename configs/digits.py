"""The tutorial GAN on scikit-learn's 8x8 handwritten digits: no download.

python -m gan_jax.main --config=configs/digits.py
"""

from ml_collections import ConfigDict

from configs import mnist


def get_config() -> ConfigDict:
    c = mnist.get_config()
    c.dataset = "digits"
    c.z_dim = 32
    c.sample_grid = (8, 8)
    return c
