"""Semi-supervised adversarial autoencoder on MNIST, from 100 labels.

    python -m gan_jax.main --config=configs/aae_mnist_semi.py

Makhzani et al. 2015 (https://arxiv.org/abs/1511.05644), section 5: codes of ten classes and ten
Gaussian dimensions. --config.num_labelled=1000 learns from 1,000 labels, and
--config.num_categories=16 --config.num_labelled=0 finds 16 clusters (section 6).
`python -m gan_jax.evaluate` prints the error.

Time: 15 minutes on one core. Result (three seeds): errors of 10.9 % from 100 labels and 3.9 % from
1,000.
"""

from ml_collections import ConfigDict

from gan_jax.configs import aae_mnist


def get_config() -> ConfigDict:
    c = aae_mnist.get_config()
    c.encoder = ConfigDict({"widths": (1000, 1000), "batch_norm": True})
    c.update({"z_dim": 10, "num_categories": 10, "num_labelled": 100, "num_steps": 10_000})
    return c
