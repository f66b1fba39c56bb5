"""Nothing but seeds: how far runs of one config differ.

python -m gan_jax.sweep --config=configs/all_modes.py --sweep=configs/sweeps/seeds.py --seeds=10
"""

from gan_jax import search


def get_sweep() -> list[search.Setting]:
    return [{}]
