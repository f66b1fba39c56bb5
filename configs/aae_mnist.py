"""Adversarial autoencoder of Makhzani et al. 2015 (https://arxiv.org/abs/1511.05644) on MNIST.

    python -m gan_jax.main --config=configs/aae_mnist.py

Two hidden layers of 1,000 ReLUs in each network, and a Gaussian prior of 8 dimensions; the paper
trains by SGD with momentum. With --config.prior.name=swiss_roll --config.z_dim=2, the codes
follow a spiral.

Time: 15 minutes on one core. Result (one seed): Parzen log-likelihood 316 (published: 340), FID
3.9.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    network = {"widths": (1000, 1000)}
    return ConfigDict(
        {
            "algorithm": "aae",
            "dataset": "mnist",
            "split": "train[:50000]",
            "validation_split": "train[50000:]",
            "batch_size": 100,
            "z_dim": 8,
            "prior": {"name": "normal"},
            "encoder": network,
            "generator": network | {"output_bias": "data_mean"},
            "discriminator": network,
            "optimizer": {"learning_rate": 3e-4},
            "d_optimizer": {"learning_rate": 3e-4},
            "e_optimizer": {"learning_rate": 3e-4},
            "sample_grid": (10, 10),
        }
    )
