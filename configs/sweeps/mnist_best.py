"""How much noise and how heavy a penalty are best for configs/mnist_best.py, on validation images.

python -m gan_jax.sweep --config=configs/mnist_best.py --sweep=configs/sweeps/mnist_best.py
"""

from gan_jax import search

STEPS = 3_000


def get_sweep() -> list[search.Setting]:
    return [
        {
            "z_dim": z_dim,
            "penalties.r1.weight": gamma,
            "penalties.r2.weight": gamma,
            "num_steps": STEPS,
        }
        for z_dim in (4, 8, 16)
        for gamma in (0.1, 0.3, 1.0)
    ]
