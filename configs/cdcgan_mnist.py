"""A conditional convolutional GAN on MNIST.

    python -m gan_jax.main --config=configs/cdcgan_mnist.py

The objective of configs/dcgan_mnist.py with labels: concatenated in G (Mirza and Osindero 2014,
https://arxiv.org/abs/1411.1784), as targets of a classifier in D (Odena et al. 2017,
https://arxiv.org/abs/1610.09585).

Time: half an hour on one core. Result (one seed): FID 0.133, label accuracy 99.6 %.
"""

from ml_collections import ConfigDict

from gan_jax.configs import dcgan_mnist


def get_config() -> ConfigDict:
    config = dcgan_mnist.get_config(num_steps=9_000)
    config.update(
        {
            "condition": {"on": "label", "discriminator": "classifier", "weight": 0.2},
            "sample_grid": (10, 10),
        }
    )
    return config
