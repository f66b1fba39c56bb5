"""A small R3GAN on CIFAR-10: configs/r3gan_cifar10.py at the scale of configs/dcgan_cifar10.py.

python -m gan_jax.main --config=configs/r3gan_cifar10_small.py

A twelfth of the published widths, one residual block per stage and minibatches of 64. The schedules
end with the run. --config.augment="()" trains without augmentation.

Time: not measured. Result: not scored.
"""

from ml_collections import ConfigDict

from gan_jax.configs import r3gan_cifar10


def get_config(num_steps: int = 15_000) -> ConfigDict:
    c = r3gan_cifar10.get_config(num_steps, batch_size=64)
    network = {"widths": (64,) * 4, "blocks": 1}
    c.update({"generator": network, "discriminator": network})
    return c
