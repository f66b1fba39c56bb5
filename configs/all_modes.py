"""A game of ours that covers every mode of the grid.

    python -m gan_jax.main --config=configs/all_modes.py

Relativistic pairing with R1 and R2 (as R3GAN, Huang et al. 2024, https://arxiv.org/abs/2501.05441),
rates that fall to nothing, and an average of G's weights. 20,000 iterations with half the units of
configs/grid.py, where PacGAN's protocol has 400,000: five minutes on one core.
"""

from ml_collections import ConfigDict

from configs import grid


def get_config() -> ConfigDict:
    c = grid.get_config()
    c.loss = "relativistic_pairing"
    c.penalties.r1.weight = 0.1
    c.penalties.r2.weight = 0.1
    c.ema = 0.999
    c.update = "alternating"
    c.num_steps = 20_000
    c.batch_size = 256

    c.generator.widths = (200, 200, 200, 200)
    c.discriminator.pieces = 1
    c.discriminator.activation = "leaky_relu"
    for player in (c.generator, c.discriminator):
        player.initializer = "he_normal"
        player.init_scale = 1.0
    for optimizer in (c.d_optimizer, c.g_optimizer):
        optimizer.learning_rate = 3e-3
        optimizer.b1 = 0.0
        optimizer.b2 = 0.99
        optimizer.schedule = "cosine"
        optimizer.decay_steps = c.num_steps

    c.log_every = c.eval_every = c.sample_every = c.checkpoint_every = 5_000
    return c
