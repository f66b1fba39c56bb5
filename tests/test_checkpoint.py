import jax
import numpy as np
import pytest

from gan_jax import checkpoint, config, core
from gan_jax.errors import InputError


@pytest.fixture
def state(tiny):
    game, hparams = config.game(tiny, (8, 8, 1)), config.hparams(tiny)
    return core.init(game, hparams, 0, np.zeros((1, 8, 8, 1)))


@pytest.fixture
def saved(state, tmp_path):
    writer = checkpoint.Writer(tmp_path / "run", keep=2, begin=0)
    for step in (1, 2, 3):
        writer.save(step, state._replace(step=np.int32(step)))
    writer.close()
    return tmp_path / "run"


def test_what_is_read_is_what_was_saved(state, saved):
    back = checkpoint.restore(saved, 3, state)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    assert checkpoint.sha256(back) == checkpoint.sha256(state._replace(step=np.int32(3)))


def test_the_newest_are_kept(state, saved):
    assert checkpoint.steps(saved) == [2, 3]
    assert checkpoint.restore_newest(saved, state).step == 3
    with pytest.raises(InputError, match="no checkpoint of step 1; it has: 2, 3"):
        checkpoint.restore(saved, 1, state)


def test_the_best_is_kept_beside_the_newest(state, tmp_path):
    writer = checkpoint.Writer(tmp_path / "run", keep=1, begin=0)
    for step, value in ((1, 0.5), (2, 0.6), (3, 0.2), (4, 0.3)):
        writer.save(step, state, {"fid": value})
    writer.close()
    assert checkpoint.steps(tmp_path / "run") == [3, 4]
    writer = checkpoint.Writer(tmp_path / "run", keep=1, begin=4)  # another process
    assert checkpoint.steps(tmp_path / "run") == [3, 4]
    writer.save(5, state, {"fid": 0.4})
    writer.wait()
    assert checkpoint.steps(tmp_path / "run") == [3, 5]
    for step, value in ((6, 0.1), (7, 0.9)):
        writer.save(step, state, {"fid": value})
    writer.wait()
    assert checkpoint.steps(tmp_path / "run") == [6, 7]
    writer.save(8, state, {"kid": 3.0})  # by another quantity: those before have no say
    writer.save(9, state, {"kid": 4.0})
    writer.close()
    assert checkpoint.steps(tmp_path / "run") == [8, 9]


def test_the_best_outlives_checkpoints_that_name_no_quantity(state, tmp_path):
    writer = checkpoint.Writer(tmp_path / "run", keep=1, begin=0)
    for step, best_by in ((1, {"fid": 0.2}), (2, {"fid": 0.5}), (3, None), (4, {}), (5, None)):
        writer.save(step, state, best_by)
    writer.close()
    assert checkpoint.steps(tmp_path / "run") == [1, 5]
    assert checkpoint.best(tmp_path / "run", "fid") == 1
    for name in ("kid", "none"):
        with pytest.raises(InputError, match=f"config.keep_best was '{name}'"):
            checkpoint.best(tmp_path / "run", name)


def test_of_equally_good_checkpoints_the_first_is_the_best(state, tmp_path):
    writer = checkpoint.Writer(tmp_path / "run", keep=9, begin=0)
    for step, value in ((1, 0.2), (2, -1.5), (3, -1.5)):
        writer.save(step, state, {"parzen": value})
    writer.close()
    assert checkpoint.best(tmp_path / "run", "parzen") == 2


def test_the_hash_depends_on_values_names_types_and_shapes():
    trees = [
        {"a": np.zeros(2, np.float32)},
        {"a": np.array([0, 1e-45], np.float32)},
        {"b": np.zeros(2, np.float32)},
        {"a": np.zeros(2, np.int32)},
        {"a": np.zeros((2, 1), np.float32)},
        {"a": np.zeros(1, np.float32), "b": np.zeros(1, np.float32)},
    ]
    assert len({checkpoint.sha256(tree) for tree in trees}) == len(trees)


def test_a_state_of_another_structure_is_refused(state, saved, tiny):
    wider = config.override(tiny, ["--config.generator.widths=(6,)"])
    other = core.init(
        config.game(wider, (8, 8, 1)), config.hparams(wider), 0, np.zeros((1, 8, 8, 1))
    )
    with pytest.raises(InputError, match="of another config"):
        checkpoint.restore(saved, 3, other)


def test_no_checkpoint_is_none_and_only_damaged_ones_are_an_error(state, tmp_path, saved):
    assert checkpoint.restore_newest(tmp_path / "nowhere", state) is None
    for path in saved.glob("*/manifest.ocdbt"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="every checkpoint"):
        checkpoint.restore_newest(saved, state)


def test_checkpoints_past_the_step_to_go_on_from_are_deleted(saved):
    checkpoint.Writer(saved, keep=2, begin=2).close()
    assert checkpoint.steps(saved) == [2]
