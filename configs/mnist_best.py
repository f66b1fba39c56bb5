"""A game of ours with multilayer perceptrons of the 2014 paper's size, for its Table 1.

    python benchmarks/table1.py --config=configs/mnist_best.py

Relativistic pairing with R1 and R2 (as R3GAN, Huang et al. 2024, https://arxiv.org/abs/2501.05441),
a batch-normalised generator from 8 normal numbers, and an average of its weights. Eighteen minutes
a seed on one core; the Parzen-window log-likelihood of three is 233.5 nats. The noise's width and
the penalty's weight are the best of configs/sweeps/mnist_best.py on validation images.
"""

from ml_collections import ConfigDict

from configs import mnist

EPOCH = 500  # iterations: 50,000 images in minibatches of 100


def get_config() -> ConfigDict:
    c = mnist.get_config()
    c.split = "train[:50000]"
    c.validation_split = "train[50000:]"
    c.batch_size = 100
    c.num_steps = 40 * EPOCH
    c.loss = "relativistic_pairing"
    for penalty in (c.penalties.r1, c.penalties.r2):
        penalty.weight = 0.1
        penalty.interval = 4
    c.ema = 0.9995

    c.z_dim = 8
    c.prior.name = "normal"
    c.generator.widths = (1200, 1200)
    c.generator.activation = "leaky_relu"
    c.generator.batch_norm = True
    c.discriminator.widths = (600, 600)
    c.discriminator.activation = "leaky_relu"
    for optimizer in (c.d_optimizer, c.g_optimizer):
        optimizer.learning_rate = 1e-3
        optimizer.b1 = 0.0
        optimizer.b2 = 0.99

    c.log_every = c.metrics_every = EPOCH
    c.sample_every = c.checkpoint_every = c.eval_every = 4 * EPOCH
    c.eval_metrics = ("parzen",)
    c.keep_best = "parzen"
    c.sample_grid = (10, 10)
    return c
