"""Seeds only: the run-to-run variance of a config.

python -m gan_jax.sweep --config=all_modes --sweep=seeds --seeds=10
"""

from gan_jax.sweeps import space


def get_sweep() -> list[space.Setting]:
    return [{}]
