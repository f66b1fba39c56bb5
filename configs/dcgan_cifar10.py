"""DCGAN (Radford et al. 2016, https://arxiv.org/abs/1511.06434) on CIFAR-10.

python -m gan_jax.main --config=configs/dcgan_cifar10.py

The usual variant for 32x32 pixels, with its learning rates and an EMA generator.

Time: an hour on two cores. Result (one seed): EfficientNet FID 36.0.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    optimizer = {"learning_rate": 2e-4, "b1": 0.5}
    return ConfigDict(
        {
            "dataset": "cifar10",
            "validation_split": "test",
            "num_steps": 15_000,
            "batch_size": 64,
            "prior": {"name": "normal"},
            "generator": {"name": "dcgan", "widths": (256, 128, 64)},
            "discriminator": {"name": "dcgan", "widths": (64, 128, 256)},
            "d_optimizer": optimizer,
            "g_optimizer": optimizer,
            "ema": 0.999,
            "log_every": 500,
            "sample_every": 1_000,
            "sample_grid": (8, 8),
            "checkpoint_every": 1_000,
        }
    )
