"""The tutorial GAN on MNIST: two MLPs with one hidden layer each, Adam, 20,000 iterations.

    python -m gan_jax.main --config=configs/mnist.py

This is the base of every other config: each field that a run has stands here, with what it means.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()

    # What a run can be repeated from.
    c.seed = 0  # the root of every random draw, 0 to 2^32 - 1
    c.accelerator = "auto"  # auto (the best that JAX finds), cpu, gpu or tpu
    c.deterministic = True  # on a GPU, only XLA operations that give the same bits every time

    # Data.
    c.dataset = "mnist"  # a TFDS name, digits, a mixture, folder:DIR, npz:FILE or npy:FILE
    c.split = "train"  # a split or a slice of one, such as train[:50000]
    c.validation_split = "train"  # what training is evaluated on, see eval_every
    c.test_split = "test"  # what gan_jax.evaluate compares with
    c.image_size = 0  # pixels a side to resize to; 0 leaves images as they are

    # Algorithm 1.
    c.loss = "non_saturating"  # the game: a key of LOSSES in gan_jax/losses.py
    c.k = 1  # discriminator steps per generator step
    c.update = "alternating"  # D's steps, then G's; or unrolled, or both at once: simultaneous,
    # optimistic, extragradient or consensus, see gan_jax/updates.py
    c.unrolled_steps = 0  # unrolled: D's steps that G's step looks ahead
    c.consensus = 0.0  # consensus: the weight of the pull to where neither would move
    c.num_steps = 20_000  # iterations, each k discriminator steps and one generator step
    c.batch_size = 128  # examples, and noise vectors, in a minibatch
    c.z_dim = 100  # components of the noise z
    c.prior = ConfigDict()
    c.prior.name = "uniform"  # uniform on [low, high), or normal (mean 0, variance 1)
    c.prior.low = -1.0  # uniform: lower end
    c.prior.high = 1.0  # uniform: upper end

    # The players.
    c.generator = ConfigDict()
    c.generator.widths = (128,)  # units of each hidden layer, first to last
    c.generator.activation = "relu"  # relu, leaky_relu (slope 0.2), tanh or linear
    c.generator.pieces = 1  # affine functions whose largest a hidden unit takes; maxout above 1
    c.generator.output = "sigmoid"  # sigmoid ([0, 1], as images are) or linear
    c.generator.output_bias = "zero"  # zero, or data_mean: G starts around the mean example
    c.generator.initializer = "he_normal"  # he_normal (scale / sqrt(fan_in / 2)), uniform, normal
    c.generator.init_scale = 1.0  # multiplies he_normal; half-width of uniform; std of normal
    c.generator.batch_norm = False  # of the hidden layers
    c.generator.monotone = False  # a rising function of one number; of the rest only widths counts
    c.discriminator = ConfigDict()
    c.discriminator.widths = (128,)
    c.discriminator.activation = "relu"
    c.discriminator.pieces = 1
    c.discriminator.initializer = "he_normal"
    c.discriminator.init_scale = 1.0
    c.discriminator.input_dropout = 0.0  # share of the pixels that D does not see, in G's step too
    c.discriminator.dropout = 0.0  # share of each hidden layer's units
    c.discriminator.spectral_norm = False  # weight matrices divided by their largest singular value
    c.pack = 1  # examples that D judges together, all real or all generated (PacGAN)

    # The optimizers, one for each player.
    c.d_optimizer = ConfigDict()
    c.d_optimizer.name = "adam"  # sgd, momentum, adam or rmsprop
    c.d_optimizer.learning_rate = 1e-3  # at the start of the schedule
    c.d_optimizer.b1 = 0.9  # adam: first-moment decay; momentum: the momentum
    c.d_optimizer.b2 = 0.999  # adam, rmsprop: second-moment decay
    c.d_optimizer.eps = 1e-8  # adam, rmsprop: added to the root of the second moment
    c.d_optimizer.schedule = "constant"  # of the rate: constant, linear, cosine or exponential
    c.d_optimizer.decay_steps = 20_000  # linear, cosine: iterations; exponential: to one decay_rate
    c.d_optimizer.decay_rate = 1.0  # exponential: factor of the rate every decay_steps
    c.d_optimizer.end_learning_rate = 0.0  # the rate where the schedule ends, its floor
    c.d_optimizer.b1_steps = 0  # iterations in which b1 goes to end_b1, on a line; 0: it stays
    c.d_optimizer.end_b1 = 0.0  # b1 from then on
    c.g_optimizer = c.d_optimizer.copy_and_resolve_references()

    # What was added to the game since. Where a number is 0 the program has nothing of it.
    c.penalties = ConfigDict()  # on D's gradient with respect to its input: gan_jax/penalties.py
    for name in ("gradient_penalty", "r1", "r2", "dragan"):
        c.penalties[name] = ConfigDict()
        c.penalties[name].weight = 0.0  # of its term in D's loss; 0: without it
        c.penalties[name].interval = 1  # iterations from one to the next, which then weighs as much
    c.label_smoothing = 0.0  # one-sided (Salimans et al. 2016): D's target for data is 1 minus this
    c.instance_noise = ConfigDict()
    c.instance_noise.std = 0.0  # of Gaussian noise added to whatever D sees
    c.instance_noise.steps = 0  # iterations in which it fades to nothing, on a line; 0: it stays
    c.weight_clip = 0.0  # wasserstein: D's parameters stay within plus and minus this
    c.ema = 0.0  # decay of an average of G's weights, which samples and scores then come from

    # What is written and when, in iterations; none of it changes what is trained.
    c.log_every = 2_000  # between printed lines
    c.metrics_every = 100  # between lines of metrics.jsonl
    c.sample_every = 2_000  # between sample grids
    c.sample_grid = (4, 4)  # rows and columns of a sample grid
    c.checkpoint_every = 2_000  # between checkpoints
    c.keep_checkpoints = 3  # how many of the newest are kept
    c.eval_every = 0  # between evaluations, each with a checkpoint; 0: none
    c.eval_num = 10_000  # samples of an evaluation
    c.eval_metrics = ("fid",)  # what it measures, into metrics.jsonl: see gan_jax/scores.py
    c.keep_best = "none"  # one of these, or a loss: the checkpoint of its best is kept too
    c.tensorboard = False  # also write TensorBoard scalars and images (extra: tensorboard)
    return c
