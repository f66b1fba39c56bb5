"""Trains a population and collects its curves."""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from gan_jax import algorithms, checkpoint, data, grid, loop, population
from gan_jax import config as config_lib
from gan_jax.draws import Batch
from gan_jax.evaluation import registry
from gan_jax.spec import Spec
from gan_jax.state import trainable


class Result(NamedTuple):
    """Trained members.

    steps: (T,), the iterations at which something was measured.
    names: names of Q quantities, as in metrics.jsonl.
    curves: float32 (members, T, Q); NaN where nothing was measured or a member had diverged.
    diverged: int32 (members,), the iteration at which a member diverged, or 0.
    samples: the sample grid of each member, (members, n, *example shape).
    params_sha256: as in run.json; empty for members that diverged.
    """

    steps: np.ndarray
    names: tuple[str, ...]
    curves: np.ndarray
    diverged: np.ndarray
    samples: np.ndarray
    params_sha256: list[str]


class Progress(NamedTuple):
    """What a population reports after a chunk."""

    member_steps: int  # completed iterations, summed over members
    diverged: int  # members
    best: float  # of the first of eval_metrics so far, NaN before the first evaluation


def _spec(config: ConfigDict, dataset: data.Dataset) -> Spec:
    return config_lib.spec(config, dataset.images.shape[1:], data.num_classes(dataset))


def state_bytes(config: ConfigDict, dataset: data.Dataset) -> int:
    """Bytes of a member's state."""
    state = algorithms.shapes(_spec(config, dataset), config_lib.hparams(config))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def cost(config: ConfigDict, dataset: data.Dataset) -> tuple[float, float]:
    """FLOPs of an iteration and bytes that its operations access, by XLA's analysis.

    The analysis is that of the program before optimisation, which fuses operations and so accesses
    fewer bytes.
    """
    spec, hparams = _spec(config, dataset), config_lib.hparams(config)
    arrays = dataset.images, *population.conditioning(config, dataset)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)
    step = jax.jit(algorithms.step, static_argnums=0)
    lowered = step.lower(spec, hparams, algorithms.shapes(spec, hparams), Batch(*shapes))
    found = lowered.cost_analysis() or {}
    return found["flops"], found["bytes accessed"]


def estimate_seconds(configs: Sequence[ConfigDict], dataset: data.Dataset) -> float:
    """Estimated training time, measured on one member per device; evaluations not included."""
    timed = configs[: jax.device_count()]
    members = population.create(timed, dataset)
    states = population.init(members)
    active = np.ones(len(timed), bool)
    step, length, spent = 0, 1, 0.0
    for attempt in range(20):  # the first one compiles
        last = min(length, population.longest_chunk(members, step))
        begun = time.perf_counter()
        states, _ = population.train_chunk(members, states, step, last, active)
        step, spent = step + last, time.perf_counter() - begun
        if attempt and spent > 0.3:
            break
        length *= 2
    return spent / last * configs[0].num_steps * -(-len(configs) // len(timed))


def run(
    configs: Sequence[ConfigDict],
    dataset: data.Dataset,
    reference: registry.Reference,
    directory: pathlib.Path,
    pending_signals: Sequence[int],
    on_progress: Callable[[Progress], None],
) -> Result | None:
    """Trains members to the end, from the start or from the directory's last checkpoint.

    Args:
      configs: the members' configs, identical except for seed and traced fields.
      dataset: training data.
      reference: what samples are compared with.
      directory: directory of checkpoints.
      pending_signals: received signals; after the first, saves and returns.
      on_progress: called after every chunk.

    Returns:
      The trained members, or None after a signal.
    """
    config, number = configs[0], len(configs)
    members = population.create(configs, dataset)
    trained = algorithms.ALGORITHMS[config.algorithm].info_names(members.spec)
    names = (*trained, *config.eval_metrics)
    last = config.num_steps
    steps = [n for n in range(1, last + 1) if "metrics" in loop.due(n, config) or n == last]
    shape = (number, len(steps), len(names))
    start = functools.partial(population.init, members)
    like = {
        "states": jax.eval_shape(lambda: jax.tree.map(lambda x: x[:number], start())),
        "step": jax.ShapeDtypeStruct((), np.int32),  # diverged members have stopped before
        "diverged": jax.ShapeDtypeStruct((number,), np.int32),
        "curves": jax.ShapeDtypeStruct(shape, np.float32),
    }
    saved = checkpoint.restore_newest(directory, like)
    if saved is None:
        step, states, diverged = 0, start(), np.zeros(number, np.int32)
        curves = np.full(shape, np.nan, np.float32)
    else:
        states, diverged, curves = (saved[name] for name in ("states", "diverged", "curves"))
        step, states = int(saved["step"]), population.place(members, states)
    saver = checkpoint.Writer(directory, config.keep_checkpoints, step)
    with contextlib.closing(saver):
        for chunk in loop.train(
            config, members, states, diverged, step, reference, evaluate_last=True
        ):
            states, diverged = chunk.states, chunk.diverged
            living = diverged == 0
            if chunk.step in steps:
                columns = [i for i, name in enumerate(names) if name in chunk.info]
                values = np.stack([chunk.info[names[i]] for i in columns], axis=1)
                at = np.ix_(living, [steps.index(chunk.step)], columns)
                curves[at] = values[living][:, None]
            best = registry.best(config.eval_metrics[0], curves[:, :, len(trained)])
            completed = np.where(living, chunk.step, diverged)
            on_progress(Progress(int(completed.sum()), int((~living).sum()), best))
            step = chunk.step
            stop = bool(pending_signals)  # once: a signal may arrive during the save
            if stop or "checkpoint" in chunk.due:
                saver.wait()  # before there is another copy of the states
                mine = jax.tree.map(lambda x: np.asarray(x)[:number], states)
                arrays = {"states": mine, "diverged": diverged, "curves": curves.copy()}
                saver.save(step, {"step": np.int32(step), **arrays})
            if stop:
                return None
    ends = [population.member(states, i) for i in range(number)]
    return Result(
        steps=np.array(steps),
        names=names,
        curves=curves,
        diverged=diverged,
        samples=np.stack([grid.samples(config, members.spec, state, dataset) for state in ends]),
        params_sha256=[
            checkpoint.sha256(trainable(state)) if alive else ""
            for state, alive in zip(ends, diverged == 0, strict=True)
        ],
    )
