import numpy as np
import pytest

from gan_jax import config, data
from gan_jax.errors import InputError
from gan_jax.sweeps import plan, space
from tests.conftest import tiny_config
from tests.sweeps.conftest import RATE

DATASET = data.from_arrays(np.zeros((20, 8, 8, 1), np.uint8))


def test_members_are_settings_times_seeds():
    settings = [{RATE: 1e30}, {RATE: 1e-3}]
    members = plan.members(config.replace(tiny_config(), {"seed": 7}), settings, 3)
    assert [m.number for m in members] == list(range(6))
    assert [(m.setting, m.config.seed) for m in members[:4]] == [(0, 7), (0, 8), (0, 9), (1, 7)]
    assert members[0].config.d_optimizer.learning_rate == 1e30


def test_settings_take_the_types_of_the_config():
    settings = [{"generator.widths": [5], "k": np.int32(2), RATE: 1, "loss": np.str_("minimax")}]
    (member,) = plan.members(tiny_config(), settings, 1)
    assert repr(member.values) == repr(
        {"generator.widths": (5,), "k": 2, RATE: 1.0, "loss": "minimax"}
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "non-empty list"),
        (None, "must return a non-empty list"),
        ({"k": [1, 2]}, "must return a non-empty list"),
        ([{"k": 1}, None], "setting 1 must be a dict with the same fields as the first, not None"),
        ([{"k": 1}, {"loss": "minimax"}], "setting 1 must be a dict with the same fields"),
        ([{1: 2}], "config.1 is not a field"),
        ([{"kk": 1}], "config.kk is not a field"),
        ([{"k": 0}], "config.k is 0, but must be an integer from 1"),
        ([{"k": np.arange(10**6)}], r"config.k is array.*, but must be an integer from 1"),
        ([{RATE: float("nan")}], f"config.{RATE} is nan, but must be a number"),
        ([{"seed": 3}], "config.seed must be the same in the whole sweep"),
        ([{RATE: 1}, {RATE: 2}, {RATE: np.float64(1)}], "settings 0 and 2 are the same"),
        ([{}, {}], "settings 0 and 1 are the same"),
    ],
)
def test_invalid_settings(settings, message):
    with pytest.raises(InputError, match=message):
        plan.members(tiny_config(), settings, 2)


def test_seeds_end_at_the_largest():
    last = config.replace(tiny_config(), {"seed": 2**32 - 2})
    assert [m.config.seed for m in plan.members(last, [{}], 2)] == [2**32 - 2, 2**32 - 1]
    with pytest.raises(InputError, match=r"--seeds=3: with config.seed=4294967294"):
        plan.members(last, [{}], 3)
    with pytest.raises(InputError, match="1 settings x 4294967295 seeds exceed the limit"):
        plan.members(tiny_config(), [{}], 2**32 - 1)


def test_group_by_static_fields_and_options():
    settings = space.grid({"k": [1, 2], RATE: [1e-3, 1e-2], "ema": [0.0, 0.9, 0.99]})
    groups = plan.group(plan.members(tiny_config(), settings, 2))
    assert [(g[0].config.k, g[0].config.ema, len(g)) for g in groups] == [
        (1, 0.0, 4),
        (1, 0.9, 8),
        (2, 0.0, 4),
        (2, 0.9, 8),
    ]


def test_units_fit_into_memory(monkeypatch):
    members = plan.members(tiny_config(), [{"k": 1}, {"k": 2}], 7)
    monkeypatch.setattr(plan, "max_unit", lambda *_: 3)
    for most, sizes in ((None, [2, 2, 3]), (9, [2, 2, 3]), (2, [1, 2, 2, 2])):
        units = plan.units(members, DATASET, most)
        assert [len(unit) for unit in units] == sizes * 2
        assert [m for unit in units for m in unit] == members


def test_half_of_free_memory_is_for_members(monkeypatch):
    each = 3 * plan.unit.state_bytes(tiny_config(), DATASET)
    memory = type("Memory", (), {"available": 2 * (DATASET.images.nbytes + 9.5 * each)})
    monkeypatch.setattr(plan.psutil, "virtual_memory", lambda: memory)
    assert plan.max_unit(tiny_config(), DATASET) == 9
    shared = memory.available
    two = config.replace(tiny_config(), {"devices": 2})
    assert plan.max_unit(two, DATASET) == 4  # on both devices each
    memory.available *= 4
    assert plan.max_unit(tiny_config(), DATASET, processes=4) == 9
    memory.available = shared
    memory.available = each
    assert plan.max_unit(tiny_config(), DATASET) == 1
    memory.available = each - 1
    with pytest.raises(InputError, match="a member needs"):
        plan.max_unit(tiny_config(), DATASET)
