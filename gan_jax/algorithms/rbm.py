"""Restricted Boltzmann machine trained by contrastive divergence or persistent chains.

    p(v) = exp(-F(v)) / Z,   F(v) = -b.v - sum_j log(1 + exp(c_j + (v W)_j))

for binary visible units v. An iteration descends on F(v data) - F(v chain), averaged over
minibatches, whose gradient estimates that of -log p(v). Chains of k Gibbs steps start at the data
(CD-k: Hinton 2002, https://doi.org/10.1162/089976602760128018) or where the iteration before left
them (PCD, also called SML: Tieleman 2008, https://doi.org/10.1145/1390156.1390290).
"""

import math

import jax
import jax.numpy as jnp
import optax

from gan_jax.data.pixels import to_float
from gan_jax.draws import Batch, Stream, Window, minibatch, stream_key
from gan_jax.networks import Params
from gan_jax.networks.layers import INVERSE_OUTPUTS
from gan_jax.optimizers import OptimizerHParams, transformation
from gan_jax.spec import HParams, RBMSpec
from gan_jax.state import Info, Player, State, apply_gradients

STEP_INFO = ("loss", "reconstruction", "grad_norm")
_INIT_STD = 0.01  # of weights: Hinton 2012, https://doi.org/10.1007/978-3-642-35289-8_32
_CHAINS, _TEMPERATURES = 100, 10_000  # of annealed importance sampling


def info_names(spec: RBMSpec) -> tuple[str, ...]:
    """Names of the quantities measured by `step`, and of the parameter norm."""
    return (*STEP_INFO, "rbm_param_norm")


def minibatches(spec: RBMSpec) -> dict[Stream, int]:
    """Minibatches that `step` draws from each stream."""
    return {Stream.BATCH: 1}


def init(spec: RBMSpec, hparams: HParams, seed: jax.Array | int, data: Batch) -> State:
    """Initial state, with visible biases for the data's mean; arguments as for `gan.init`."""
    key = jax.random.key_data(jax.random.key(seed))
    mean = jnp.mean(to_float(data.x), axis=0).ravel()
    shape = (len(mean), spec.z_dim)
    weights = _INIT_STD * jax.random.normal(stream_key(key, Stream.INIT_G), shape)
    params = {
        "weights": weights,
        "visible": INVERSE_OUTPUTS["sigmoid"](mean),
        "hidden": jnp.zeros(spec.z_dim),
    }
    player = Player(params, {}, _optimizer(spec, hparams).init(params))
    averages = {}
    if spec.persistent:
        start = jnp.broadcast_to(mean, (spec.batch_size, len(mean)))
        averages["chains"] = _bernoulli(stream_key(key, Stream.INIT_D), start)
    return State(jnp.int32(0), key, {"rbm": player}, averages)


def _optimizer(spec: RBMSpec, hparams: HParams) -> optax.GradientTransformation:
    return transformation(spec.optimizer, OptimizerHParams(**hparams["optimizer"]))


def _bernoulli(key: jax.Array, p: jax.Array) -> jax.Array:
    return jax.random.bernoulli(key, p).astype(jnp.float32)


def free_energy(params: Params, v: jax.Array) -> jax.Array:
    """F(v) in nats: (batch, d) to (batch,)."""
    hidden = jax.nn.softplus(params["hidden"] + v @ params["weights"])
    return -v @ params["visible"] - jnp.sum(hidden, axis=-1)


def hidden_means(params: Params, v: jax.Array) -> jax.Array:
    """p(h = 1 | v), (..., z_dim)."""
    return jax.nn.sigmoid(params["hidden"] + v @ params["weights"])


def visible_means(params: Params, h: jax.Array) -> jax.Array:
    """p(v = 1 | h), (..., d)."""
    return jax.nn.sigmoid(params["visible"] + h @ params["weights"].T)


def gibbs_step(params: Params, key: jax.Array, v: jax.Array) -> jax.Array:
    """Draws h given v, then v given h; shape (..., d)."""
    key_hidden, key_visible = jax.random.split(key)
    h = _bernoulli(key_hidden, hidden_means(params, v))
    return _bernoulli(key_visible, visible_means(params, h))


def _chain(params: Params, key: jax.Array, v: jax.Array, steps: int) -> jax.Array:
    def body(i: jax.Array, v: jax.Array) -> jax.Array:
        return gibbs_step(params, jax.random.fold_in(key, i), v)

    return jax.lax.fori_loop(0, steps, body, v)


def step(spec: RBMSpec, hparams: HParams, state: State, data: Batch | Window) -> tuple[State, Info]:
    """One iteration: gradient descent on F(v data) - F(v chain) after k Gibbs steps.

    Visible units of data are drawn with pixels as probabilities.

    Returns:
      The new state; loss, reconstruction (cross-entropy in nats of the data given the mean hidden
      units) and grad_norm (global l2 norm), averaged over the minibatch and pre-update.
    """
    player = state.players["rbm"]
    x = minibatch(spec.batch_size, state.key, data, state.step).x
    key_data, key_chain = jax.random.split(stream_key(state.key, Stream.STEP_G, state.step))
    v = _bernoulli(key_data, x.reshape(len(x), -1))
    start = state.averages["chains"] if spec.persistent else v
    chains = _chain(player.params, key_chain, start, spec.k)

    def objective(params: Params) -> jax.Array:
        return jnp.mean(free_energy(params, v) - free_energy(params, chains))

    loss, grads = jax.value_and_grad(objective)(player.params)
    new = apply_gradients(player, _optimizer(spec, hparams), grads, {})
    means = hidden_means(player.params, v)
    logits = player.params["visible"] + means @ player.params["weights"].T
    cross_entropy = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, v), axis=1)
    info = {
        "loss": loss,
        "reconstruction": jnp.mean(cross_entropy),
        "grad_norm": optax.tree.norm(grads),
    }
    averages = {"chains": chains} if spec.persistent else {}
    return State(state.step + 1, state.key, {"rbm": new}, averages), info


def sample(spec: RBMSpec, state: State, z: jax.Array, y: jax.Array | None = None) -> jax.Array:
    """Means of visible units after spec.sample_steps Gibbs steps, (batch, *example shape).

    Chain i starts at the hidden units z[i] > 0, (z_dim,). The key of its draws is made of the bits
    of z[i], so that a sample does not depend on its place among others.
    """
    params = state.players["rbm"].params
    root = stream_key(state.key, Stream.STATISTICS)

    def one(z: jax.Array) -> jax.Array:
        bits = jax.lax.bitcast_convert_type(z, jnp.uint32)
        key = jax.random.fold_in(root, jnp.sum(bits, dtype=jnp.uint32))
        key_start, key_chain, key_end = jax.random.split(key, 3)
        v = _bernoulli(key_start, visible_means(params, jnp.float32(z > 0)))
        v = _chain(params, key_chain, v, spec.sample_steps - 1)
        return visible_means(params, _bernoulli(key_end, hidden_means(params, v)))

    return jax.vmap(one)(z).reshape(-1, *spec.example_shape)


def reconstruct(spec: RBMSpec, state: State, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
    """Means of visible units given the mean hidden units of x; shape of x."""
    params = state.players["rbm"].params
    v = x.reshape(len(x), -1)
    return visible_means(params, hidden_means(params, v)).reshape(x.shape)


def log_partition(
    params: Params, key: jax.Array, chains: int = _CHAINS, temperatures: int = _TEMPERATURES
) -> jax.Array:
    """Estimates log Z in nats, (), by annealed importance sampling.

    Salakhutdinov and Murray 2008, https://doi.org/10.1145/1390156.1390266. From independent visible
    units (beta 0) to the model (beta 1), with weights and hidden biases scaled by beta. The
    estimate of Z is unbiased; that of log Z is too low in expectation.

    Args:
      params: of the model.
      key: of the chains.
      chains: their number, static.
      temperatures: Gibbs steps of each, static.
    """

    def body(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        v, log_w = carry
        inputs = params["hidden"] + v @ params["weights"]
        before, now = (jax.nn.softplus(inputs * (i + n) / temperatures) for n in (0, 1))
        log_w += jnp.sum(now - before, axis=1)
        beta = (i + 1) / temperatures
        scaled = params | {name: beta * params[name] for name in ("weights", "hidden")}
        return gibbs_step(scaled, jax.random.fold_in(key, i), v), log_w

    start = jnp.broadcast_to(jax.nn.sigmoid(params["visible"]), (chains, len(params["visible"])))
    v = _bernoulli(jax.random.fold_in(key, temperatures), start)
    _, log_w = jax.lax.fori_loop(0, temperatures, body, (v, jnp.zeros(chains)))
    log_z = jnp.sum(jax.nn.softplus(params["visible"])) + len(params["hidden"]) * math.log(2)
    return log_z + jax.nn.logsumexp(log_w) - math.log(chains)


def log_likelihoods(
    spec: RBMSpec, hparams: HParams, state: State, x: jax.Array
) -> dict[str, jax.Array]:
    """Estimates of log p(v) in nats, (batch,), of visible units drawn with probabilities x.

    They share an estimate of log Z, which is too low in expectation.
    """
    params = state.players["rbm"].params
    key_data, key = jax.random.split(stream_key(state.key, Stream.EVALUATE))
    v = _bernoulli(key_data, x.reshape(len(x), -1))
    return {"log_likelihood": -free_energy(params, v) - log_partition(params, key)}
