"""Loss x k x learning rates of both players, at equal discriminator work.

    python -m gan_jax.sweep --config=mnist --sweep=losses --seeds=8

Every setting takes 5,000 discriminator steps, a quarter of a full k = 1 run. The 192 members took
46 minutes on two shared cores.
"""

from gan_jax.sweeps import space

_D_STEPS = 5_000


def get_sweep() -> list[space.Setting]:
    learning_rates = [1e-3, 3e-3]
    settings = space.grid(
        {
            "loss": ["minimax", "non_saturating"],
            "k": [1, 2, 5],
            "d_optimizer.learning_rate": learning_rates,
            "g_optimizer.learning_rate": learning_rates,
        }
    )
    return [{**setting, "num_steps": _D_STEPS // setting["k"]} for setting in settings]
