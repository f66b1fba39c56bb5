"""The MNIST experiment of Goodfellow et al. 2014 (https://arxiv.org/abs/1406.2661), Table 1.

    python -m gan_jax.main --config=configs/goodfellow2014.py

The settings that the paper leaves out are those of its published code, mnist.yaml of
https://github.com/goodfeli/adversarial as of commit f77a509 (a later one drops `noise: uniform`,
which makes the noise Gaussian); momentum rises every iteration here, every epoch there. The paper
does not say how long it trained: the epoch is chosen by the Parzen-window log-likelihood of
validation images.
"""

from ml_collections import ConfigDict

from configs import mnist

EPOCH = 500  # iterations: 50,000 images in minibatches of 100


def get_config() -> ConfigDict:
    c = mnist.get_config()
    c.split = "train[:50000]"
    c.validation_split = "train[50000:]"
    c.batch_size = 100
    c.num_steps = 200 * EPOCH  # about an hour on two cores; it still rises, slowly
    # Its code takes both gradients at once; Algorithm 1 as printed is --config.update=alternating.
    c.update = "simultaneous"

    c.prior.low, c.prior.high = -(3**0.5), 3**0.5  # variance 1
    c.generator.widths = (1200, 1200)
    c.generator.initializer = "uniform"
    c.generator.init_scale = 0.05
    c.generator.output_bias = "data_mean"
    c.discriminator.widths = (240, 240)
    c.discriminator.activation = "linear"
    c.discriminator.pieces = 5
    c.discriminator.initializer = "uniform"
    c.discriminator.init_scale = 0.005
    c.discriminator.input_dropout = 0.2
    c.discriminator.dropout = 0.5

    for optimizer in (c.d_optimizer, c.g_optimizer):
        optimizer.name = "momentum"
        optimizer.learning_rate = 0.1
        optimizer.schedule = "exponential"  # 0.1 / 1.000004^t, not below 1e-6
        optimizer.decay_steps = 250_000
        optimizer.decay_rate = 1.000004**-250_000
        optimizer.end_learning_rate = 1e-6
        optimizer.b1 = 0.5  # to 0.7, on a line from the first epoch to the 250th
        optimizer.end_b1 = 0.7
        optimizer.b1_steps = 249 * EPOCH
    # D's loss is half the sum of the two cross-entropies; ours is the sum, at half the rate: SGD
    # makes the same steps, bit for bit.
    c.d_optimizer.learning_rate /= 2
    c.d_optimizer.end_learning_rate /= 2

    c.log_every = c.metrics_every = EPOCH
    c.sample_every = c.checkpoint_every = c.eval_every = 10 * EPOCH
    c.eval_metrics = ("parzen",)
    c.keep_best = "parzen"
    c.sample_grid = (10, 10)
    return c
