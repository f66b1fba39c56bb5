"""DCGAN (Radford et al. 2016, https://arxiv.org/abs/1511.06434) on MNIST's 28x28 pixels.

python -m gan_jax.main --config=configs/dcgan_mnist.py

Two levels around a map of 7x7, and an averaged generator.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    optimizer = {"learning_rate": 2e-4, "b1": 0.5}
    return ConfigDict(
        {
            "dataset": "mnist",
            "split": "train[:50000]",
            "validation_split": "train[50000:]",
            "batch_size": 64,
            "prior": {"name": "normal"},
            "generator": {"name": "dcgan", "widths": (128, 64)},
            "discriminator": {"name": "dcgan", "widths": (64, 128)},
            "d_optimizer": optimizer,
            "g_optimizer": optimizer,
            "ema": 0.999,
            "eval_every": 2_000,
            "keep_best": "fid",
        }
    )
