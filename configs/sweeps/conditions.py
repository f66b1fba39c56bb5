"""The ways to condition G and D on labels.

python -m gan_jax.sweep --config=cdcgan_mnist --sweep=conditions --seeds=3
"""

from gan_jax.sweeps import space


def get_sweep() -> list[space.Setting]:
    settings = space.grid(
        {
            "condition.generator": ["concat", "batch_norm"],
            "condition.discriminator": ["concat", "projection", "classifier"],
        }
    )
    weight = {"classifier": 1.0}  # of its loss
    return [
        {**s, "condition.weight": weight.get(s["condition.discriminator"], 0.0)} for s in settings
    ]
