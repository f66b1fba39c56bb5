"""Tests of gan_jax.objectives with critics whose logits are known: linear, tables, noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import objectives
from gan_jax.draws import Batch
from gan_jax.losses import CROSS_ENTROPY
from gan_jax.spec import GANSpec
from tests.conftest import make_hparams, make_spec

BATCH = 8
KEY = jax.random.key(7)
W = np.array([3.0, 0.0, -4.0])  # of norm 5
REAL, FAKE = (Batch(jnp.float32(x)) for x in np.random.default_rng(2).normal(size=(2, BATCH, 3)))
ZEROS = Batch(jnp.zeros((BATCH, 3)))
CLOSE = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6)


wasserstein = functools.partial(make_spec, loss="wasserstein")
d_loss, g_loss = (
    jax.jit(loss, static_argnames=("spec", "critic"))
    for loss in (objectives.d_loss, objectives.g_loss)
)


def linear(w):
    """A critic with logits w x; its statistics are the mean example."""
    return lambda batch, key: (batch.x.reshape(len(batch.x), -1) @ w, batch.x.mean(axis=0))


@functools.partial(jax.jit, static_argnames="spec")
def evaluate(spec: GANSpec, hparams, real=REAL, fake=FAKE, step=0, key=KEY, w=W):
    """d_loss, its gradient with respect to w, its terms, and g_loss."""
    w = jnp.float32(w)

    def objective(w):
        return objectives.d_loss(spec, hparams, step, linear(w), real, fake, key)

    (value, terms), grad = jax.value_and_grad(objective, has_aux=True)(w)
    g = objectives.g_loss(spec, hparams, linear(w), real, fake, key)
    return value, grad, terms, g


def test_terms_of_a_relativistic_loss():
    # Both terms depend on the real examples, unlike with most losses.
    value, grad, terms, g = evaluate(make_spec(loss="relativistic_pairing"), make_hparams())
    gap = np.float64(REAL.x - FAKE.x) @ W
    CLOSE(value, np.mean(np.logaddexp(0, -gap)))
    CLOSE(grad, -np.mean(np.exp(-np.logaddexp(0, gap))[:, None] * (REAL.x - FAKE.x), axis=0))
    CLOSE(g, np.mean(np.logaddexp(0, gap)))
    CLOSE(terms.loss, value)
    assert terms.penalty == 0
    CLOSE(terms.real_logits, REAL.x @ W)
    CLOSE(terms.fake_logits, FAKE.x @ W)
    CLOSE(terms.stats, REAL.x.mean(axis=0))


@pytest.mark.parametrize("loss", CROSS_ENTROPY)
def test_label_smoothing_is_one_sided(loss):
    # Examples are one-hot, so that a linear critic is a table of logits.
    p, q, s = np.array([5, 2, 1]) / 8, np.array([1, 3, 4]) / 8, 0.2
    real, fake = (Batch(jnp.eye(3)[np.repeat(np.arange(3), np.int32(8 * r))]) for r in (p, q))
    # There the derivative of p ((1 - s) softplus(-v) + s softplus(v)) + q softplus(v) is 0.
    best = np.log((1 - s) * p / (s * p + q))
    hparams = make_hparams({"label_smoothing": s})
    value, grad, terms, _ = evaluate(make_spec(loss=loss), hparams, real, fake, w=best)
    log_d, log_not_d = -np.logaddexp(0, -best), -np.logaddexp(0, best)
    CLOSE(value, -p @ ((1 - s) * log_d + s * log_not_d) - q @ log_not_d)
    CLOSE(terms.loss, value)
    CLOSE(grad, 0)


def test_scale_and_independence_of_instance_noise():
    std, n = 0.5, 2000
    hparams = make_hparams({"instance_noise.std": std})

    @jax.vmap
    def logits(key):
        """Mean logits on real and on fake zeros, and the generator's loss."""
        _, _, terms, g = evaluate(wasserstein(), hparams, ZEROS, ZEROS, 0, key)
        return terms.real_logits.mean(), terms.fake_logits.mean(), g

    real, fake, g = jax.jit(logits)(jax.random.split(KEY, n))
    size = std * np.linalg.norm(W) / np.sqrt(BATCH)
    for x in (real, fake):
        np.testing.assert_allclose(np.std(x), size, rtol=5 / np.sqrt(2 * n))
        np.testing.assert_allclose(np.mean(x), 0, atol=5 * size / np.sqrt(n))
    CLOSE(g, -fake)  # with one key, D and G see the same noise on the fakes
    assert abs(np.corrcoef(real, fake)[0, 1]) < 5 / np.sqrt(
        n
    )  # but independent noise on real examples


def test_g_loss_sees_noise_on_real_examples():
    # Both sides are noise alone: softplus(r - f) - softplus(f - r) = r - f.
    hparams = make_hparams({"instance_noise.std": 0.5})
    d, _, terms, g = evaluate(make_spec(loss="relativistic_pairing"), hparams, ZEROS, ZEROS)
    gap = np.mean(terms.real_logits - terms.fake_logits)
    assert abs(gap) > 0.1
    CLOSE(g - d, gap, rtol=1e-4)


def test_packing():
    w = jnp.array([1.0, -2.0, 0.5, 0.3, 1.5, -1.0])

    def critic(batch, key):
        assert (batch.x.shape, batch.y.shape) == ((BATCH // 2, 2, 3), (BATCH // 2, 2))
        np.testing.assert_array_equal(batch.y[1], [2, 3])
        return batch.x.reshape(-1, 6) @ w, None

    real, fake = (Batch(batch.x, jnp.arange(BATCH)) for batch in (REAL, FAKE))
    _, terms = objectives.d_loss(wasserstein(pack=2), make_hparams(), 0, critic, real, fake, KEY)
    CLOSE(terms.real_logits, REAL.x.reshape(4, 6) @ w)
    CLOSE(terms.fake_logits, FAKE.x.reshape(4, 6) @ w)
    g = objectives.g_loss(wasserstein(pack=2), make_hparams(), critic, real, fake, KEY)
    CLOSE(g, -terms.fake_logits.mean())


WEIGHTS = {"penalties.gradient_penalty.weight": 0.3, "penalties.r2.weight": 2.0}


def test_penalties_add_up_by_weight():
    # Equal examples on both sides: the loss itself has no gradient.
    spec = wasserstein(penalties=(("gradient_penalty", 1), ("r2", 1)))
    value, grad, terms, g = evaluate(spec, make_hparams(WEIGHTS), REAL, REAL)
    CLOSE(value, 0.3 * (5 - 1) ** 2 + 2 * 5**2 / 2)
    CLOSE((terms.loss, terms.penalty), (0, value))
    CLOSE(grad, 0.3 * 2 * (5 - 1) * W / 5 + 2 * W)
    CLOSE(g, -np.mean(REAL.x @ W))  # which has no penalty


def test_mean_of_lazy_penalty():
    spec, hparams = wasserstein(penalties=(("r2", 3),)), make_hparams(WEIGHTS)
    found = [evaluate(spec, hparams, REAL, REAL, step)[:2] for step in range(6)]
    # Due when the number of the iteration, one more than those completed, is a multiple of 3.
    CLOSE([value for value, _ in found], [0, 0, 3 * 2 * 25 / 2] * 2)
    CLOSE([grad for _, grad in found], [0 * W, 0 * W, 3 * 2 * W] * 2)


def test_penalties_at_critic_input():
    # The gradient of |x|^2 / 2 is x: R1 is half the mean square norm of what the critic sees.
    def critic(batch, key):
        return jnp.sum(batch.x.reshape(len(batch.x), -1) ** 2, axis=1) / 2, None

    spec = wasserstein(pack=2, penalties=(("r1", 1),))
    weights = {"penalties.r1.weight": 1.0, "instance_noise.std": 2.0}
    _, terms = d_loss(spec, make_hparams(weights), 0, critic, REAL, FAKE, KEY)
    CLOSE(terms.penalty, terms.real_logits.mean())
    assert terms.penalty > 6  # 2 * 3 * (1 + 2^2) / 2 = 15 with noise, 3 without


def test_dropout_of_losses_and_penalties():
    def critic(batch, key):
        return jnp.sum(batch.x, axis=1) * jax.random.normal(key), None

    spec = wasserstein(penalties=(("r1", 1), ("r2", 1)))
    hparams = make_hparams({"penalties.r1.weight": 1.0, "penalties.r2.weight": 1e-3})
    _, terms = d_loss(spec, hparams, 0, critic, REAL, FAKE, KEY)
    scale = terms.real_logits[0] / REAL.x[0].sum(), terms.fake_logits[0] / FAKE.x[0].sum()
    assert scale[0] != scale[1]
    assert np.all(abs(terms.penalty - 3 * np.square(scale) / 2) > 1e-3)
    # Both players see the same dropout masks on the fakes.
    CLOSE(g_loss(spec, hparams, critic, REAL, FAKE, KEY), -terms.fake_logits.mean())


def test_augmentation_of_both_sides_in_penalties():
    """The gradient of a linear critic of images is its weights, but 0 where cutout covers them."""
    images = Batch(jnp.ones((64, 8, 8, 1)))
    hparams = make_hparams({"penalties.r1.weight": 1.0, "augment_probability": 1.0})
    spec = wasserstein(penalties=(("r1", 1),), augment=("cutout",))
    _, _, terms, g = evaluate(spec, hparams, images, images, w=np.ones(64))
    assert 24 <= float(terms.penalty) <= 31  # 32 without augmentation
    for logits in (terms.real_logits, terms.fake_logits, -g):
        assert 48 <= float(logits.mean()) < 63  # of 64 pixels, on average 57 are left
    assert np.any(terms.real_logits != terms.fake_logits)
