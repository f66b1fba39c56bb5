"""R3GAN on CIFAR-10, Huang et al. 2024, https://arxiv.org/abs/2501.05441: its published preset.

python -m gan_jax.main --config=configs/r3gan_cifar10.py

Unconditional, and with the augmentations of `gan_jax.augment` instead of ADA's. Hyperparameters
follow cosine schedules over 20 million images.

Time: 32 GPU-days as reported by the authors. Result: not run.
"""

from ml_collections import ConfigDict

NUM_STEPS = 39_063  # 20 million images in minibatches of 512
ENDS = {
    "d_optimizer.learning_rate": 5e-5,
    "g_optimizer.learning_rate": 5e-5,
    "d_optimizer.b2": 0.99,
    "g_optimizer.b2": 0.99,
    "penalties.r1.weight": 0.005,
    "penalties.r2.weight": 0.005,
    "augment_probability": 0.55,
}


def get_config(num_steps: int = NUM_STEPS, batch_size: int = 512) -> ConfigDict:
    images = num_steps * batch_size
    ends = ENDS | {"ema_half_life": 5_000_000 * images / (NUM_STEPS * 512)}
    optimizer = {"learning_rate": 2e-4, "b1": 0.0, "b2": 0.9}
    network = {"name": "r3gan", "widths": (768,) * 4, "blocks": 2, "group_size": 16}
    return ConfigDict(
        {
            "dataset": "cifar10",
            "validation_split": "test",
            "loss": "relativistic_pairing",
            "penalties": {"r1": {"weight": 0.05}, "r2": {"weight": 0.05}},
            "num_steps": num_steps,
            "batch_size": batch_size,
            "z_dim": 64,
            "prior": {"name": "normal"},
            "generator": network,
            "discriminator": network,
            "d_optimizer": optimizer,
            "g_optimizer": optimizer,
            "augment": ("flip", "color", "translation", "cutout"),
            "augment_probability": 0.0,
            "schedules": tuple(f"{field}=cosine:{end}:{num_steps}" for field, end in ends.items()),
            "log_every": 1_000,
            "sample_every": 1_000,
            "sample_grid": (8, 8),
            "checkpoint_every": 1_000,
        }
    )
