"""Latent dimension and R1 + R2 weight of configs/mnist_best.py, selected on validation images.

python -m gan_jax.sweep --config=mnist_best --sweep=mnist_best
"""

from gan_jax.sweeps import space


def get_sweep() -> list[space.Setting]:
    return [
        {
            "z_dim": z_dim,
            "penalties.r1.weight": gamma,
            "penalties.r2.weight": gamma,
            "num_steps": 3_000,
        }
        for z_dim in (4, 8, 16)
        for gamma in (0.1, 0.3, 1.0)
    ]
