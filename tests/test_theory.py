"""Tests of gan_jax.theory: the paper's identities on many distributions, against losses.py, by hand
and in closed form.
"""

import decimal
import functools
import itertools
import math

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.spatial
import scipy.special
import scipy.stats
from hypothesis import strategies as st

from gan_jax import losses, theory
from gan_jax.errors import InputError
from gan_jax.losses import LOSSES
from gan_jax.theory import DIVERGENCES

LOG_2, LOG_4 = math.log(2), math.log(4)
EXACT = {"rtol": 1e-12, "atol": 1e-12}
NAMES = sorted(DIVERGENCES)

POINTS = 5
REAL, FAKE = 12, 18  # a minibatch of each; few of the 5 points is common, and so are zeros


def of_points(size: int) -> st.SearchStrategy[np.ndarray]:
    """For each example of a minibatch the point where it lies."""
    return st.lists(st.integers(0, POINTS - 1), min_size=size, max_size=size).map(np.array)


tables = st.lists(st.floats(-8, 8), min_size=POINTS, max_size=POINTS).map(np.array)  # one a point
minibatches = hypothesis.given(real=of_points(REAL), fake=of_points(FAKE), table=tables)


def many(test):
    return hypothesis.settings(max_examples=100, deadline=None)(hypothesis.seed(0)(test))


def histogram(where: np.ndarray) -> np.ndarray:
    """The distribution of which a minibatch is exact."""
    return np.bincount(where, minlength=POINTS) / len(where)


def pairs(seed: int = 0, num: int = 300, zeros: bool = True):
    """Random pairs of distributions: near and far, wide and narrow, with zeros in either."""
    rng = np.random.default_rng(seed)
    for i in range(num):
        size = rng.integers(1, 20)
        p, q = rng.dirichlet(np.full(size, 10.0 ** rng.uniform(-1, 2)), 2)
        if i % 3 == 0:
            q = p + 10.0 ** rng.uniform(-6, -1) * (q - p)
        if zeros and i % 4 == 0:
            p, q = (x * np.append(rng.random(size - 1) < 0.7, True) for x in (p, q))
        p, q = p + (p.sum() == 0), q + (q.sum() == 0)
        yield p / p.sum(), q / q.sum()


def fine(p, q) -> bool:
    """Whether D* is 1 only where it should be, and not by rounding."""
    return not np.any((theory.optimal_discriminator(p, q) == 1) & (q > 0))


def gaussian(mean, sigma):
    return functools.partial(scipy.stats.norm.pdf, loc=mean, scale=sigma)


def gaussian_2d(mean, cov):
    return scipy.stats.multivariate_normal(mean, cov).pdf


def mixture(x):
    return 0.3 * gaussian(-2, 0.5)(x) + 0.7 * gaussian(1.5, 1)(x)


def on(grid, *densities):
    return [theory.masses(density, grid) for density in densities]


# The value function.


def test_value_by_hand():
    p, q, d = [0.75, 0.25], [0.25, 0.75], [0.5, 0.2]
    by_hand = 0.75 * math.log(0.5) + 0.25 * math.log(0.2) + 0.25 * math.log(0.5)
    by_hand += 0.75 * math.log(0.8)
    np.testing.assert_allclose(theory.value_of_d(p, q, d), by_hand, **EXACT)
    logits = np.log([0.5 / 0.5, 0.2 / 0.8])
    np.testing.assert_allclose(theory.value(p, q, logits), by_hand, **EXACT)


@many
@minibatches
def test_value_is_that_of_the_losses_on_minibatches_of_the_same_distributions(real, fake, table):
    p, q = histogram(real), histogram(fake)
    with jax.enable_x64(True):
        on_batch = losses.value(jnp.asarray(table[real]), jnp.asarray(table[fake]))
        np.testing.assert_allclose(theory.value(p, q, table), on_batch, **EXACT)
    d = scipy.special.expit(table)
    np.testing.assert_allclose(theory.value_of_d(p, q, d), on_batch, rtol=1e-10)


def test_a_discriminator_that_is_wholly_sure_is_worth_0_if_right_and_infinitely_bad_if_wrong():
    p, q = [1, 0], [0, 1]
    assert theory.value_of_d(p, q, [1, 0]) == 0
    assert theory.value(p, q, [math.inf, -math.inf]) == 0
    assert theory.value_of_d(p, q, [0, 0]) == -math.inf
    assert theory.value_of_d(p, q, [1, 1]) == -math.inf
    assert theory.value_of_d([0.5, 0.5], [0.5, 0.5], [1, 0]) == -math.inf


def test_logits_keep_what_probabilities_round_off():
    p, q = [1.0, 0.0], [0.0, 1.0]
    np.testing.assert_allclose(theory.value(p, q, [50, -60]), -np.exp(-50), rtol=1e-4)
    np.testing.assert_allclose(theory.value_of_d(p, q, [1, 1e-30]), -1e-30, rtol=1e-10)


def test_an_undecided_discriminator_is_worth_minus_log_4_whatever_the_generator():
    for p, q in pairs(num=20):
        value = theory.value_of_d(p, q, np.full(p.shape, 0.5))
        np.testing.assert_allclose(value, -LOG_4, **EXACT)
        np.testing.assert_allclose(theory.value(p, q, 0 * p), value, **EXACT)


@many
@hypothesis.given(noise=of_points(FAKE), to=of_points(POINTS), real=of_points(REAL), table=tables)
def test_the_generator_need_not_be_invertible(noise, to, real, table):
    # G, any table from points z to points x, several to one: E over z is E over p_g.
    p, p_z = histogram(real), histogram(noise)
    p_g = np.bincount(to, weights=p_z, minlength=POINTS)
    over_z = p @ -np.logaddexp(0, -table) + p_z @ -np.logaddexp(0, table[to])
    np.testing.assert_allclose(theory.value(p, p_g, table), over_z, **EXACT)


def test_the_generator_need_not_be_invertible_with_densities_either():
    # G(z) = |z| of a normal z: no z can be told from x, and p_g is the half-normal density.
    z, x = theory.grid_1d(-10, 10, 20_000), theory.grid_1d(0, 10, 20_000)
    p_z = theory.masses(gaussian(0, 1), z)
    p_g = theory.masses(scipy.stats.halfnorm.pdf, x)
    logits = 1 - np.abs(z.points)
    over_z = p_z @ (-np.logaddexp(0, -logits) - np.logaddexp(0, logits))
    np.testing.assert_allclose(theory.value(p_g, p_g, 1 - x.points), over_z, atol=1e-8)


# The best discriminator.


def test_the_optimal_discriminator_by_hand():
    p, q = [0.75, 0.25, 0, 0], [0.25, 0, 0.75, 0]
    np.testing.assert_allclose(theory.optimal_discriminator(p, q), [0.75, 1, 0, 0.5], **EXACT)
    logits = theory.optimal_logits(p, q)
    np.testing.assert_allclose(logits, [math.log(3), math.inf, -math.inf, 0], **EXACT)


def test_the_optimal_discriminator_is_a_half_everywhere_iff_the_distributions_are_one():
    for p, q in pairs():
        assert np.all(theory.optimal_discriminator(p, p) == 0.5)
        apart = theory.total_variation(p, q) > 1e-12
        assert np.any(abs(theory.optimal_discriminator(p, q) - 0.5) > 1e-12) == apart
        logits = theory.optimal_logits(p, q)
        best = theory.optimal_discriminator(p, q)
        np.testing.assert_allclose(scipy.special.expit(logits), best, **EXACT)


def test_no_other_discriminator_has_so_high_a_value():
    rng = np.random.default_rng(1)
    for p, q in pairs():
        best, highest = theory.optimal_discriminator(p, q), theory.criterion(p, q)
        if fine(p, q):
            np.testing.assert_allclose(theory.value_of_d(p, q, best), highest, **EXACT)
        assert theory.value_of_d(p, q, rng.random(p.shape)) <= highest + 1e-12
        for size in (1e-3, 0.1, 1):  # towards some other D in [0, 1]
            other = best + size * (rng.random(p.shape) - best)
            seen = np.sum((p + q) * (other - best) ** 2)  # V falls by at least twice this
            assert theory.value_of_d(p, q, other) <= highest - 2 * (1 - 1e-9) * seen + 1e-13
        logits = theory.optimal_logits(p, q) + rng.normal(size=p.shape)
        assert theory.value(p, q, logits) <= highest + 1e-12


@many
@hypothesis.given(real=of_points(REAL), fake=of_points(FAKE))
def test_the_gradient_at_the_optimal_discriminator_is_zero(real, fake):
    # Of V by losses.py, with both on every point; by D's logits, and by D itself.
    every = np.arange(POINTS)
    real, fake = np.append(real, every), np.append(fake, every)
    p, q = histogram(real), histogram(fake)
    with jax.enable_x64(True):
        logits = jnp.asarray(theory.optimal_logits(p, q))
        np.testing.assert_allclose(by_logits(logits, real, fake), 0, atol=1e-14)
        d = jnp.asarray(theory.optimal_discriminator(p, q))
        np.testing.assert_allclose(by_d(d, real, fake), 0, atol=1e-12)
        assert np.max(abs(by_logits(logits + 0.1, real, fake))) > 1e-4


@jax.jit
@jax.grad
def by_logits(x: jax.Array, real: jax.Array, fake: jax.Array) -> jax.Array:
    return losses.value(x[real], x[fake])


@jax.jit
@jax.grad
def by_d(d: jax.Array, real: jax.Array, fake: jax.Array) -> jax.Array:
    return jnp.mean(jnp.log(d[real])) + jnp.mean(jnp.log1p(-d[fake]))


def test_the_second_difference_of_the_value_at_the_optimum_is_that_of_the_proof():
    # a log y + b log(1 - y) has -a / y^2 - b / (1 - y)^2 = -(a + b)^3 / (a b) at y = a / (a + b).
    p, q, h = np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.1, 0.3]), 1e-4
    best = theory.optimal_discriminator(p, q)
    for i in range(3):
        step = h * np.eye(3)[i]
        up, at, down = (theory.value_of_d(p, q, best + s * step) for s in (1, 0, -1))
        by_proof = -((p[i] + q[i]) ** 3) / (p[i] * q[i])
        np.testing.assert_allclose((up - 2 * at + down) / h**2, by_proof, rtol=1e-5)
        np.testing.assert_allclose((up - down) / (2 * h), 0, atol=1e-6)


def test_the_value_is_concave_in_the_discriminator_and_in_its_logits():
    rng = np.random.default_rng(2)
    for p, q in pairs():
        a, b = rng.random((2, len(p)))
        for value, x, y in (
            (theory.value_of_d, a, b),
            (theory.value, 9 * a - 4, 9 * b - 4),
        ):
            middle = value(p, q, 0.3 * x + 0.7 * y)
            assert middle >= 0.3 * value(p, q, x) + 0.7 * value(p, q, y) - 1e-13


# What G then minimises.


def test_the_criterion_is_the_value_at_the_optimum_and_twice_the_jsd_minus_log_4():
    for p, q in pairs():
        m = (p + q) / 2
        by_kl = theory.kl(p, m) + theory.kl(q, m) - LOG_4  # equation 5
        np.testing.assert_allclose(theory.criterion(p, q), by_kl, **EXACT)
        np.testing.assert_allclose(theory.criterion(p, q), 2 * theory.jsd(p, q) - LOG_4, **EXACT)
        logits = theory.optimal_logits(p, q)
        np.testing.assert_allclose(theory.value(p, q, logits), by_kl, **EXACT)


def test_the_criterion_is_minus_log_4_iff_the_generator_is_the_data():
    for p, q in pairs():
        np.testing.assert_allclose(theory.criterion(p, p), -LOG_4, rtol=1e-14)
        above = theory.criterion(p, q) + LOG_4
        assert above >= theory.total_variation(p, q) ** 2 - 1e-14  # by Pinsker's inequality, twice


def test_on_disjoint_supports_the_criterion_is_0_and_tells_nothing_of_the_distance():
    for q in ([0, 0.5, 0.5, 0], [0, 0, 0.1, 0.9], [0, 0, 0, 1]):
        p = [1, 0, 0, 0]
        assert theory.criterion(p, q) == 0
        np.testing.assert_allclose(theory.jsd(p, q), LOG_2, rtol=1e-15)
        np.testing.assert_array_equal(theory.optimal_discriminator(p, q)[np.add(p, q) > 0] % 1, 0)
        assert theory.total_variation(p, q) == 1
        assert theory.kl(p, q) == theory.kl(q, p) == math.inf


def test_jsd_is_symmetric_between_0_and_log_2_and_that_of_scipy():
    for p, q in pairs():
        jsd = theory.jsd(p, q)
        assert 0 <= jsd <= LOG_2
        np.testing.assert_allclose(theory.jsd(q, p), jsd, **EXACT)
        with np.errstate(invalid="ignore"):  # scipy's own root of what rounding made negative
            by_scipy = scipy.spatial.distance.jensenshannon(p, q) ** 2
        np.testing.assert_allclose(jsd, np.nan_to_num(by_scipy), **EXACT)
        assert theory.jsd(p, p) == 0
        tv = theory.total_variation(p, q)
        assert tv**2 / 2 - 1e-14 <= jsd <= tv * LOG_2 + 1e-14


def test_kl_is_that_of_scipy_and_at_least_0():
    for p, q in pairs():
        kl = theory.kl(p, q)
        assert kl >= 0
        assert theory.kl(p, p) == 0
        np.testing.assert_allclose(kl, np.sum(scipy.special.rel_entr(p, q)), **EXACT)


def test_kl_by_hand_is_not_symmetric_and_infinite_where_the_support_is_exceeded():
    p, q = [0.5, 0.5, 0], [0.25, 0.25, 0.5]
    np.testing.assert_allclose(theory.kl(p, q), LOG_2, **EXACT)
    assert theory.kl(q, p) == math.inf
    p, q = [0.5, 0.5], [0.9, 0.1]
    np.testing.assert_allclose(theory.kl(p, q), math.log(5 / 3), **EXACT)
    by_hand = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    np.testing.assert_allclose(theory.kl(q, p), by_hand, **EXACT)


def test_maximum_likelihood_is_least_kl():
    # E log q = -H(p) - KL(p || q): over any models the one order is the other's, reversed.
    models = np.random.default_rng(3).dirichlet(np.ones(6), 40)
    p = models[0]
    likelihoods = [p @ np.log(q) for q in models]
    kls = [theory.kl(p, q) for q in models]
    np.testing.assert_allclose(np.add(likelihoods, kls), p @ np.log(p), **EXACT)
    assert np.argmax(likelihoods) == np.argmin(kls) == 0


def test_total_variation_is_twice_the_best_accuracy_minus_one():
    for p, q in pairs():
        real = theory.optimal_discriminator(p, q) > 0.5
        accuracy = (p[real].sum() + q[~real].sum()) / 2
        np.testing.assert_allclose(theory.total_variation(p, q), 2 * accuracy - 1, **EXACT)


# The scheme of the paper's proof: the best D, then a step of G.


def tables_of_g(num: int = 10, zeros: bool = True):
    """Data and the logits of a G, on a few points; every other time one of the data's is 0."""
    rng = np.random.default_rng(6)
    for i in range(num):
        size = rng.integers(3, 10)
        p = rng.dirichlet(np.full(size, 2.0)) + 0.02
        p[0] *= not zeros or i % 2
        yield p / p.sum(), rng.normal(size=size) * rng.uniform(0.1, 4)


def test_softmax_is_that_of_scipy_at_any_scale():
    for _, logits in tables_of_g():
        for x in (logits, logits + 1e4, 100 * logits):
            np.testing.assert_allclose(theory.softmax(x), scipy.special.softmax(x), rtol=1e-10)
    np.testing.assert_array_equal(theory.softmax([[0, 0], [0, 0]]), np.full((2, 2), 0.25))


def test_a_round_by_hand():
    # p_g = (1/2, 1/2), so log(1 - D*) = log((1/2) / (5/4)), log((1/2) / (3/4)).
    by_hand = 0.25 * (math.log(2 / 5) - math.log(2 / 3))
    found = theory.best_response_round([0.75, 0.25], [0, 0], rate=2)
    np.testing.assert_allclose(found, [-2 * by_hand, 2 * by_hand], **EXACT)


def test_the_value_at_the_fixed_optimal_d_has_the_gradient_of_the_criterion():
    # Danskin's, or the envelope, theorem: that D* depends on G adds nothing at this G.
    @jax.jit
    @jax.grad
    def gradient(logits: jax.Array, p: jax.Array) -> jax.Array:
        q = jax.nn.softmax(logits)
        return jnp.sum(q * jnp.log(q / (p + q)) - p * jnp.log(p + q))  # and what is p's alone

    for p, logits in tables_of_g():
        with jax.enable_x64(True):
            by_criterion = np.asarray(gradient(logits, p))
        step = theory.best_response_round(p, logits, rate=1) - logits
        np.testing.assert_allclose(step, -by_criterion, atol=1e-13)
        slope = sum(  # of the criterion itself, along the gradient
            sign * theory.criterion(p, theory.softmax(logits + sign * 1e-5 * by_criterion)) / 2e-5
            for sign in (1, -1)
        )
        np.testing.assert_allclose(slope, by_criterion @ by_criterion, rtol=1e-5)


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_each_step_of_a_round_is_against_the_one_discriminator(steps):
    for p, logits in tables_of_g(num=5):
        with jax.enable_x64(True):
            fixed = jnp.asarray(theory.optimal_logits(p, theory.softmax(logits)))

            def v(x: jax.Array, fixed=fixed) -> jax.Array:
                return -jnp.sum(jax.nn.softmax(x) * jax.nn.softplus(fixed))

            x = jnp.asarray(logits)
            for _ in range(steps):
                x -= 0.7 * jax.grad(v)(x)
        np.testing.assert_allclose(theory.best_response_round(p, logits, 0.7, steps), x, rtol=1e-12)


def test_with_small_steps_against_ever_new_discriminators_the_jsd_falls_to_0():
    for p, logits in tables_of_g(zeros=False):
        jsds = [theory.jsd(p, theory.softmax(logits))]
        while jsds[-1] > 1e-7 and len(jsds) < 5000:
            logits = theory.best_response_round(p, logits, rate=2)
            jsds.append(theory.jsd(p, theory.softmax(logits)))
        assert np.all(np.diff(jsds) < 0)
        assert jsds[-1] < 1e-6
        np.testing.assert_allclose(theory.softmax(logits), p, atol=1e-3)


def test_with_the_discriminator_fixed_all_goes_to_where_it_is_largest_and_the_jsd_rises():
    for p, _ in tables_of_g(zeros=False):
        near = np.log(p) + 0.1 * np.cos(np.arange(len(p)))
        best = theory.optimal_discriminator(p, theory.softmax(near)).argmax()
        jsds = []
        for steps in (0, 1, 5000):
            after = theory.softmax(theory.best_response_round(p, near, 10, steps))
            jsds.append(theory.jsd(p, after))
        assert after[best] > 0.98
        assert jsds[1] < jsds[0] < 0.01 < 0.1 < jsds[2]


def test_at_the_data_a_round_stays_there():
    p = np.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(
        theory.best_response_round(p, np.log(p), 1e3, 10), np.log(p), atol=1e-10
    )


def test_a_round_where_probabilities_round_to_0_is_a_number():
    found = theory.best_response_round([0.5, 0.5], [0, -1000], rate=1, steps=3)
    assert np.isfinite(found).all()
    assert theory.best_response_round([1, 0], [0, 1], 1.0).shape == (2,)


# The divergences of f-GAN.


def test_every_divergence_has_a_loss():
    assert set(DIVERGENCES) <= set(LOSSES)


def by_definition(name: str, p: np.ndarray, q: np.ndarray) -> float:
    """Each divergence as a textbook has it, of distributions without zeros."""
    return {
        "kl": lambda: np.sum(p * np.log(p / q)),
        "reverse_kl": lambda: np.sum(q * np.log(q / p)),
        "pearson": lambda: np.sum((p - q) ** 2 / q),
        "squared_hellinger": lambda: 2 - 2 * np.sum(np.sqrt(p * q)),
        "js": lambda: np.sum(p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))),
    }[name]()


@pytest.mark.parametrize("name", NAMES)
def test_divergences_are_those_of_the_textbooks(name):
    for p, q in pairs(zeros=False):
        p, q = p + 1e-9, q + 1e-9
        p, q = p / p.sum(), q / q.sum()
        expected = by_definition(name, p, q)
        np.testing.assert_allclose(theory.f_divergence(name, p, q), expected, rtol=1e-9, atol=1e-12)
        assert theory.f_divergence(name, p, q) >= 0
        assert theory.f_divergence(name, p, p) == 0


@pytest.mark.parametrize(
    ("name", "where_p_is_0", "where_q_is_0"),
    [
        ("kl", LOG_2, math.inf),
        ("reverse_kl", math.inf, LOG_2),
        ("pearson", 1, math.inf),
        ("squared_hellinger", 2 - math.sqrt(2), 2 - math.sqrt(2)),
        ("js", LOG_2 + 1.5 * math.log(2 / 3) + LOG_2 / 2, None),
    ],
)
def test_divergences_at_the_ends_of_the_supports(name, where_p_is_0, where_q_is_0):
    one, both = [1, 0, 0], [0.5, 0.5, 0]  # and a point that neither has
    where_q_is_0 = where_p_is_0 if where_q_is_0 is None else where_q_is_0
    np.testing.assert_allclose(theory.f_divergence(name, one, both), where_p_is_0, **EXACT)
    np.testing.assert_allclose(theory.f_divergence(name, both, one), where_q_is_0, **EXACT)


def test_the_relations_between_divergences():
    for p, q in pairs():
        f = functools.partial(theory.f_divergence, p=p, q=q)
        np.testing.assert_allclose(f("js"), 2 * theory.jsd(p, q), **EXACT)
        np.testing.assert_allclose(f("js") - LOG_4, theory.criterion(p, q), **EXACT)
        assert f("reverse_kl") == theory.kl(q, p)
        assert f("kl") == theory.kl(p, q)


@many
@minibatches
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_at_the_optimal_output_is_minus_the_divergence_and_nowhere_lower(
    name, real, fake, table
):
    p, q = histogram(real), histogram(fake)
    divergence, v = theory.f_divergence(name, p, q), theory.optimal_v(name, p, q)

    def bound(v: np.ndarray) -> float:
        with jax.enable_x64(True):
            return -float(LOSSES[name].d(jnp.asarray(v[real]), jnp.asarray(v[fake])))

    np.testing.assert_allclose(bound(v), divergence, **EXACT)
    for other in (table, v + table / 100, v + 1, v - 1):
        assert bound(other) <= divergence + 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_the_optimal_output_is_where_the_losses_gradient_is_zero(name):
    real, fake = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 1, 1, 1, 2])
    p, q = (np.bincount(x) / len(x) for x in (real, fake))
    with jax.enable_x64(True):
        v = jnp.asarray(theory.optimal_v(name, p, q))
        grad = jax.grad(lambda v: LOSSES[name].d(v[real], v[fake]))
        np.testing.assert_allclose(grad(v), 0, atol=1e-15)
        assert np.max(abs(grad(v + 0.1))) > 1e-3


@many
@minibatches
def test_the_js_loss_is_the_paper_s_own_but_for_log_4(real, fake, table):
    with jax.enable_x64(True):
        by_loss = -LOSSES["js"].d(jnp.asarray(table[real]), jnp.asarray(table[fake]))
    value = theory.value(histogram(real), histogram(fake), table)
    np.testing.assert_allclose(by_loss, value + LOG_4, **EXACT)


# Densities.


@pytest.mark.parametrize(
    ("a", "s", "b", "t"), [(0, 1, 0, 1), (0, 1, 1.5, 1), (-1, 0.5, 2, 1.3), (0.3, 2, 0, 0.7)]
)
def test_divergences_of_gaussians_in_closed_form(a, s, b, t):
    def kl(a, s, b, t):
        return math.log(t / s) + (s**2 + (a - b) ** 2) / (2 * t**2) - 0.5

    p, q = on(theory.grid_1d(-18, 18, 1000), gaussian(a, s), gaussian(b, t))
    overlap = math.sqrt(2 * s * t / (s**2 + t**2)) * math.exp(-((a - b) ** 2) / 4 / (s**2 + t**2))
    expected = {
        "kl": kl(a, s, b, t),
        "reverse_kl": kl(b, t, a, s),
        "squared_hellinger": 2 - 2 * overlap,
    }
    if s == t:
        expected["pearson"] = math.expm1((a - b) ** 2 / s**2)
        tv = math.erf(abs(a - b) / (2 * math.sqrt(2) * s))
        np.testing.assert_allclose(theory.total_variation(p, q), tv, atol=1e-3)  # |x| has a kink
    for name, value in expected.items():
        np.testing.assert_allclose(theory.f_divergence(name, p, q), value, **EXACT)


def test_divergences_of_gaussians_in_2_d_in_closed_form():
    a, b = np.array([0.5, -0.3]), np.array([-0.4, 0.6])
    s, t = np.array([[1, 0.6], [0.6, 1]]), np.array([[1.5, -0.3], [-0.3, 0.8]])

    def kl(a, s, b, t):
        inverse = np.linalg.inv(t)
        logdet = math.log(np.linalg.det(t) / np.linalg.det(s))
        return (np.trace(inverse @ s) + (b - a) @ inverse @ (b - a) - 2 + logdet) / 2

    p, q = on(theory.grid_2d(-12, 12, 240), gaussian_2d(a, s), gaussian_2d(b, t))
    det = np.linalg.det
    overlap = (det(s) * det(t)) ** 0.25 / math.sqrt(det((s + t) / 2))
    overlap *= math.exp(-(a - b) @ np.linalg.inv((s + t) / 2) @ (a - b) / 8)
    np.testing.assert_allclose(theory.kl(p, q), kl(a, s, b, t), **EXACT)
    np.testing.assert_allclose(theory.f_divergence("reverse_kl", p, q), kl(b, t, a, s), **EXACT)
    by_hand = 2 - 2 * overlap
    np.testing.assert_allclose(theory.f_divergence("squared_hellinger", p, q), by_hand, **EXACT)
    np.testing.assert_allclose(theory.criterion(p, q), 2 * theory.jsd(p, q) - LOG_4, **EXACT)


def test_a_coordinate_in_which_densities_agree_adds_nothing():
    grid = theory.grid_2d(-9, 9, 200)
    p, q = on(grid, gaussian_2d([0, 1], np.eye(2)), gaussian_2d([2, 1], np.eye(2)))
    line = on(theory.grid_1d(-9, 9, 200), gaussian(0, 1), gaussian(2, 1))
    np.testing.assert_allclose(theory.jsd(p, q), theory.jsd(*line), **EXACT)
    # The x's are along the first axis: there the optimal D falls from 1 to 0.
    best = theory.optimal_discriminator(p, q)
    np.testing.assert_allclose(best, scipy.special.expit(2 - 2 * grid.points[..., 0]), atol=1e-10)


def quad(integrand) -> float:
    return scipy.integrate.quad(integrand, -14, 14, epsabs=1e-13, epsrel=1e-13, limit=500)[0]


def test_values_of_mixtures_are_those_of_adaptive_quadrature():
    grid, q = theory.grid_1d(-14, 14, 500), gaussian(0.5, 2)
    p_data, p_g = on(grid, mixture, q)

    def v(x):  # of D = sigmoid(1 - x)
        return -mixture(x) * np.logaddexp(0, x - 1) - q(x) * np.logaddexp(0, 1 - x)

    def c(x):
        p = mixture(x)
        return scipy.special.xlogy(p, p / (p + q(x))) + q(x) * math.log(q(x) / (p + q(x)))

    value = theory.value(p_data, p_g, 1 - grid.points)
    np.testing.assert_allclose(value, quad(v), atol=1e-11)
    d = scipy.special.expit(1 - grid.points)
    np.testing.assert_allclose(theory.value_of_d(p_data, p_g, d), quad(v), atol=1e-11)
    np.testing.assert_allclose(theory.criterion(p_data, p_g), quad(c), atol=1e-11)
    np.testing.assert_allclose(theory.jsd(p_data, p_g), (quad(c) + LOG_4) / 2, atol=1e-11)


def test_the_quadrature_converges_as_fast_as_it_says():
    rng = np.random.default_rng(7)

    def a_mixture():
        num = rng.integers(1, 5)
        parts = rng.dirichlet(np.ones(num)), rng.uniform(-4, 4, num), rng.uniform(0.2, 1.5, num)
        return lambda x: sum(w * gaussian(m, s)(x) for w, m, s in zip(*parts, strict=True))

    def two_narrow_modes(x):
        return (gaussian(-3, 0.2)(x) + gaussian(3, 0.2)(x)) / 2

    for _ in range(100):
        p, q = a_mixture(), a_mixture()
        # Cells of a half to a 32nd of the least standard deviation that there may be.
        pairs = [on(theory.grid_1d(-14, 14, 280 * n), p, q) for n in (1, 2, 4, 8, 16)]
        jsds, kls = (np.array([of(*pair) for pair in pairs]) for of in (theory.jsd, theory.kl))
        assert np.all(abs(jsds[:-1] - jsds[-1]) < [1e-5, 1e-9, 1e-11, 1e-13])
        if kls[-1] < math.inf:
            assert np.all(abs(kls[2:-1] - kls[-1]) < [1e-6, 1e-11])
    # Between narrow modes log q bends in less than a cell.
    valley = [
        theory.kl(*on(theory.grid_1d(-7, 7, 70 * n), gaussian(0, 1), two_narrow_modes))
        for n in (8, 64)
    ]
    assert 1e-5 < abs(valley[0] - valley[1]) < 1e-3
    wide, narrow = gaussian(0, 2), gaussian(0, 0.3)  # which is 0 from 11.6 on
    found = [theory.kl(*on(theory.grid_1d(-x, x, 1000), wide, narrow)) for x in (11, 12)]
    np.testing.assert_allclose(found, [19.82510, math.inf], rtol=1e-5)

    def integral(n):
        grid = theory.grid_1d(0, 1, n)
        return np.sum(grid.weights * np.exp(grid.points))

    errors = [integral(n) - math.expm1(1) for n in (50, 100)]
    np.testing.assert_allclose(errors[0] / errors[1], 4, rtol=1e-3)


def test_a_density_that_works_in_place_leaves_the_grid_as_it_is():
    def shifted(x):
        x -= 2
        return gaussian(0, 1)(x)

    grid = theory.grid_1d(-10, 10, 400)
    first = theory.masses(shifted, grid)
    np.testing.assert_array_equal(theory.masses(shifted, grid), first)
    np.testing.assert_allclose(theory.masses(gaussian(2, 1), grid), first, atol=1e-12)


def test_the_quadrature_is_exact_for_steps_on_the_cells_edges():
    def uniform(low, high):
        return lambda x: ((x > low) & (x < high)) / (high - low)

    p, near, far, half = on(
        theory.grid_1d(0, 4, 40), uniform(0, 1), uniform(1, 2), uniform(3, 4), uniform(0.5, 1.5)
    )
    np.testing.assert_allclose(theory.jsd(p, near), LOG_2, **EXACT)  # a common edge is no overlap
    np.testing.assert_allclose(theory.jsd(p, far), LOG_2, **EXACT)
    np.testing.assert_allclose(theory.jsd(p, half), LOG_2 / 2, **EXACT)
    assert theory.kl(p, near) == math.inf


def test_grids_cover_what_they_should():
    line = theory.grid_1d(-1, 3, 4)
    np.testing.assert_allclose(line.points, [-0.5, 0.5, 1.5, 2.5])
    np.testing.assert_allclose(line.weights, 1)
    square = theory.grid_2d(-1, 3, 8)
    assert square.points.shape == (8, 8, 2)
    np.testing.assert_allclose(square.points[1, 2], [-0.25, 0.25])
    np.testing.assert_allclose(square.weights, np.full((8, 8), 0.25))


def test_far_gaussians_have_a_criterion_though_their_optimal_discriminator_is_rounded_to_1():
    p, q = on(theory.grid_1d(-10, 22, 1000), gaussian(0, 1), gaussian(12, 1))
    criterion = theory.criterion(p, q)
    np.testing.assert_allclose(criterion, 2 * theory.jsd(p, q) - LOG_4, **EXACT)
    assert -1e-7 < criterion < 0
    assert theory.value_of_d(p, q, theory.optimal_discriminator(p, q)) == -math.inf


def test_extreme_ratios_are_no_accident():
    least = 5e-324  # half of which is 0
    p, q = [1, least, 1e-300], [1, 0, 0]
    assert theory.jsd(p, q) < 1e-299
    assert theory.kl(q, p) == 0
    assert theory.kl(p, q) == math.inf
    p, q = [0.5, 0.5], [1, least]  # whose ratio is beyond float64
    np.testing.assert_allclose(theory.f_divergence("squared_hellinger", p, q), 2 - math.sqrt(2))
    by_hand = LOG_2 + 1.5 * math.log(2 / 3) + LOG_2 / 2
    np.testing.assert_allclose(theory.f_divergence("js", p, q), by_hand)
    np.testing.assert_allclose(theory.optimal_discriminator(p, q), [1 / 3, 1])


def test_rounding_takes_no_divergence_beyond_its_bounds():
    rng = np.random.default_rng(5)
    for size in range(2, 102):
        p = rng.dirichlet(np.ones(size))
        near = p * (1 + 1e-13 * rng.normal(size=size))
        for name in NAMES:
            assert 0 <= theory.f_divergence(name, p, near) < 1e-15
        apart = np.append(p, 0 * p), np.append(0 * p, near)
        assert LOG_2 - 1e-14 < theory.jsd(*apart) <= LOG_2
        assert 1 - 1e-14 < theory.total_variation(*apart) <= 1


def in_decimals(name: str, p: np.ndarray, q: np.ndarray) -> float:
    """Each divergence of distributions without zeros in 40 digits of any exponent, rounded."""
    with decimal.localcontext(prec=40):
        p, q = ([decimal.Decimal(float(x)) for x in each] for each in (p, q))
        p, q = ([x / sum(each) for x in each] for each in (p, q))
        term = {
            "kl": lambda a, b: a * (a / b).ln(),
            "reverse_kl": lambda a, b: b * (b / a).ln(),
            "pearson": lambda a, b: (a - b) ** 2 / b,
            "squared_hellinger": lambda a, b: (a.sqrt() - b.sqrt()) ** 2,
            "js": lambda a, b: a * (2 * a / (a + b)).ln() + b * (2 * b / (a + b)).ln(),
        }[name]
        return float(sum(map(term, p, q)))  # infinite where it is beyond float64


@pytest.mark.parametrize("name", NAMES)
def test_no_ratio_is_too_great_for_a_divergence(name):
    small = (0.5, *(10.0**-n for n in (1, 10, 100, 150, 170, 300, 304, 308, 310, 320)), 5e-324)
    for a, b in itertools.product(small, small):
        p, q = np.array([1 - a, a]), np.array([1 - b, b])
        assert not np.isnan(theory.optimal_v(name, p, q)).any()
        found, expected = theory.f_divergence(name, p, q), in_decimals(name, p, q)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15, err_msg=f"{a}, {b}")


# What comes in.


def test_float32_lists_and_any_shape_are_taken_and_left_as_they_were():
    p = np.random.default_rng(4).random((3, 4)).astype(np.float32)
    p /= p.sum()
    q = p.T.reshape(3, 4)
    before = p.copy()
    assert theory.optimal_discriminator(p, q).shape == (3, 4)
    assert theory.optimal_logits(p, q).dtype == np.float64
    assert theory.jsd(p, q) == theory.jsd(p.tolist(), q.tolist())
    np.testing.assert_allclose(theory.jsd(p, q), theory.jsd(p.ravel(), q.ravel()), **EXACT)
    assert theory.criterion(p, p) == pytest.approx(-LOG_4, rel=1e-15)
    np.testing.assert_array_equal(p, before)
    assert theory.kl(jnp.array([0.5, 0.5]), [0.5, 0.5]) == 0


def test_what_sums_to_1_within_the_tolerance_is_normalised():
    p = np.array([0.5, 0.5 - 9e-7])
    assert theory.criterion(p, p) == pytest.approx(-LOG_4, rel=1e-15)
    assert theory.jsd([1 + 9e-7, 0], [0, 1 + 9e-7]) == LOG_2
    np.testing.assert_allclose(theory.f_divergence("pearson", p * (1 + 9e-7), p), 0, atol=1e-15)
    grid = theory.grid_1d(-10, 10, 100)
    assert theory.masses(lambda x: gaussian(0, 1)(x) * (1 - 9e-7), grid).sum() == pytest.approx(1)
    for off in (1.1e-6, -1.1e-6):
        with pytest.raises(InputError, match="sum to 1"):
            theory.kl([0.5, 0.5 + off], p)


HALF = [0.5, 0.5]
OF_PAIRS = {
    "value_of_d": lambda p, q: theory.value_of_d(p, q, HALF),
    "value": lambda p, q: theory.value(p, q, HALF),
    "optimal_logits": theory.optimal_logits,
    "optimal_discriminator": theory.optimal_discriminator,
    "criterion": theory.criterion,
    "kl": theory.kl,
    "jsd": theory.jsd,
    "total_variation": theory.total_variation,
    "f_divergence": functools.partial(theory.f_divergence, "js"),
    "optimal_v": functools.partial(theory.optimal_v, "js"),
}
NO_DISTRIBUTIONS = [
    ([1.5, -0.5], "finite and not negative, and has -0.5"),
    ([0.5, math.nan], "finite and not negative, and has nan"),
    ([0.5, math.inf], "finite and not negative, and has inf"),
    (["0.5", "0.5"], "an array of numbers"),
    ([0.5 + 1j, 0.5], "an array of numbers"),
    (None, "an array of numbers"),
    ([[1], [2, 3]], "an array of numbers"),
]
NO_SUMS = [([0.5, 0.4], "0.9"), ([0, 0], "0"), ([], "0")]


@pytest.mark.parametrize("name", OF_PAIRS)
def test_what_is_no_pair_of_distributions_is_refused_by_name(name):
    players = name.startswith(("value", "optimal_l", "optimal_d", "criterion"))
    first, second = ("p_data", "p_g") if players else ("p", "q")
    bad = [(x, f"must be {message}") for x, message in NO_DISTRIBUTIONS]
    bad += [(x, rf"must sum to 1 \(within 1e-06\), not to {total}") for x, total in NO_SUMS]
    for x, message in bad:
        for argument, args in ((first, (x, HALF)), (second, (HALF, x))):
            with pytest.raises(InputError, match=f"^{argument} {message}"):
                OF_PAIRS[name](*args)
    for x in ([1], [0.2, 0.3, 0.5], [HALF], 1.0):
        same = rf"^{first} and {second} must be on the same points, not of shapes \(2,\), \("
        with pytest.raises(InputError, match=same):
            OF_PAIRS[name](HALF, x)


NO_NUMBERS = ["a", "1", None, [0.0], [[1], [2, 3]], np.zeros(2), 1j, True, math.nan, math.inf]
NO_WHOLES = [-1, 1.5, 10.0, "3", None, True, [3], math.nan, 1j]
NO_SHAPES = [0.5, [0.5], [0.5] * 3, [HALF]]
NO_ARRAYS = [["0", "1"], ["a", 0], [1j, 0], None]
ON_A_LINE = functools.partial(theory.masses, grid=theory.grid_1d(-10, 10, 101))
OF_LOGITS = functools.partial(theory.value, HALF, HALF)
OF_D = functools.partial(theory.value_of_d, HALF, HALF)
ROUND = functools.partial(theory.best_response_round, HALF)


@pytest.mark.parametrize(
    ("function", "values", "message"),  # of an argument, what it may not be, and why
    [
        (OF_LOGITS, NO_SHAPES, r"logits must have the shape \(2,\), one for each point"),
        (OF_LOGITS, [[0, math.nan]], "logits must be numbers or infinite, and has nan"),
        (OF_LOGITS, NO_ARRAYS, "logits must be an array of numbers"),
        (OF_D, NO_SHAPES, r"d must have the shape \(2,\), one for each point"),
        (
            OF_D,
            [[0.5, x] for x in (1.01, -1e-9, math.nan, math.inf)],
            r"d must be in \[0, 1\], and",
        ),
        (theory.softmax, [[]], "logits must be at least one"),
        (theory.softmax, [[0, math.nan]], "logits must be finite, and has nan"),
        *(
            (functools.partial(f, p=HALF, q=HALF), ["JS", "minimax", "", ["js"], None], message)
            for message in ("name must be one of kl, reverse_kl, pearson, .*, not",)
            for f in (theory.f_divergence, theory.optimal_v)
        ),
        (lambda x: theory.best_response_round(x, HALF, 1), [[0.5, 0.6]], "p_data must sum to 1"),
        (lambda x: ROUND(x, 1), NO_SHAPES, "g_logits must have the shape"),
        (lambda x: ROUND(x, 1), NO_ARRAYS, "g_logits must be an array of numbers"),
        (lambda x: ROUND(x, 1), [[0, math.inf]], "g_logits must be finite, and has inf"),
        (lambda x: ROUND(HALF, x), [-1, *NO_NUMBERS], "rate must be a finite number, at least 0"),
        (lambda x: ROUND(HALF, 1, x), NO_WHOLES, "steps must be a whole number, at least 0, not"),
        (
            ON_A_LINE,
            [lambda x: np.exp(-(x**2) / 2)],
            "density must integrate to 1 .* 2.5066283: it",
        ),
        (ON_A_LINE, [gaussian(9.5, 1)], "density must integrate to 1 .*, not to 0.691.*too short"),
        (
            ON_A_LINE,
            [gaussian(0, 0.01)],
            "density must integrate to 1 .*, not to 7.899.*too coarse",
        ),
        (ON_A_LINE, [lambda x: -x, lambda x: x - math.nan], "density must be finite and not neg"),
        (ON_A_LINE, [lambda x: 0.05], r"density must have the shape \(101,\), one for each point"),
        (ON_A_LINE, [lambda x: "a", lambda x: x + 1j], "density must be an array of numbers"),
        (ON_A_LINE, [[1, 2], None], "density must be a function of points, not "),
        (
            lambda x: theory.masses(math.sin, x),
            [None, [1, 2]],
            "grid must be a Grid, as of grid_1d",
        ),
        (
            lambda x: theory.grid_1d(0, 1, x),
            [0, *NO_WHOLES],
            "n must be a whole number, at least 1",
        ),
        (lambda x: theory.grid_1d(x, 1, 9), NO_NUMBERS, "low must be a finite number, not "),
        (lambda x: theory.grid_2d(0, x, 9), NO_NUMBERS, "high must be a finite number, not "),
        (
            lambda x: theory.grid_2d(x, 1, 9),
            [1, 2],
            "low must be less than high, not low = .*, hig",
        ),
    ],
)
def test_an_argument_of_no_use_is_refused_by_its_name(function, values, message):
    for x in values:
        with pytest.raises(InputError, match=f"^{message}"):
            function(x)
