"""Autoencoder: the generator reconstructs each example from the encoder's code.

    minimise E_x[-log p(x | z)], z = E(x)

Hinton and Salakhutdinov 2006, https://doi.org/10.1126/science.1127647, without pretraining. Samples
decode codes from a Gaussian with the mean and covariance of E(x), averaged over minibatches.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from gan_jax import networks
from gan_jax.data.pixels import to_float, to_unit
from gan_jax.draws import Batch, Stream, Window, condition, minibatch, stream_key
from gan_jax.errors import InputError
from gan_jax.networks import Params, Stats, Variables
from gan_jax.optimizers import OptimizerHParams, transformation
from gan_jax.spec import AutoencoderSpec, HParams
from gan_jax.state import Info, Player, State

DECAY = 0.99  # per iteration, of the averages of codes
STEP_INFO = ("loss", "grad_norm")
NORMS = ("encoder_param_norm", "generator_param_norm")

# Parameters of both players -> the loss, and their statistics and info.
Objective = Callable[[dict[str, Params]], tuple[jax.Array, tuple[dict[str, Stats], Info]]]


def info_names(spec: AutoencoderSpec) -> tuple[str, ...]:
    """Names of the quantities measured by `step`, and of the players' parameter norms."""
    return (*STEP_INFO, *NORMS)


def minibatches(spec: AutoencoderSpec) -> dict[Stream, int]:
    """Minibatches that `step` draws from each stream."""
    return {Stream.BATCH: 1}


def init_players(
    spec: AutoencoderSpec, hparams: HParams, seed: jax.Array | int, data: Batch
) -> State:
    """A state of encoder and generator; arguments as for `gan.init`.

    The generator's opt_state is that of both.
    """
    key = jax.random.key_data(jax.random.key(seed))
    mean = jnp.mean(to_float(data.x, spec.pixel_low), axis=0)
    z = jnp.zeros((1, spec.z_dim))
    e = networks.init(spec.encoder, stream_key(key, Stream.INIT_E), mean[None], mean)
    y = condition(spec, jnp.zeros(1, jnp.int32)) if spec.classes else None
    g = networks.init(spec.generator, stream_key(key, Stream.INIT_G), z, mean, y)
    opt_state = _optimizer(spec, hparams).init({"encoder": e.params, "generator": g.params})
    players = {"encoder": Player(*e, ()), "generator": Player(*g, opt_state)}
    return State(jnp.int32(0), key, players, {})


def init(spec: AutoencoderSpec, hparams: HParams, seed: jax.Array | int, data: Batch) -> State:
    """Initial state; arguments as for `gan.init`."""
    moments = {"mean": jnp.zeros(spec.z_dim), "covariance": jnp.eye(spec.z_dim)}
    return init_players(spec, hparams, seed, data)._replace(averages={"codes": moments})


def _optimizer(spec: AutoencoderSpec, hparams: HParams) -> optax.GradientTransformation:
    return transformation(spec.optimizer, OptimizerHParams(**hparams["optimizer"]))


def log_likelihood(
    spec: AutoencoderSpec, hparams: HParams, x: jax.Array, output: jax.Array
) -> jax.Array:
    """The log-likelihood log p(x | z) in nats, summed over components: (batch,).

    bernoulli: x log p + (1 - x) log(1 - p), the expectation over pixels that are 1 with probability
    x. gaussian: independent components around the output, of standard deviation
    hparams["likelihood_std"].

    Args:
      spec: static structure.
      hparams: traced numbers.
      x: examples, (batch, *example shape).
      output: the generator's, of the same shape: logits of p, or means.
    """
    if spec.likelihood == "bernoulli":
        components = -optax.sigmoid_binary_cross_entropy(output, x)
    else:
        std = hparams["likelihood_std"]
        components = -0.5 * jnp.square((x - output) / std) - jnp.log(std * math.sqrt(2 * math.pi))
    return jnp.sum(components, axis=tuple(range(1, x.ndim)))


def encode(
    spec: AutoencoderSpec,
    e: Variables,
    x: jax.Array,
    key: jax.Array | None = None,
    train: bool = False,
) -> tuple[jax.Array, jax.Array | None, Stats]:
    """Codes (batch, z_dim), logits of inferred classes (batch, classes), and new statistics.

    The logits are None unless the encoder infers classes.
    """
    output, stats = networks.apply(spec.encoder, e, x, key, train=train)
    if not spec.infers_classes:
        return output, None, stats
    return output[:, spec.classes :], output[:, : spec.classes], stats


def decode(
    spec: AutoencoderSpec, g: Variables, z: jax.Array, train: bool, y: jax.Array | None = None
) -> tuple[jax.Array, Stats]:
    """What `log_likelihood` takes, (batch, *example shape), from codes (batch, z_dim).

    y: labels, as `draws.condition` takes them, where G is conditional.
    """
    network = spec.generator
    if spec.likelihood == "bernoulli":
        network = network.clone(output="linear")
    return networks.apply(network, g, z, train=train, y=condition(spec, y))


def gradient_step(
    spec: AutoencoderSpec, hparams: HParams, state: State, objective: Objective
) -> tuple[State, Info]:
    """One step of gradient descent of encoder and generator on an objective."""
    e, g = (state.players[name] for name in ("encoder", "generator"))
    params = {"encoder": e.params, "generator": g.params}
    (loss, (stats, info)), grads = jax.value_and_grad(objective, has_aux=True)(params)
    updates, opt_state = _optimizer(spec, hparams).update(grads, g.opt_state, params)
    params = optax.apply_updates(params, updates)
    e = e._replace(params=params["encoder"], stats=stats["encoder"])
    g = Player(params["generator"], stats["generator"], opt_state)
    info = {"loss": loss, "grad_norm": optax.tree.norm(grads)} | info
    return state.replace_players(encoder=e, generator=g), info


def draw(spec: AutoencoderSpec, state: State, data: Batch | Window) -> tuple[Batch, jax.Array]:
    """The minibatch of an iteration, and its key."""
    batch = minibatch(spec.batch_size, state.key, data, state.step, low=spec.pixel_low)
    return batch, stream_key(state.key, Stream.STEP_G, state.step)


def reconstruction_step(
    spec: AutoencoderSpec, hparams: HParams, state: State, batch: Batch, key: jax.Array
) -> tuple[State, Info]:
    """One update of encoder and generator: gradient descent on the mean of -log p(x | E(x), y).

    Args:
      spec: static structure.
      hparams: traced numbers.
      state: the state before.
      batch: x with pixels from spec.pixel_low to 1, (batch, *example shape), and its labels.
      key: of dropout.

    Returns:
      The new state; loss and grad_norm (global l2 norm), and codes (batch, z_dim), all pre-update.
    """

    def objective(params: dict[str, Params]) -> tuple[jax.Array, tuple[dict[str, Stats], Info]]:
        e, g = (Variables(params[n], state.players[n].stats) for n in ("encoder", "generator"))
        codes, logits, e_stats = encode(spec, e, batch.x, key, train=True)
        y = batch.y if logits is None else jax.nn.softmax(logits)
        output, g_stats = decode(spec, g, codes, train=True, y=y)
        loss = -jnp.mean(log_likelihood(spec, hparams, batch.x, output))
        return loss, ({"encoder": e_stats, "generator": g_stats}, {"codes": codes})

    return gradient_step(spec, hparams, state, objective)


def step(
    spec: AutoencoderSpec, hparams: HParams, state: State, data: Batch | Window
) -> tuple[State, Info]:
    """One iteration: a reconstruction step on a minibatch."""
    state, info = reconstruction_step(spec, hparams, state, *draw(spec, state, data))
    codes, moments = info.pop("codes"), state.averages["codes"]
    new = {
        "mean": jnp.mean(codes, axis=0),
        "covariance": jnp.cov(codes, rowvar=False, bias=True).reshape(spec.z_dim, spec.z_dim),
    }
    averaged = jax.tree.map(lambda old, now: DECAY * old + (1 - DECAY) * now, moments, new)
    return state._replace(averages={"codes": averaged}, step=state.step + 1), info


def sample_decoded(
    spec: AutoencoderSpec, state: State, codes: jax.Array, y: jax.Array | None = None
) -> jax.Array:
    """Examples with pixels from 0 to 1: the means of p(x | z, y).

    Args:
      spec: static structure.
      state: training state.
      codes: z, (batch, z_dim).
      y: labels, as `draws.condition` takes them, of a conditional run.

    Raises:
      InputError: y is None but G is conditional.
    """
    if y is None and spec.classes:
        raise InputError("samples of a conditional run need labels")
    output, _ = decode(spec, state.players["generator"].variables, codes, train=False, y=y)
    if spec.likelihood == "bernoulli":
        return jax.nn.sigmoid(output)
    return to_unit(output, spec.pixel_low)


def sample(
    spec: AutoencoderSpec, state: State, z: jax.Array, y: jax.Array | None = None
) -> jax.Array:
    """Examples from standard normal z, (batch, z_dim), which are mapped to the codes' Gaussian."""
    moments = state.averages["codes"]
    values, vectors = jnp.linalg.eigh(moments["covariance"])
    root = vectors * jnp.sqrt(jnp.maximum(values, 0))
    return sample_decoded(spec, state, moments["mean"] + z @ root.T)


def reconstruct(
    spec: AutoencoderSpec, state: State, x: jax.Array, y: jax.Array | None = None
) -> jax.Array:
    """Means of p(x | E(x), y), with pixels from 0 to 1, of x from spec.pixel_low to 1."""
    codes, logits, _ = encode(spec, state.players["encoder"].variables, x)
    y = y if logits is None else jax.nn.softmax(logits)
    return sample_decoded(spec, state, codes, y)
