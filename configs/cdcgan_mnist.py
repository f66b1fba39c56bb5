"""A conditional convolutional GAN on MNIST: digits of the class that is asked for.

    python -m gan_jax.main --config=configs/cdcgan_mnist.py

The game of configs/dcgan_mnist.py with labels: concatenated in G (Mirza and Osindero 2014,
https://arxiv.org/abs/1411.1784), by projection in D (Miyato and Koyama 2018,
https://arxiv.org/abs/1802.05637).
"""

from ml_collections import ConfigDict

from gan_jax.configs import dcgan_mnist


def get_config() -> ConfigDict:
    config = dcgan_mnist.get_config()
    config.update(
        {
            "condition": {"on": "label", "discriminator": "projection"},
            "eval_metrics": ("fid", "label_accuracy"),
            "sample_grid": (10, 10),
        }
    )
    return config
