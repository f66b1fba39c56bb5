"""MLPs of the 2014 paper's size with later methods, for its Table 1.

    python benchmarks/table1.py --config=configs/mnist_best.py

Relativistic pairing with R1 and R2 (as in R3GAN, Huang et al. 2024,
https://arxiv.org/abs/2501.05441), a batch-normalised generator and its EMA. z_dim and the penalty
weight are the best of configs/sweeps/mnist_best.py on validation images.

Time: 18 minutes on one core. Result (three seeds): Parzen log-likelihood 233.5, FID 0.289.
"""

from ml_collections import ConfigDict

EPOCH = 500  # iterations: 50,000 images in minibatches of 100


def get_config() -> ConfigDict:
    penalty = {"weight": 0.1, "interval": 4}
    optimizer = {"learning_rate": 1e-3, "b1": 0.0, "b2": 0.99}
    return ConfigDict(
        {
            "dataset": "mnist",
            "split": "train[:50000]",
            "validation_split": "train[50000:]",
            "batch_size": 100,
            "num_steps": 40 * EPOCH,
            "loss": "relativistic_pairing",
            "penalties": {"r1": penalty, "r2": penalty},
            "ema": 0.9995,
            "z_dim": 8,
            "prior": {"name": "normal"},
            "generator": {
                "widths": (1200, 1200),
                "activation": "leaky_relu",
                "batch_norm": True,
            },
            "discriminator": {"widths": (600, 600), "activation": "leaky_relu"},
            "d_optimizer": optimizer,
            "g_optimizer": optimizer,
            "log_every": EPOCH,
            "metrics_every": EPOCH,
            "sample_every": 4 * EPOCH,
            "checkpoint_every": 4 * EPOCH,
            "eval_every": 4 * EPOCH,
            "eval_metrics": ("parzen",),
            "keep_best": "parzen",
            "sample_grid": (10, 10),
        }
    )
