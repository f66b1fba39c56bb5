"""Which penalty and rate of the game of configs/mnist_best.py are best on validation images.

python -m gan_jax.sweep --config=configs/mnist_best.py --sweep=configs/sweeps/mnist_best.py
"""

from gan_jax import search

STEPS = 3_000


def get_sweep() -> list[search.Setting]:
    return [
        {
            "penalties.r1.weight": gamma,
            "penalties.r2.weight": gamma,
            "d_optimizer.learning_rate": rate,
            "g_optimizer.learning_rate": rate,
            "num_steps": STEPS,
        }
        for gamma in (0.1, 0.3, 1.0)
        for rate in (1e-3, 2e-3)
    ]
