"""Tests of gan_jax.loop: the schedule of outputs, and the length of chunks."""

import os
import signal

import pytest

from gan_jax import config, loop


def test_due(tiny):
    c = config.replace(tiny, {"eval_every": 8, "eval_metrics": ("fid",)})
    expected = {
        0: {"log", "metrics", "sample", "checkpoint", "eval"},  # never queried
        1: {"log", "metrics"},
        2: {"metrics"},
        3: set(),
        4: {"metrics", "checkpoint"},
        5: {"log"},
        6: {"metrics", "sample"},
        8: {"metrics", "checkpoint", "eval"},
        12: {"log", "metrics", "sample", "checkpoint"},  # the last, but no evaluation
    }
    assert {step: loop.due(step, c) for step in expected} == expected
    assert loop.due(8, config.replace(c, {"metrics_every": 5})) >= {"metrics", "eval"}
    assert "eval" not in loop.due(8, tiny)
    stops, step = [], 0
    while step < c.num_steps:
        stops.append(step := loop.next_stop(step, c))
    assert stops == [1, 2, 4, 5, 6, 8, 10, 12]


def test_chunks_take_about_a_second():
    assert loop.next_length(longest=1, length=1, seconds=9.0) == 1  # mostly compilation
    assert loop.next_length(longest=1, length=1, seconds=0.001) == 2  # at most doubles
    assert loop.next_length(longest=64, length=50, seconds=2.0) == 25


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_terminates(kind):
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(x) for x in kinds]
    with loop.signals() as pending:
        os.kill(os.getpid(), kind)
        assert pending == [kind]
        assert [signal.getsignal(x) for x in kinds] == [signal.SIG_DFL] * 2
    assert [signal.getsignal(x) for x in kinds] == before
