"""Adversarial objectives of a critic on minibatches, independent of any training state."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan_jax.augment import augment
from gan_jax.draws import Batch
from gan_jax.losses import LOSSES
from gan_jax.penalties import PENALTIES
from gan_jax.spec import GANSpec, HParams

# A discriminator on (examples, key for dropout): logits (batch,), or with those of classes
# (batch, 1 + classes), and its updated statistics.
Critic = Callable[[Batch, jax.Array], tuple[jax.Array, Any]]

# Data for fold_in, above those of dropout layers; penalty i folds in _PENALTIES + i.
_INSTANCE_NOISE = 2**31
_PENALTIES = 2**31 + 1
_AUGMENT = 2**31 + 2**30
_MISMATCH = 2**31 + 2**29


class DTerms(NamedTuple):
    """Terms of a discriminator objective, all pre-update."""

    loss: jax.Array  # without penalties
    penalty: jax.Array  # weighted sum of the penalties
    real_logits: jax.Array  # (batch / pack,)
    fake_logits: jax.Array
    stats: Any  # the critic's statistics after the real minibatch


def pack(x: jax.Array, size: int) -> jax.Array:
    """Groups examples, (batch, ...) to (batch / size, size, ...), for a critic of several at once.

    PacGAN, Lin et al. 2018, https://arxiv.org/abs/1712.04086.
    """
    return x if size == 1 else x.reshape(-1, size, *x.shape[1:])


def critic_input(spec: GANSpec, hparams: HParams, batch: Batch, key: jax.Array) -> Batch:
    """Examples as the critic sees them: with instance noise, packed.

    Instance noise: Sonderby et al. 2017, https://arxiv.org/abs/1610.04490.
    """
    x, std = batch.x, hparams["instance_noise"]["std"]
    if std is not None:
        x = x + std * jax.random.normal(jax.random.fold_in(key, _INSTANCE_NOISE), x.shape)
    return Batch(pack(x, spec.pack), None if batch.y is None else pack(batch.y, spec.pack))


def augmented(spec: GANSpec, hparams: HParams, critic: Critic) -> Critic:
    """The critic of augmented examples, so that penalties differentiate through augmentation."""
    if not spec.augment:
        return critic

    def augmented_critic(batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        key_augment = jax.random.fold_in(key, _AUGMENT)
        x = augment(spec.augment, hparams["augment_probability"], key_augment, batch.x)
        return critic(batch._replace(x=x), key)

    return augmented_critic


def _split(output: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """A critic's logits, (batch,), and its logits of classes, (batch, classes), if it has any."""
    return (output, None) if output.ndim == 1 else (output[:, 0], output[:, 1:])


def _classification(hparams: HParams, classes: jax.Array, batch: Batch) -> jax.Array:
    """Weighted cross-entropy of an auxiliary classifier.

    Odena et al. 2017, https://arxiv.org/abs/1610.09585, equation 3: a term of both players' losses.
    """
    errors = optax.softmax_cross_entropy_with_integer_labels(classes, batch.y)
    return hparams["condition"]["weight"] * jnp.mean(errors)


def _penalty(
    spec: GANSpec,
    hparams: HParams,
    step: jax.Array,
    critic: Critic,
    real: Batch,
    fake: Batch,
    key: jax.Array,
) -> jax.Array:
    """Weighted sum of the penalties on the critic's gradient with respect to x."""
    total = jnp.float32(0)
    for i, (name, interval) in enumerate(spec.penalties):
        key_points, key_dropout = jax.random.split(jax.random.fold_in(key, _PENALTIES + i))

        def logits(x: jax.Array, key: jax.Array = key_dropout) -> jax.Array:
            return _split(critic(Batch(x, real.y), key)[0])[0]

        value = functools.partial(PENALTIES[name], logits, real.x, fake.x, key_points)
        # Lazy regularisation, Karras et al. 2020, https://arxiv.org/abs/1912.04958, without their
        # adjustment of Adam. Due in every interval-th iteration.
        due = (step + 1) % interval == 0
        now = jax.lax.cond(due, value, lambda: jnp.float32(0)) if interval > 1 else value()
        total += hparams["penalties"][name]["weight"] * interval * now
    return total


def d_loss(
    spec: GANSpec,
    hparams: HParams,
    step: jax.Array,
    critic: Critic,
    real: Batch,
    fake: Batch,
    key: jax.Array,
) -> tuple[jax.Array, DTerms]:
    """Discriminator objective: adversarial loss, matching-aware term, auxiliary classification,
    label smoothing and penalties.

    Args:
      spec: static structure.
      hparams: traced numbers: label_smoothing, instance_noise, augment_probability, penalties,
        condition.
      step: completed iterations, for lazy penalties.
      critic: the discriminator.
      real: minibatch of data.
      fake: minibatch of generated examples of the same shape.
      key: for instance noise, augmentation, dropout and points of penalties.

    Returns:
      The scalar objective and its terms.
    """
    critic = augmented(spec, hparams, critic)
    key_real, key_fake = jax.random.split(key)
    real = critic_input(spec, hparams, real, key_real)
    fake = critic_input(spec, hparams, fake, key_fake)
    (real_output, stats), (fake_output, _) = critic(real, key_real), critic(fake, key_fake)
    (real_logits, real_classes), (fake_logits, fake_classes) = map(
        _split, (real_output, fake_output)
    )
    loss = LOSSES[spec.loss].d(real_logits, fake_logits)
    mismatch = hparams["condition"]["mismatch"]
    if mismatch is not None and real.y is not None:
        # Matching-aware, Reed et al. 2016, https://arxiv.org/abs/1605.05396: real examples with the
        # captions of others are fakes.
        shifted = real._replace(y=jnp.roll(real.y, 1, axis=0))
        wrong_logits = critic(shifted, jax.random.fold_in(key_real, _MISMATCH))[0]
        loss = (1 - mismatch) * loss + mismatch * LOSSES[spec.loss].d(real_logits, wrong_logits)
    if real_classes is not None and fake_classes is not None:
        loss += _classification(hparams, real_classes, real)
        loss += _classification(hparams, fake_classes, fake)
    if hparams["label_smoothing"] is not None:
        # The cross-entropy with target 1 - s is softplus(-logit) + s logit.
        loss += hparams["label_smoothing"] * jnp.mean(real_logits)
    penalty = _penalty(spec, hparams, step, critic, real, fake, key_real)
    return loss + penalty, DTerms(loss, penalty, real_logits, fake_logits, stats)


def g_loss(
    spec: GANSpec,
    hparams: HParams,
    critic: Critic,
    real: Batch,
    fake: Batch,
    key: jax.Array,
) -> jax.Array:
    """Generator objective: adversarial loss and auxiliary classification.

    Arguments as for `d_loss`. Only relativistic losses depend on `real`.
    """
    critic = augmented(spec, hparams, critic)
    key_real, key_fake = jax.random.split(key)
    (real_logits, _), (fake_logits, classes) = (
        _split(critic(critic_input(spec, hparams, batch, key), key)[0])
        for batch, key in ((real, key_real), (fake, key_fake))
    )
    loss = LOSSES[spec.loss].g(real_logits, fake_logits)
    return loss if classes is None else loss + _classification(hparams, classes, fake)
