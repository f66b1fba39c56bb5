"""Variational autoencoder of Kingma and Welling 2014 (https://arxiv.org/abs/1312.6114) on MNIST.

    python -m gan_jax.main --config=configs/vae_mnist.py

Perceptrons of one hidden layer, with ReLUs and Adam; the paper has tanh and Adagrad. Pixels are
taken as probabilities (likelihood "bernoulli").

Time: 3 minutes on one core. Result (one seed): ELBO -102.3 nats, Parzen log-likelihood 197, FID
10.8.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "algorithm": "vae",
            "dataset": "mnist",
            "split": "train[:50000]",
            "validation_split": "train[50000:]",
            "z_dim": 20,
            "prior": {"name": "normal"},
            "encoder": {"widths": (500,)},
            "generator": {"widths": (500,), "output_bias": "data_mean"},
            "sample_grid": (10, 10),
        }
    )
