"""Twenty-five Gaussians on a grid, under the same protocol as configs/ring.py.

python -m gan_jax.main --config=configs/grid.py
"""

from ml_collections import ConfigDict

from configs import ring


def get_config() -> ConfigDict:
    c = ring.get_config()
    c.dataset = "grid"
    return c
