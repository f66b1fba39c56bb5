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

_BLOCK = 1000  # examples or samples at a time, which bounds memory


class Algorithm(NamedTuple):
    """A training algorithm; the first argument of each function is its static spec."""

    init: Callable[[Any, HParams, jax.Array | int, Batch], State]
    step: Callable[[Any, HParams, State, Batch | Window], tuple[State, Info]]  # one iteration
    # Examples from latent z, and labels if conditional.
    sample: Callable[[Any, State, jax.Array, jax.Array | None], jax.Array]
    step_info: tuple[str, ...]  # what every run measures, besides parameter norms
    info_names: Callable[[Any], tuple[str, ...]]  # measured by `train_chunk`, besides the step
    minibatches: Callable[[Any], dict[Stream, int]]  # per iteration from each stream
    # Reconstructions with pixels from 0 to 1 of examples, and labels if conditional.
    reconstruct: Callable[[Any, State, jax.Array, jax.Array | None], jax.Array] | None = None
    # Lower bounds or estimates of log p(x) of examples by name, (n,) each, where there are any.
    log_likelihoods: Callable[[Any, HParams, State, jax.Array], dict[str, jax.Array]] | None = None
    # Probabilities of the classes of examples, (batch, classes), where they are inferred.
    classify: Callable[[Any, State, jax.Array], jax.Array] | None = None


ALGORITHMS = {
    "gan": Algorithm(
        init=gan.init,
        step=gan.step,
        sample=gan.sample,
        step_info=gan.STEP_INFO,
        info_names=gan.info_names,
        minibatches=gan.minibatches,
    ),
    "autoencoder": Algorithm(
        init=autoencoder.init,
        step=autoencoder.step,
        sample=autoencoder.sample,
        step_info=autoencoder.STEP_INFO,
        info_names=autoencoder.info_names,
        minibatches=autoencoder.minibatches,
        reconstruct=autoencoder.reconstruct,
    ),
    "vae": Algorithm(
        init=vae.init,
        step=vae.step,
        sample=vae.sample,
        step_info=vae.STEP_INFO,
        info_names=vae.info_names,
        minibatches=autoencoder.minibatches,
        reconstruct=vae.reconstruct,
        log_likelihoods=vae.log_likelihoods,
    ),
    "aae": Algorithm(
        init=aae.init,
        step=aae.step,
        sample=aae.sample,
        step_info=aae.STEP_INFO,
        info_names=aae.info_names,
        minibatches=autoencoder.minibatches,
        reconstruct=autoencoder.reconstruct,
        classify=aae.classify,
    ),
    "rbm": Algorithm(
        init=rbm.init,
        step=rbm.step,
        sample=rbm.sample,
        step_info=rbm.STEP_INFO,
        info_names=rbm.info_names,
        minibatches=rbm.minibatches,
        reconstruct=rbm.reconstruct,
        log_likelihoods=rbm.log_likelihoods,
    ),
}


def init(spec: Spec, hparams: HParams, seed: jax.Array | int, data: Batch) -> State:
    """Initial state; see `gan.init`."""
    hparams = schedules.at(spec.schedules, hparams, 0)
    return ALGORITHMS[spec.algorithm].init(spec, hparams, seed, data)


def shapes(spec: Spec, hparams: HParams) -> State:
    """Shapes and dtypes of a state, as jax.eval_shape gives them; computes nothing."""
    x = jax.ShapeDtypeStruct((1, *spec.example_shape), jnp.float32)
    return jax.eval_shape(lambda x: init(spec, hparams, 0, Batch(x)), x)


def step(spec: Spec, hparams: HParams, state: State, data: Batch | Window) -> tuple[State, Info]:
    """One iteration, with the hyperparameters that schedules give it."""
    now = schedules.at(spec.schedules, hparams, state.step)
    return ALGORITHMS[spec.algorithm].step(spec, now, state, data)


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
      num_steps: iterations, traced; with 0, the state is unchanged and info is zero, except
        parameter norms.

    Returns:
      The state after and the info of its last iteration, or of the first one with a non-finite
      loss (then without norms), with the number of that iteration as `step` and the final
      parameters' norms.
    """

    def measured_step(state: State) -> tuple[State, Info]:
        state, info = step(spec, hparams, state, data)
        return state, {"step": state.step, **info}

    def body(_: jax.Array, carry: tuple[State, Info]) -> tuple[State, Info]:
        state, info = carry
        finite = jnp.all(jnp.isfinite(jnp.stack([info[name] for name in losses])))
        state, new = measured_step(state)
        return state, {name: jnp.where(finite, new[name], old) for name, old in info.items()}

    info_shapes = jax.eval_shape(measured_step, state)[1]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), info_shapes)
    losses = {name: x for name, x in zeros.items() if not name.endswith("_norm")}
    # Only the last iteration computes gradient norms, which cost up to 8 % of a small network's.
    state, measured = jax.lax.fori_loop(0, num_steps - 1, body, (state, losses))
    last = jnp.minimum(num_steps, 1)
    state, info = jax.lax.fori_loop(0, last, body, (state, zeros | measured))
    norms = {f"{n}_param_norm": optax.tree.norm(p.params) for n, p in state.players.items()}
    return state, info | norms


def _in_blocks(function: Callable[..., jax.Array], *arrays: Any) -> np.ndarray:
    """A function of arrays, the first (n, ...), the others too or None, applied to blocks."""
    starts = range(0, len(arrays[0]), _BLOCK)
    parts = (function(*(x if x is None else x[i : i + _BLOCK] for x in arrays)) for i in starts)
    return np.concatenate([np.asarray(part) for part in parts])


@functools.partial(jax.jit, static_argnames="spec")
def _sample(spec: Spec, state: State, z: jax.Array, y: jax.Array | None) -> jax.Array:
    return ALGORITHMS[spec.algorithm].sample(spec, state, z, y)


@functools.partial(jax.jit, static_argnames=("function", "spec"))
def _on_pixels(
    function: Callable[..., Any] | None, spec: Spec, given: tuple[Any, ...], x: Any, *y: Any
) -> Any:
    """An optional function of an algorithm, on examples as data sets hold them."""
    assert function is not None
    return function(spec, *given, to_float(x, spec.pixel_low), *y)


def reconstruct(
    spec: Spec, state: State, examples: np.ndarray, labels: np.ndarray | None = None
) -> np.ndarray:
    """Reconstructions on the host, pixels from 0 to 1, of examples as data sets hold them.

    labels: of the examples, for a conditional run.
    """
    function = ALGORITHMS[spec.algorithm].reconstruct
    labels = labels if spec.classes else None
    return _in_blocks(functools.partial(_on_pixels, function, spec, (state,)), examples, labels)


def log_likelihoods(
    spec: Spec, hparams: HParams, state: State, examples: np.ndarray
) -> dict[str, np.ndarray]:
    """Bounds or estimates of log p(x) in nats by name, (n,) each, of examples of a data set."""
    function = ALGORITHMS[spec.algorithm].log_likelihoods
    return jax.device_get(_on_pixels(function, spec, (hparams, state), examples))


def classify(spec: Spec, state: State, examples: np.ndarray) -> np.ndarray:
    """Probabilities of the classes that a run infers, (n, classes), of examples of a data set."""
    function = ALGORITHMS[spec.algorithm].classify
    return _in_blocks(functools.partial(_on_pixels, function, spec, (state,)), examples)


def generate(
    spec: Spec, state: State, z: jax.Array, labels: np.ndarray | None = None
) -> np.ndarray:
    """Samples on the host: (num, *example shape) from latent z, (num, z_dim).

    Args:
      spec: static structure.
      state: training state.
      z: latent points.
      labels: labels for a conditional run: int (num,) in [0, spec.classes), or mixtures of classes,
        float (num, spec.classes); text embeddings, float (num, spec.text).

    Raises:
      InputError: a conditional run without labels.
    """
    return _in_blocks(functools.partial(_sample, spec, state), z, labels)
