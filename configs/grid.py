"""Twenty-five Gaussians on a grid, by the protocol of configs/ring.py.

python -m gan_jax.main --config=configs/grid.py

Time: two hours on one core (estimated). Result: not run to completion.
"""

from ml_collections import ConfigDict

from gan_jax.configs import ring


def get_config() -> ConfigDict:
    c = ring.get_config()
    c.dataset = "grid"
    return c
