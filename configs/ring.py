"""Eight Gaussians on a ring, under the protocol of PacGAN's Table 1 (Lin et al. 2018).

    python -m gan_jax.main --config=configs/ring.py
    python -m gan_jax.main --config=configs/ring.py --config.pack=2 --config.batch_size=200

https://arxiv.org/abs/1712.04086, with what the paper leaves out from its published code,
https://github.com/fjxmlzn/PacGAN: both players step at once, and the 100 inputs of D in a minibatch
are 100 packs. Two things differ from it: G's batch normalisation is over all 100 x pack samples,
and each epoch has each point once. The whole training takes about two hours on one core.
"""

from ml_collections import ConfigDict

from configs import mnist


def get_config() -> ConfigDict:
    c = mnist.get_config()
    c.dataset = "ring"
    c.validation_split = "test"
    c.update = "simultaneous"
    c.num_steps = 400_000  # 400 epochs of 100,000 points
    c.batch_size = 100  # times pack
    c.z_dim = 2
    c.prior.name = "normal"

    c.generator.widths = (400, 400, 400, 400)
    c.generator.batch_norm = True
    c.generator.output = "linear"
    c.discriminator.widths = (200, 200, 200)
    c.discriminator.activation = "linear"
    c.discriminator.pieces = 5
    for player in (c.generator, c.discriminator):
        player.initializer = "normal"
        player.init_scale = 0.02
    for optimizer in (c.d_optimizer, c.g_optimizer):
        optimizer.learning_rate = 1e-4
        optimizer.b1 = 0.8

    c.sample_grid = (50, 50)  # 2,500 points
    c.log_every = c.eval_every = c.sample_every = c.checkpoint_every = 20_000
    c.metrics_every = 1_000
    c.eval_num = 2_500
    c.eval_metrics = ("reverse_kl", "modes_covered", "high_quality")
    return c
