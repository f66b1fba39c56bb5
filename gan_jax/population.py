"""Runs trained as one program; they differ only in seed and traced hyperparameters.

On CPU, each device trains its members sequentially: batching the matrix products of small networks
defeats the cache and gains nothing, and each member is bitwise identical to a standalone run. On
GPU and TPU, members are vmapped and agree up to rounding. A standalone run is a population of one.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from gan_jax import algorithms, device, parallel
from gan_jax import config as config_lib
from gan_jax.data import Dataset, num_classes, select
from gan_jax.draws import Batch, CaptionEmbeddings, Window
from gan_jax.evaluation import text_encoder
from gan_jax.feed import Feed
from gan_jax.parallel import MEMBERS, put
from gan_jax.spec import HParams, Spec
from gan_jax.state import Info, State


class Population(NamedTuple):
    """Members on their devices, padded to a multiple of the device count by repeating the last."""

    spec: Spec
    size: int  # members, without padding
    hparams: HParams  # stacked: every leaf of shape (padded,)
    seeds: jax.Array  # uint32 (padded,)
    data: Batch | Feed  # shared by all members
    captions: CaptionEmbeddings | None  # likewise
    mesh: Mesh
    sharded: bool  # states are split among the devices of a member, not replicated


def create(configs: Sequence[ConfigDict], dataset: Dataset) -> Population:
    """Places members on all devices, or as many as they can use; each on `config.devices`.

    Args:
      configs: identical except for seed and traced fields.
      dataset: training data.
    """
    mesh = parallel.mesh(configs[0], len(configs))
    hparams = stack([jax.tree.map(np.float32, config_lib.hparams(c)) for c in configs])
    seeds = np.array([c.seed for c in configs], np.uint32)
    padded = _padded(mesh, (hparams, seeds))
    hparams, seeds = put(mesh, P(MEMBERS), padded)
    spec = config_lib.spec(configs[0], dataset.images.shape[1:], num_classes(dataset))
    dataset = _labelled_first(configs[0], dataset)
    y, captions = conditioning(configs[0], dataset)
    data: Batch | Feed
    if on_host(configs[0], dataset.images.nbytes):
        roots = jax.vmap(lambda seed: jax.random.key_data(jax.random.key(seed)))(padded[1])
        counts = algorithms.ALGORITHMS[spec.algorithm].minibatches(spec)
        data = Feed(dataset.images, y, np.asarray(roots), counts, spec.batch_size, mesh)
    else:
        data = Batch(*put(mesh, P(), (dataset.images, y)))
    captions = put(mesh, P(), captions)
    sharded = configs[0].shard_state and parallel.BATCH in mesh.axis_names
    return Population(spec, len(configs), hparams, seeds, data, captions, mesh, sharded)


def conditioning(
    config: ConfigDict, dataset: Dataset
) -> tuple[np.ndarray | None, CaptionEmbeddings | None]:
    """What training is conditioned on: labels, or groups of captions and their text embeddings."""
    if dataset.captions is not None:
        encoder = text_encoder.load(config.condition.encoder)
        embeddings = text_encoder.encode(encoder, dataset.captions.texts)
        offsets = dataset.captions.first
        captions = CaptionEmbeddings(jnp.asarray(embeddings), jnp.asarray(offsets))
        return dataset.captions.groups, captions
    labels = config.condition.on == "label" or config.get("num_labelled")
    return dataset.labels if labels else None, None


def _labelled_first(config: ConfigDict, dataset: Dataset) -> Dataset:
    """The data set with the first examples of each class, `num_labelled` in all, in front."""
    if not config.get("num_labelled") or dataset.labels is None:
        return dataset
    order = np.argsort(dataset.labels, kind="stable")
    starts = np.searchsorted(dataset.labels[order], np.arange(config.num_categories))
    chosen = (starts[:, None] + np.arange(config.num_labelled // config.num_categories)).ravel()
    return select(
        dataset, np.concatenate([order[chosen], np.delete(np.sort(order), order[chosen])])
    )


def on_host(config: ConfigDict, size: int) -> bool:
    """Whether training data of `size` bytes stay in host memory."""
    if config.data_placement == "auto":
        return size > device.memory() / 2 and not config_lib.needs_all_data(config)
    return config.data_placement == "host"


def stack(trees: Sequence[Any]) -> Any:
    """Stacks pytrees of one structure along a new first axis, on the host."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *trees)


def _padded(mesh: Mesh, tree: Any) -> Any:
    def padded(x: Any) -> np.ndarray:
        return np.concatenate([x, np.repeat(x[-1:], -len(x) % mesh.shape[MEMBERS], axis=0)])

    return jax.tree.map(padded, tree)


def place(population: Population, states: State) -> State:
    """Puts stacked states on the devices of their members, padded."""
    mesh = population.mesh
    placed: State = parallel.put_states(mesh, _padded(mesh, states), population.sharded)
    return placed


def member(states: State, number: int) -> State:
    """The state of one member, on the host; of states that are `parallel.gather`ed."""

    def one(x: Any) -> np.ndarray:  # without communication
        replicated = isinstance(x, jax.Array) and x.is_fully_replicated
        return np.asarray((x.addressable_data(0) if replicated else x)[number])

    return jax.tree.map(one, states)


def _per_device(mesh: Mesh, block: Any) -> Any:
    """Runs block(stacked pytrees of members, shared pytrees) on each device for its members."""
    return jax.shard_map(
        block,
        mesh=mesh,
        in_specs=(P(MEMBERS), P()),
        out_specs=P(MEMBERS),
        axis_names={MEMBERS},
        check_vma=False,
    )


def init(population: Population) -> State:
    """Initial states, stacked and padded."""
    p = population
    data = p.data.example if isinstance(p.data, Feed) else p.data
    return _init(p.spec, p.mesh, p.hparams, p.seeds, data, p.sharded)


@functools.partial(jax.jit, static_argnames=("spec", "mesh", "sharded"))
def _init(
    spec: Spec, mesh: Mesh, hparams: HParams, seeds: jax.Array, data: Batch, sharded: bool
) -> State:
    def block(members: tuple[HParams, jax.Array], data: Batch) -> State:
        def one(member: tuple[HParams, jax.Array]) -> State:
            state = algorithms.init(spec, *member, data)
            return parallel.shard(state) if sharded else state

        return jax.lax.map(one, members)

    return _per_device(mesh, block)((hparams, seeds), data)


def longest_chunk(population: Population, step: int) -> int:
    """Maximum length of a chunk that starts after `step` completed iterations."""
    if isinstance(population.data, Feed):
        return population.data.length - step % population.data.length
    return 2**31 - 1


def train_chunk(
    population: Population, states: State, step: int, num_steps: int, active: np.ndarray
) -> tuple[State, dict[str, np.ndarray]]:
    """Runs `num_steps` iterations of every active member; the others keep their state.

    Args:
      population: the members.
      states: the states before, stacked and padded; donated.
      step: completed iterations of the active members.
      num_steps: at least 1, at most `longest_chunk`.
      active: bool (size,).

    Returns:
      The states after, and the info of `algorithms.train_chunk` with arrays of shape (size,),
      meaningless for inactive members.
    """
    p = population
    active = np.concatenate([active, np.zeros(p.seeds.shape[0] - p.size, bool)])
    data, window = (None, p.data.window(step)) if isinstance(p.data, Feed) else (p.data, None)
    active = put(p.mesh, P(MEMBERS), active)
    states, info = _train_chunk(
        p.spec, p.mesh, p.hparams, states, data, window, p.captions, num_steps, active, p.sharded
    )
    return states, {name: value[: p.size] for name, value in jax.device_get(info).items()}


@functools.partial(jax.jit, static_argnames=("spec", "mesh", "sharded"), donate_argnames="states")
def _train_chunk(
    spec: Spec,
    mesh: Mesh,
    hparams: HParams,
    states: State,
    data: Batch | None,  # None with a window
    window: Window | None,
    captions: CaptionEmbeddings | None,
    num_steps: jax.Array | int,
    active: jax.Array,
    sharded: bool = False,
) -> tuple[State, Info]:
    def one(
        shared: Any, hparams: HParams, state: State, active: jax.Array, window: Window | None
    ) -> tuple[State, Info]:
        data, captions, num_steps = shared
        data = (window or data)._replace(captions=captions)
        num_steps = jnp.where(active, num_steps, 0)
        if sharded:
            state = parallel.shard(state)
        state, info = algorithms.train_chunk(spec, hparams, state, data, num_steps)
        return parallel.shard(state) if sharded else state, info

    def block(members: tuple[Any, ...], shared: Any) -> tuple[State, Info]:
        number = members[2].shape[0]
        if number > 1 and jax.default_backend() != "cpu":
            return jax.vmap(functools.partial(one, shared))(*members)

        # Members are updated in place: lax.map would hold all states twice.
        def body(i: jax.Array, carry: tuple[State, Info]) -> tuple[State, Info]:
            mine = jax.tree.map(lambda x: x[i], (members[0], carry[0], *members[2:]))
            return jax.tree.map(lambda x, new: x.at[i].set(new), carry, one(shared, *mine))

        shapes = jax.eval_shape(jax.vmap(functools.partial(one, shared)), *members)[1]
        infos = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.fori_loop(0, number, body, (members[1], infos))

    members = hparams, states, active, window
    return _per_device(mesh, block)(members, (data, captions, jnp.int32(num_steps)))
