"""A conditional convolutional GAN on MNIST.

    python -m gan_jax.main --config=configs/cdcgan_mnist.py

The game of configs/dcgan_mnist.py with labels: concatenated in G (Mirza and Osindero 2014,
https://arxiv.org/abs/1411.1784), by projection in D (Miyato and Koyama 2018,
https://arxiv.org/abs/1802.05637). One seed took 20 minutes on one core: FID 0.139, label
accuracy 98.9 %.
"""

from ml_collections import ConfigDict

from gan_jax.configs import dcgan_mnist


def get_config() -> ConfigDict:
    config = dcgan_mnist.get_config(num_steps=6_000)
    config.update(
        {
            "condition": {"on": "label", "discriminator": "projection"},
            "sample_grid": (10, 10),
        }
    )
    return config
