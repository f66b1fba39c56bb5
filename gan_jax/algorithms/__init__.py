"""Training algorithms, each a few pure functions, behind one interface."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax import schedules
from gan_jax.algorithms import aae, autoencoder, gan, rbm, vae
from gan_jax.data.pixels import to_float
from gan_jax.draws import Batch, Stream, Window
from gan_jax.spec import HParams, Spec
from gan_jax.state import Info, State

_BLOCK = 1000  # samples generated at a time, which bounds memory


class Algorithm(NamedTuple):
    """A training algorithm; the first argument of each function is its static spec."""

    init: Callable[[Any, HParams, jax.Array | int, Batch], State]
    step: Callable[[Any, HParams, State, Batch | Window], tuple[State, Info]]  # one iteration
    # Examples from latent z, and labels if conditional.
    sample: Callable[[Any, State, jax.Array, jax.Array | None], jax.Array]
    info_names: Callable[[Any], tuple[str, ...]]  # measured by `train_chunk`, besides the step
    minibatches: Callable[[Any], dict[Stream, int]]  # per iteration from each stream
    # Examples with pixels from 0 to 1, from examples, and labels if conditional, where there are
    # codes.
    reconstruct: Callable[[Any, State, jax.Array, jax.Array | None], jax.Array] | None = None
    # Lower bounds or estimates of log p(x) of examples by name, (n,) each, where there are any.
    bounds: Callable[[Any, HParams, State, jax.Array], dict[str, jax.Array]] | None = None
    # Probabilities of the classes of examples, (batch, classes), where they are inferred.
    classify: Callable[[Any, State, jax.Array], jax.Array] | None = None


ALGORITHMS = {
    "gan": Algorithm(gan.init, gan.step, gan.sample, gan.info_names, gan.minibatches),
    "autoencoder": Algorithm(
        autoencoder.init,
        autoencoder.step,
        autoencoder.sample,
        autoencoder.info_names,
        autoencoder.minibatches,
        autoencoder.reconstruct,
    ),
    "vae": Algorithm(
        vae.init,
        vae.step,
        vae.sample,
        vae.info_names,
        autoencoder.minibatches,
        vae.reconstruct,
        vae.bounds,
    ),
    "aae": Algorithm(
        aae.init,
        aae.step,
        aae.sample,
        aae.info_names,
        autoencoder.minibatches,
        autoencoder.reconstruct,
        classify=aae.classify,
    ),
    "rbm": Algorithm(
        rbm.init,
        rbm.step,
        rbm.sample,
        rbm.info_names,
        rbm.minibatches,
        rbm.reconstruct,
        rbm.bounds,
    ),
}
# What every run of an algorithm measures, besides parameter norms.
STEP_INFO = {
    "gan": gan.STEP_INFO,
    "autoencoder": autoencoder.STEP_INFO,
    "vae": vae.STEP_INFO,
    "aae": aae.STEP_INFO,
    "rbm": rbm.STEP_INFO,
}


def init(spec: Spec, hparams: HParams, seed: jax.Array | int, data: Batch) -> State:
    """Initial state; see `gan.init`."""
    hparams = schedules.at(spec.schedules, hparams, 0)
    return ALGORITHMS[spec.algorithm].init(spec, hparams, seed, data)


def shapes(spec: Spec, hparams: HParams) -> State:
    """Shapes and dtypes of a state, as jax.eval_shape gives them; computes nothing."""
    x = jax.ShapeDtypeStruct((1, *spec.example_shape), jnp.float32)
    return jax.eval_shape(lambda x: init(spec, hparams, 0, Batch(x)), x)


@functools.partial(jax.jit, static_argnames="spec")
def train_chunk(
    spec: Spec, hparams: HParams, state: State, data: Batch | Window, num_steps: jax.Array | int
) -> tuple[State, Info]:
    """Runs `num_steps` iterations on device without host synchronisation.

    Args:
      spec: static structure.
      hparams: traced numbers.
      state: the state before.
      data: uint8 images or float32 points: the data set, or a window with these iterations.
      num_steps: at least 1; traced.

    Returns:
      The state after and the info of its last iteration, or of the first one with a non-finite
      loss (then without norms), with the number of that iteration as `step` and the final
      parameters' norms.
    """
    algorithm = ALGORITHMS[spec.algorithm]

    def step(state: State) -> tuple[State, Info]:
        now = schedules.at(spec.schedules, hparams, state.step)
        state, info = algorithm.step(spec, now, state, data)
        return state, {"step": state.step, **info}

    def body(_: jax.Array, carry: tuple[State, Info]) -> tuple[State, Info]:
        state, info = carry
        finite = jnp.all(jnp.isfinite(jnp.stack([info[name] for name in losses])))
        state, new = step(state)
        return state, {name: jnp.where(finite, new[name], old) for name, old in info.items()}

    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(step, state)[1])
    losses = {name: x for name, x in zeros.items() if not name.endswith("_norm")}
    # Only the last iteration computes gradient norms, which cost up to 8 % of a small network's.
    state, measured = jax.lax.fori_loop(0, num_steps - 1, body, (state, losses))
    last = jnp.minimum(num_steps, 1)
    state, info = jax.lax.fori_loop(0, last, body, (state, zeros | measured))
    norms = {f"{n}_param_norm": optax.tree.norm(p.params) for n, p in state.players.items()}
    return state, info | norms


@functools.partial(jax.jit, static_argnames="spec")
def _sample(spec: Spec, state: State, z: jax.Array, y: jax.Array | None) -> jax.Array:
    return ALGORITHMS[spec.algorithm].sample(spec, state, z, y)


@functools.partial(jax.jit, static_argnames="spec")
def _reconstruct(spec: Spec, state: State, x: jax.Array, y: jax.Array | None) -> jax.Array:
    reconstruct = ALGORITHMS[spec.algorithm].reconstruct
    assert reconstruct is not None
    return reconstruct(spec, state, to_float(x, spec.pixel_low), y)


def reconstruct(
    spec: Spec, state: State, examples: np.ndarray, labels: np.ndarray | None = None
) -> np.ndarray:
    """Reconstructions on the host, pixels from 0 to 1, of examples as data sets hold them.

    labels: of the examples, for a conditional run.
    """
    labels = labels if spec.classes else None
    blocks = [slice(i, i + _BLOCK) for i in range(0, len(examples), _BLOCK)]
    parts = (
        _reconstruct(spec, state, examples[b], None if labels is None else labels[b])
        for b in blocks
    )
    return np.concatenate([np.asarray(part) for part in parts])


@functools.partial(jax.jit, static_argnames="spec")
def _bounds(spec: Spec, hparams: HParams, state: State, x: jax.Array) -> dict[str, jax.Array]:
    bounds = ALGORITHMS[spec.algorithm].bounds
    assert bounds is not None
    return bounds(spec, hparams, state, to_float(x, spec.pixel_low))


def bounds(
    spec: Spec, hparams: HParams, state: State, examples: np.ndarray
) -> dict[str, np.ndarray]:
    """Bounds or estimates of log p(x) in nats by name, (n,) each, of examples of a data set."""
    return jax.device_get(_bounds(spec, hparams, state, examples))


@functools.partial(jax.jit, static_argnames="spec")
def _classify(spec: Spec, state: State, x: jax.Array) -> jax.Array:
    classify = ALGORITHMS[spec.algorithm].classify
    assert classify is not None
    return classify(spec, state, to_float(x, spec.pixel_low))


def classify(spec: Spec, state: State, examples: np.ndarray) -> np.ndarray:
    """Probabilities of the classes that a run infers, (n, classes), of examples of a data set."""
    blocks = (examples[i : i + _BLOCK] for i in range(0, len(examples), _BLOCK))
    return np.concatenate([np.asarray(_classify(spec, state, x)) for x in blocks])


def generate(
    spec: Spec, state: State, z: jax.Array, labels: np.ndarray | None = None
) -> np.ndarray:
    """Samples on the host: (num, *example shape) from latent z, (num, z_dim).

    Args:
      spec: static structure.
      state: training state.
      z: latent points.
      labels: labels for a conditional run: int (num,) in [0, spec.classes), or mixtures of classes,
        float (num, spec.classes); vectors of texts, float (num, spec.text).

    Raises:
      InputError: a conditional run without labels.
    """
    blocks = [slice(i, i + _BLOCK) for i in range(0, len(z), _BLOCK)]
    parts = (_sample(spec, state, z[b], None if labels is None else labels[b]) for b in blocks)
    return np.concatenate([np.asarray(part) for part in parts])
