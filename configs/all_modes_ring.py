"""configs/all_modes.py on the ring, for half as many iterations.

python -m gan_jax.main --config=configs/all_modes_ring.py
"""

from ml_collections import ConfigDict

from gan_jax.configs import all_modes


def get_config() -> ConfigDict:
    c = all_modes.get_config(num_steps=10_000)
    c.dataset = "ring"
    return c
