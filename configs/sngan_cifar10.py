"""SNGAN on CIFAR-10, Miyato et al. 2018, https://arxiv.org/abs/1802.05957: the ResNet of table 3.

python -m gan_jax.main --config=configs/sngan_cifar10.py

Hinge loss, five D steps, spectral normalisation.

Time: days on two cores (estimated). Result: not run.
"""

from ml_collections import ConfigDict

NUM_STEPS = 100_000


def get_config() -> ConfigDict:
    optimizer = {"learning_rate": 2e-4, "b1": 0.0, "b2": 0.9}
    return ConfigDict(
        {
            "dataset": "cifar10",
            "validation_split": "test",
            "loss": "hinge",
            "k": 5,
            "num_steps": NUM_STEPS,
            "batch_size": 64,
            "z_dim": 128,
            "prior": {"name": "normal"},
            "generator": {"name": "resnet", "widths": (256, 256, 256)},
            "discriminator": {"name": "resnet", "widths": (128, 128), "blocks": 2},
            "d_optimizer": optimizer,
            "g_optimizer": optimizer,
            "schedules": tuple(
                f"{player}_optimizer.learning_rate=linear:0:{NUM_STEPS}" for player in "dg"
            ),
            "log_every": 1_000,
            "sample_every": 5_000,
            "sample_grid": (8, 8),
            "checkpoint_every": 5_000,
        }
    )
