"""What do a seed, a loss and k cost? Both losses, three k, and both players' rates.

    python -m gan_jax.sweep --config=configs/mnist.py --sweep=configs/sweeps/losses.py --seeds=8

Every setting has the same discriminator work, 5,000 steps: a quarter of a whole run of k = 1. The
192 members took 46 minutes on two cores, beside other jobs.
"""

from gan_jax import search

_D_STEPS = 5_000


def get_sweep() -> list[search.Setting]:
    rates = [1e-3, 3e-3]
    return [
        {**setting, "num_steps": _D_STEPS // setting["k"]}
        for setting in search.grid(
            {
                "loss": ["minimax", "non_saturating"],
                "k": [1, 2, 5],
                "d_optimizer.learning_rate": rates,
                "g_optimizer.learning_rate": rates,
            }
        )
    ]
