"""Definition of a model: static structure, compiled once, and traced hyperparameters."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gan_jax.networks import Network

# Traced numbers, nested by config field name: hparams["d_optimizer"]["learning_rate"]. A disabled
# option is None, which is pytree structure: it is compiled out, and enabling it recompiles.
HParams = Mapping[str, Any]


class Prior(NamedTuple):
    """Distribution of the latent z."""

    # "uniform" on [low, high) or "normal" with mean 0 and variance 1, independent in each
    # component; in two dimensions "mixture" or "swiss_roll", see `draws.noise`.
    name: str
    low: float = -1.0
    high: float = 1.0


class Schedule(NamedTuple):
    """How a traced hyperparameter moves from its configured value; hashable."""

    field: str  # config field
    kind: str  # key of schedules.KINDS
    end: float  # final value; exponential: lower bound
    steps: int  # iterations until `end`; exponential: per factor of `rate`
    rate: float = 1.0  # exponential


class GANSpec(NamedTuple):
    """Static structure of a GAN; hashable, compiled once per value."""

    loss: str  # key of losses.LOSSES
    k: int  # discriminator steps per iteration
    update: str  # "alternating" (Algorithm 1), "unrolled", or a key of updates.UPDATES
    batch_size: int
    z_dim: int
    prior: Prior
    generator: Network
    discriminator: Network
    d_optimizer: str  # key of optimizers.OPTIMIZERS
    g_optimizer: str
    pack: int = 1  # examples per discriminator input
    unrolled_steps: int = 0  # discriminator steps that an unrolled generator step looks ahead
    penalties: tuple[tuple[str, int], ...] = ()  # (key of penalties.PENALTIES, interval)
    augment: tuple[str, ...] = ()  # keys of augment.AUGMENTATIONS
    adaptive: bool = False  # augment with a probability adapted to overfitting
    schedules: tuple[Schedule, ...] = ()
    classes: int = 0  # of labels that condition both networks; 0 for none
    text: int = 0  # dimension of text embeddings that do so; 0 for none
    pixel_low: float = 0.0  # uint8 images are trained on as floats from here to 1
    algorithm: str = "gan"  # key of algorithms.ALGORITHMS

    @property
    def example_shape(self) -> tuple[int, ...]:
        return self.generator.out_shape


class AutoencoderSpec(NamedTuple):
    """Static structure of an autoencoder; hashable, compiled once per value."""

    batch_size: int
    z_dim: int
    prior: Prior
    generator: Network  # from codes to examples: the decoder
    encoder: Network
    optimizer: str  # key of optimizers.OPTIMIZERS, of both networks
    likelihood: str  # p(x | z): "bernoulli" or "gaussian"
    # Adversarial ones only:
    discriminator: Network | None = None  # of codes
    loss: str = ""  # key of losses.LOSSES
    d_optimizer: str = ""
    e_optimizer: str = ""  # of the encoder's adversarial steps
    infers_classes: bool = False  # the encoder infers what conditions the generator
    num_labelled: int = 0  # first examples of the data set, whose labels it may use for that
    schedules: tuple[Schedule, ...] = ()
    classes: int = 0
    text: int = 0
    pixel_low: float = 0.0
    algorithm: str = "autoencoder"

    @property
    def example_shape(self) -> tuple[int, ...]:
        return self.generator.out_shape


class RBMSpec(NamedTuple):
    """Static structure of a restricted Boltzmann machine; hashable, compiled once per value."""

    k: int  # Gibbs steps per iteration
    persistent: bool  # chains go on across iterations
    sample_steps: int  # Gibbs steps per sample
    batch_size: int
    z_dim: int  # hidden units
    prior: Prior
    optimizer: str  # key of optimizers.OPTIMIZERS
    example_shape: tuple[int, ...]
    schedules: tuple[Schedule, ...] = ()
    classes: int = 0
    text: int = 0
    pixel_low: float = 0.0
    algorithm: str = "rbm"


Spec = GANSpec | AutoencoderSpec | RBMSpec
