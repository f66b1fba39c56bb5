"""Eight Gaussians on a ring: the protocol of PacGAN's Table 1 (Lin et al. 2018).

    python -m gan_jax.main --config=configs/ring.py
    python -m gan_jax.main --config=configs/ring.py --config.pack=2 --config.batch_size=200

https://arxiv.org/abs/1712.04086, completed by its published code,
https://github.com/fjxmlzn/PacGAN: simultaneous updates, and 100 packs per discriminator minibatch.
It differs in two ways: batch normalisation of G is over all 100 x pack samples, and examples are
drawn without replacement within an epoch.

Time: two hours on one core (estimated). Result: not run to completion.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    initializer = {"initializer": "normal", "init_scale": 0.02}
    optimizer = {"learning_rate": 1e-4, "b1": 0.8}
    return ConfigDict(
        {
            "dataset": "ring",
            "validation_split": "test",
            "update": "simultaneous",
            "num_steps": 400_000,  # 400 epochs of 100,000 points
            "batch_size": 100,  # times pack
            "z_dim": 2,
            "prior": {"name": "normal"},
            "generator": {
                "widths": (400, 400, 400, 400),
                "batch_norm": True,
                "output": "linear",
                **initializer,
            },
            "discriminator": {
                "widths": (200, 200, 200),
                "activation": "linear",
                "pieces": 5,
                **initializer,
            },
            "d_optimizer": optimizer,
            "g_optimizer": optimizer,
            "sample_grid": (50, 50),
            "log_every": 20_000,
            "eval_every": 20_000,
            "sample_every": 20_000,
            "checkpoint_every": 20_000,
            "metrics_every": 1_000,
            "eval_num": 2_500,
            "eval_metrics": ("reverse_kl", "modes_covered", "high_quality"),
        }
    )
