"""The game of configs/all_modes.py on the ring, which takes half the iterations.

python -m gan_jax.main --config=configs/all_modes_ring.py
"""

from ml_collections import ConfigDict

from configs import all_modes


def get_config() -> ConfigDict:
    c = all_modes.get_config()
    c.dataset = "ring"
    c.num_steps = 10_000
    for optimizer in (c.d_optimizer, c.g_optimizer):
        optimizer.decay_steps = c.num_steps
    return c
