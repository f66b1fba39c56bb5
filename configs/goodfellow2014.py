"""The MNIST experiment of Goodfellow et al. 2014 (https://arxiv.org/abs/1406.2661), Table 1.

    python -m gan_jax.main --config=configs/goodfellow2014.py

Settings that the paper omits are those of its published code, mnist.yaml of
https://github.com/goodfeli/adversarial, with uniform noise. It updates both players
simultaneously; --config.update=alternating is Algorithm 1 as printed. Momentum rises per iteration
here, per epoch there. The code sets no number of epochs: the checkpoint is chosen by the
Parzen-window log-likelihood of validation images.

Time: 80 minutes on one core. Result (one seed): Parzen log-likelihood 179.8 (published: 225).
"""

from ml_collections import ConfigDict

EPOCH = 500  # iterations: 50,000 images in minibatches of 100


def get_config() -> ConfigDict:
    optimizer = {
        "name": "momentum",
        "learning_rate": 0.1,
        "b1": 0.5,
    }
    # 0.1 / 1.000004^t, at least 1e-6. Float32 holds 1 / 1.000004 only to 1 % of its distance from
    # 1, but the same decay per 250,000 iterations accurately.
    decay = f"250000:{1.000004**-250_000}"
    momentum = f"b1=linear:0.7:{249 * EPOCH}"  # from epoch 1 to epoch 250
    schedules = (
        f"d_optimizer.learning_rate=exponential:5e-07:{decay}",
        f"d_optimizer.{momentum}",
        f"g_optimizer.learning_rate=exponential:1e-06:{decay}",
        f"g_optimizer.{momentum}",
    )
    return ConfigDict(
        {
            "dataset": "mnist",
            "split": "train[:50000]",
            "validation_split": "train[50000:]",
            "batch_size": 100,
            "num_steps": 200 * EPOCH,
            "update": "simultaneous",
            "prior": {"low": -(3**0.5), "high": 3**0.5},  # unit variance
            "generator": {
                "widths": (1200, 1200),
                "initializer": "uniform",
                "init_scale": 0.05,
                "output_bias": "data_mean",
            },
            "discriminator": {
                "widths": (240, 240),
                "activation": "linear",
                "pieces": 5,
                "initializer": "uniform",
                "init_scale": 0.005,
                "input_dropout": 0.2,
                "dropout": 0.5,
            },
            # The published code halves D's loss; halving its learning rate instead takes the same
            # SGD steps, bit for bit.
            "d_optimizer": optimizer | {"learning_rate": 0.1 / 2},
            "g_optimizer": optimizer,
            "schedules": schedules,
            "log_every": EPOCH,
            "metrics_every": EPOCH,
            "sample_every": 10 * EPOCH,
            "checkpoint_every": 10 * EPOCH,
            "eval_every": 10 * EPOCH,
            "eval_metrics": ("parzen",),
            "keep_best": "parzen",
            "sample_grid": (10, 10),
        }
    )
