"""Two Gaussians on a line, and a G whose density is known: the paper's figure 1, computed.

    python -m gan_jax.main --config=configs/gaussian1d.py

metrics.jsonl has V(G, D), V(G, D*), the Jensen-Shannon divergence and D's distance from D* (v,
v_best, jsd, d_gap), and samples.gif is figure 1 as it moves. Takes 20 seconds on two cores.
"""

from ml_collections import ConfigDict

from configs import mnist


def get_config() -> ConfigDict:
    c = mnist.get_config()
    c.dataset = "gaussian1d"
    c.validation_split = "test"
    c.loss = "minimax"
    c.k = 5
    c.num_steps = 3_000
    c.batch_size = 512
    c.z_dim = 1
    c.prior.name = "normal"
    c.generator.monotone = True
    c.generator.widths = (16,)
    c.generator.output = "linear"
    c.discriminator.widths = (32, 32)
    c.discriminator.activation = "tanh"
    for optimizer in (c.d_optimizer, c.g_optimizer):
        optimizer.learning_rate = 5e-3
        optimizer.b1 = 0.5
        optimizer.schedule = "cosine"
        optimizer.decay_steps = c.num_steps
    c.log_every = 300
    c.metrics_every = 20
    c.sample_every = 100
    c.checkpoint_every = 1_000
    return c
