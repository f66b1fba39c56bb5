"""Two Gaussians on a line and a monotone G with a known density: the paper's figure 1, computed.

    python -m gan_jax.main --config=configs/gaussian1d.py

metrics.jsonl has V(G, D), V(G, D*), the Jensen-Shannon divergence and the distance of D from D* (v,
v_best, jsd, d_gap); samples.gif animates figure 1.

Time: 20 seconds on two cores. Result: D stays close to D*, see docs/theory.md.
"""

from ml_collections import ConfigDict

NUM_STEPS = 3_000


def get_config() -> ConfigDict:
    optimizer = {
        "learning_rate": 5e-3,
        "b1": 0.5,
    }
    return ConfigDict(
        {
            "dataset": "gaussian1d",
            "validation_split": "test",
            "loss": "minimax",
            "k": 5,
            "num_steps": NUM_STEPS,
            "batch_size": 512,
            "z_dim": 1,
            "prior": {"name": "normal"},
            "generator": {"name": "monotone", "units": 16},
            "discriminator": {"widths": (32, 32), "activation": "tanh"},
            "d_optimizer": optimizer,
            "g_optimizer": optimizer,
            "schedules": tuple(
                f"{player}_optimizer.learning_rate=cosine:0:{NUM_STEPS}" for player in "dg"
            ),
            "log_every": 300,
            "metrics_every": 20,
            "sample_every": 100,
            "checkpoint_every": 1_000,
        }
    )
