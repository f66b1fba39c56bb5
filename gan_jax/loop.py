"""Host training loop: chunks, evaluation and signal handling."""

import contextlib
import functools
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from gan_jax import parallel, population
from gan_jax.evaluation import scoring
from gan_jax.evaluation.registry import Reference
from gan_jax.population import Population
from gan_jax.processes import ALONE, Processes
from gan_jax.state import State

_EVERY = ("log", "metrics", "sample", "checkpoint", "eval")  # config fields <name>_every
_CHUNK_SECONDS = 1.0  # target duration of a chunk; signals are handled between chunks


def _periods(config: ConfigDict) -> dict[str, int]:
    every = {name: config[f"{name}_every"] for name in _EVERY}
    return {name: period for name, period in every.items() if period}


def due(step: int, config: ConfigDict) -> set[str]:
    """Outputs due after an iteration: a subset of log, metrics, sample, checkpoint and eval."""
    every = _periods(config)
    names = {name for name in every if step % every[name] == 0}
    if "eval" in names:
        names |= {"metrics", "checkpoint"}
    if step == config.num_steps:
        names |= every.keys() - {"eval"}  # a longer run would not evaluate here
    return names | {"log", "metrics"} if step == 1 else names


def next_stop(step: int, config: ConfigDict) -> int:
    """The next iteration after which an output is due."""
    if step == 0:
        return 1  # separates compilation from training time
    return min(config.num_steps, *((step // n + 1) * n for n in _periods(config).values()))


def next_length(longest: int, length: int, seconds: float) -> int:
    """Maximum length of the next chunk, given that `length` iterations took `seconds`."""
    # At most doubles, as the first chunk is mostly compilation.
    return max(1, min(2 * longest, round(length * _CHUNK_SECONDS / seconds)))


class Chunk(NamedTuple):
    """State and measurements of a population after a chunk of iterations."""

    step: int
    states: State  # stacked, gathered if an output is due; donated to the next chunk
    info: dict[str, np.ndarray]  # (members,): training info, and metrics where evaluated
    diverged: np.ndarray  # int32 (members,): the first non-finite iteration, 0 for none
    due: set[str]


def train(
    config: ConfigDict,
    members: Population,
    states: State,
    diverged: np.ndarray,
    step: int,
    reference: Reference | None,
    evaluate_last: bool = False,
    peers: Processes = ALONE,
) -> Iterator[Chunk]:
    """Trains to the end of a run or of a whole population.

    Args:
      config: config of any member; members differ only in seed and traced fields.
      members: the population.
      states: its states, stacked and padded.
      diverged: int32 (members,); nonzero members are skipped.
      step: completed iterations; the states of diverged members have fewer.
      reference: for evaluations; None for none.
      evaluate_last: also evaluate after the last iteration.
      peers: the processes that train together.

    Yields:
      A chunk whenever an output is due, and about once a second.
    """
    longest = 1
    while step < config.num_steps:
        longest = min(longest, population.longest_chunk(members, step))
        length = min(next_stop(step, config) - step, longest)
        begun = time.perf_counter()
        states, info = population.train_chunk(members, states, step, length, diverged == 0)
        seconds = time.perf_counter() - begun
        longest = min(peers.all_gather(next_length(longest, length, seconds)))
        step += length
        now = due(step, config)
        # Norms are checked only at scheduled outputs: other chunks end by the clock.
        checked = [x for name, x in info.items() if now or not name.endswith("_norm")]
        finite = np.all(np.isfinite(np.stack(checked)), axis=0)
        diverged = np.where((diverged == 0) & ~finite, info["step"], diverged).astype(np.int32)
        if evaluate_last and step == config.num_steps:
            now.add("eval")
        seen = parallel.gather(states) if now else states
        if "eval" in now and (reference or peers.index):
            living = np.flatnonzero(diverged == 0).tolist()
            scores = peers.call_on_primary(
                functools.partial(_scores, config, members, seen, living, reference)
            )
            info |= {name: np.full(members.size, np.nan) for name in config.eval_metrics}
            for i, values in zip(living, scores, strict=True):
                if values is None:
                    diverged[i] = step
                for name, value in (values or {}).items():
                    info[name][i] = value
        yield Chunk(step, seen, info, diverged, now)


def _scores(
    config: ConfigDict,
    members: Population,
    states: State,
    chosen: Sequence[int],
    reference: Reference | None,
) -> list[dict[str, float] | None]:
    """Metrics of members; None where samples are not finite."""
    assert reference is not None
    y, conditions = scoring.evaluation_conditions(config, config.eval_num, reference.train)
    found: list[dict[str, float] | None] = []
    for i in chosen:
        state = population.member(states, i)
        drawn = scoring.evaluation_samples(members.spec, state, config.eval_num, y)
        if not np.isfinite(drawn).all():
            found.append(None)
            continue
        scores = scoring.score(
            drawn, reference, config.eval_metrics, intervals=False, conditions=conditions
        )
        found.append({name: float(entry["value"]) for name, entry in scores.items()})
    return found


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """Records the first SIGINT or SIGTERM; a second one terminates the process."""
    pending: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)

    def handler(number: int, _: Any) -> None:
        pending.append(number)
        for kind in kinds:
            signal.signal(kind, signal.SIG_DFL)

    before = {kind: signal.signal(kind, handler) for kind in kinds}
    try:
        yield pending
    finally:
        for kind, old in before.items():
            signal.signal(kind, old)
