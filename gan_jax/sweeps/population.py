"""Many runs of one game as one program: a member is a run of its own seed and its own numbers.

On a CPU members are mapped one after the other, each device its share, as there a batched product
of small networks loses the cache and gains nothing; a member then has the same bits as the lone
run of its seed and config. On a GPU or TPU they are batched, and agree to rounding.
"""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from gan_jax import algorithm, checkpoint, core, data, scores, train
from gan_jax import config as config_lib
from gan_jax.core import Game, HParams, Info, State

MEMBERS = "members"  # the axis of the mesh


def mesh(members: int) -> Mesh:
    """The devices that so many members are shared by: all, or as many as there are members."""
    return Mesh(np.array(jax.devices()[:members]), (MEMBERS,))


def _share(mesh: Mesh, block: Any) -> Any:
    """`block`, of stacked pytrees and of what all members share, on each device for its members."""
    return jax.shard_map(
        block, mesh=mesh, in_specs=(P(MEMBERS), P()), out_specs=P(MEMBERS), check_vma=False
    )


def stack(trees: Sequence[Any]) -> Any:
    """Pytrees of numbers or arrays of one structure as one, with a first axis of members."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *trees)


@functools.partial(jax.jit, static_argnames=("game", "mesh"))
def init(game: Game, hparams: HParams, seeds: jax.Array, data: jax.Array, mesh: Mesh) -> State:
    """The states before the first iteration, stacked.

    Args:
      game: static structure, of all members.
      hparams: of each member, stacked: every leaf of shape (members,).
      seeds: uint32 (members,), a multiple of the mesh's devices.
      data: see algorithm.train_chunk; of all members.
      mesh: of the devices that share the members.
    """

    def block(members: tuple[HParams, jax.Array], data: jax.Array) -> State:
        return jax.lax.map(lambda m: core.init(game, m[0], m[1], data), members)

    return _share(mesh, block)((hparams, seeds), data)


@functools.partial(jax.jit, static_argnames=("game", "mesh"), donate_argnames="states")
def train_chunk(
    game: Game,
    hparams: HParams,
    states: State,
    data: jax.Array,
    num_steps: jax.Array | int,
    alive: jax.Array,
    mesh: Mesh,
) -> tuple[State, Info]:
    """`num_steps` iterations of every member that is alive; the others stay as they are.

    Args:
      game: static structure, of all members.
      hparams: of each member, stacked.
      states: the states before, stacked; given away.
      data: see algorithm.train_chunk; of all members.
      num_steps: how many (traced, at least 1).
      alive: bool (members,).
      mesh: of the devices that share the members.

    Returns:
      The states after, and the info of algorithm.train_chunk of each member, stacked; that of a
      member not alive means nothing.
    """

    def one(shared: Any, hparams: HParams, state: State, alive: jax.Array) -> tuple[State, Info]:
        data, num_steps = shared
        return algorithm.train_chunk(game, hparams, state, data, jnp.where(alive, num_steps, 0))

    def block(members: tuple[HParams, State, jax.Array], shared: Any) -> tuple[State, Info]:
        if jax.default_backend() != "cpu":
            return jax.vmap(functools.partial(one, shared))(*members)

        # One after the other, each written back to its place: lax.map would hold all of them twice.
        def body(i: jax.Array, carry: tuple[State, Info]) -> tuple[State, Info]:
            hparams, states, alive = members[0], carry[0], members[2]
            mine = jax.tree.map(lambda x: x[i], (hparams, states, alive))
            return jax.tree.map(lambda x, new: x.at[i].set(new), carry, one(shared, *mine))

        shapes = jax.eval_shape(jax.vmap(functools.partial(one, shared)), *members)[1]
        infos = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.fori_loop(0, members[2].shape[0], body, (members[1], infos))

    return _share(mesh, block)((hparams, states, alive), (data, jnp.int32(num_steps)))


def place(tree: Any, mesh: Mesh) -> Any:
    """Stacked arrays on the devices, each with its members."""
    return jax.device_put(tree, NamedSharding(mesh, P(MEMBERS)))


# The host's side


class Result(NamedTuple):
    """What the members of a population became.

    steps: (T,), the iterations at which something was measured.
    names: of the Q quantities: those of metrics.jsonl.
    curves: float32 (members, T, Q); NaN where nothing was measured or the member had diverged.
    diverged: int32 (members,), the step at which a member diverged, or 0.
    samples: of each member from the noise of its sample grids, (members, n, ...).
    params_sha256: of each member as in run.json; empty for one that diverged.
    """

    steps: np.ndarray
    names: tuple[str, ...]
    curves: np.ndarray
    diverged: np.ndarray
    samples: np.ndarray
    params_sha256: list[str]


class Progress(NamedTuple):
    """What a population tells while it trains."""

    member_steps: int  # since it told last
    diverged: int  # members so far
    best: float  # of the first of eval_metrics so far, NaN before there is any


def size(config: ConfigDict, shape: tuple[int, ...]) -> int:
    """Bytes of a member's state: parameters, optimizer and a few numbers."""
    state = core.shapes(config_lib.game(config, shape), config_lib.hparams(config))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def seconds(configs: Sequence[ConfigDict], dataset: data.Dataset) -> float:
    """How long members would train, by about a second of it; evaluations are not counted."""
    config, alike = configs[0], configs[: jax.device_count()]
    game = config_lib.game(config, dataset.images.shape[1:])
    devices = mesh(len(alike))
    hparams = stack([jax.tree.map(np.float32, config_lib.hparams(c)) for c in alike])
    seeds = np.array([c.seed for c in alike], np.uint32)
    (hparams, seeds), images = (
        place((hparams, seeds), devices),
        jax.device_put(dataset.images, NamedSharding(devices, P())),
    )
    states = init(game, hparams, seeds, images, devices)
    alive = place(np.ones(len(alike), bool), devices)
    length, spent = 1, 0.0
    for attempt in range(20):  # the first one compiles
        begun = time.perf_counter()
        states, _ = jax.block_until_ready(
            train_chunk(game, hparams, states, images, length, alive, devices)
        )
        last, spent = length, time.perf_counter() - begun
        if attempt and spent > 0.3:
            break
        length *= 2
    return spent / last * config.num_steps * -(-len(configs) // len(alike))


def _due(step: int, config: ConfigDict) -> set[str]:
    """As a lone run's, and every population is evaluated at its end."""
    return train.due(step, config) | ({"eval"} if step == config.num_steps else set())


def run(
    configs: Sequence[ConfigDict],
    dataset: data.Dataset,
    reference: scores.Reference,
    directory: pathlib.Path,
    received: Sequence[int],
    tell: Callable[[Progress], None],
) -> Result | None:
    """Trains members to the end, from the start or from the directory's last checkpoint.

    Args:
      configs: of the members, alike in everything but the seed and traced numbers.
      dataset: that they train on.
      reference: that they are evaluated by.
      directory: of their checkpoints.
      received: signals; when there is one, the state is saved.
      tell: is called after every chunk.

    Returns:
      What became of the members, or None after a signal.
    """
    config, number = configs[0], len(configs)
    game = config_lib.game(config, dataset.images.shape[1:])
    devices = mesh(number)
    filled = functools.partial(_filled, more=-number % devices.size)
    hparams = stack([jax.tree.map(np.float32, config_lib.hparams(c)) for c in configs])
    seeds = np.array([c.seed for c in configs], np.uint32)
    hparams, seeds = place(filled((hparams, seeds)), devices)
    images = jax.device_put(dataset.images, NamedSharding(devices, P()))
    trained = algorithm.info_names(game)
    names = (*trained, *config.eval_metrics)
    steps = [n for n in range(1, config.num_steps + 1) if _due(n, config) & {"metrics", "eval"}]
    shape = (number, len(steps), len(names))
    start = functools.partial(init, game, hparams, seeds, images, devices)
    like = {
        "states": jax.eval_shape(lambda: jax.tree.map(lambda x: x[:number], start())),
        "diverged": jax.ShapeDtypeStruct((number,), np.int32),
        "curves": jax.ShapeDtypeStruct(shape, np.float32),
    }
    saved = checkpoint.restore_newest(directory, like)
    if saved is None:
        states, diverged = start(), np.zeros(number, np.int32)
        curves = np.full(shape, np.nan, np.float32)
    else:
        states, diverged, curves = (saved[name] for name in ("states", "diverged", "curves"))
        states = place(filled(states), devices)
    step = int(np.max(states.step))  # a member that diverged has stopped before
    saver = checkpoint.Writer(directory, config.keep_checkpoints, step)
    longest = 1
    with contextlib.closing(saver):
        while step < config.num_steps:
            length = min(train.next_stop(step, config) - step, longest)
            begun = time.perf_counter()
            alive = filled(diverged == 0)
            alive[number:] = False
            states, info = train_chunk(
                game, hparams, states, images, length, place(alive, devices), devices
            )
            info = {name: value[:number] for name, value in jax.device_get(info).items()}
            longest = train.next_length(longest, length, time.perf_counter() - begun)
            step += length
            living = diverged == 0
            finite = np.all(np.isfinite(np.stack(list(info.values()))), axis=0)
            diverged = np.where(living & ~finite, info["step"], diverged).astype(np.int32)
            living &= finite
            due = _due(step, config)
            if due & {"metrics", "eval"}:
                line = curves[:, steps.index(step)]
                line[living, : len(trained)] = np.stack([info[n] for n in trained], axis=1)[living]
            if "eval" in due:
                for i in np.flatnonzero(living).tolist():
                    samples = train.evaluation_samples(game, member(states, i), config.eval_num)
                    if not np.isfinite(samples).all():  # as train.run has it
                        diverged[i] = step
                        continue
                    entries = scores.score(samples, reference, config.eval_metrics, intervals=False)
                    line[i, len(trained) :] = [entries[n]["value"] for n in config.eval_metrics]
            best = scores.best(config.eval_metrics[0], curves[:, :, len(trained)])
            tell(Progress(length * int(living.sum()), int((diverged > 0).sum()), best))
            if received or "checkpoint" in due:
                saver.wait()  # before there is another copy of the states
                mine = jax.tree.map(lambda x: np.asarray(x)[:number], states)
                saver.save(step, {"states": mine, "diverged": diverged, "curves": curves.copy()})
            if received:
                return None
    ends = [member(states, i) for i in range(number)]
    return Result(
        steps=np.array(steps),
        names=names,
        curves=curves,
        diverged=diverged,
        samples=np.stack([train.samples(config, game, state) for state in ends]),
        params_sha256=[
            "" if diverged[i] else checkpoint.sha256(core.learned(s)) for i, s in enumerate(ends)
        ],
    )


def _filled(tree: Any, more: int) -> Any:
    """Stacked arrays, with the last member `more` times more, for places that have no member."""
    return jax.tree.map(lambda x: np.concatenate([x, np.repeat(x[-1:], more, axis=0)]), tree)


def member(states: State, number: int) -> State:
    """One member's state, on the host."""
    return jax.tree.map(lambda x: np.asarray(x[number]), states)
