import itertools

import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.sweeps import space


def test_grid_is_the_product_in_order():
    assert space.grid({"k": [1, 2], "loss": ["a", "b"]}) == [
        {"k": k, "loss": loss} for k, loss in itertools.product([1, 2], ["a", "b"])
    ]


def test_random_is_seeded_and_follows_its_samplers():
    samplers = {
        "a": space.uniform(2, 3),
        "b": space.log_uniform(1e-4, 1e-2),
        "c": space.choice([1, 2, 5]),
    }
    drawn = space.random(samplers, 300, seed=1)
    assert drawn == space.random(samplers, 300, seed=1) != space.random(samplers, 300, seed=2)
    a, b, c = (np.array([setting[name] for setting in drawn]) for name in samplers)
    assert 2 <= a.min() < 2.1 < 2.9 < a.max() < 3
    assert 1e-4 <= b.min() < b.max() <= 1e-2
    assert 0.4 < np.mean(b < 1e-3) < 0.6  # one of two decades
    assert set(c.tolist()) == {1, 2, 5}


def test_random_settings_are_distinct():
    samplers = {"k": space.choice([1, 2]), "loss": space.choice(["minimax", "hinge"])}
    drawn = space.random(samplers, 4, seed=0)
    assert sorted(map(repr, drawn)) == sorted(
        repr({"k": k, "loss": loss}) for k in (1, 2) for loss in ("minimax", "hinge")
    )
    with pytest.raises(InputError, match="only 4 distinct settings, not 5"):
        space.random(samplers, 5, seed=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: space.random({"k": [1, 2]}, 1, 0), "must be a sampler"),
        (lambda: space.grid({"loss": "hinge"}), "must be a list"),
        (lambda: space.choice([]), "at least one"),
        (lambda: space.log_uniform(0, 1), "0 < low"),
    ],
)
def test_invalid_spaces(call, message):
    with pytest.raises(InputError, match=message):
        call()
