import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from gan_jax import checkpoint
from gan_jax.errors import InputError
from gan_jax.state import State


def state(step: int = 3, width: int = 4) -> State:
    weights = np.arange(2 * width, dtype=np.float32).reshape(2, width)
    return State(np.int32(step), np.array([1, 2], np.uint32), {"d": {"kernel": weights}}, {})


def write(directory: pathlib.Path, keep: int, *saves: tuple) -> pathlib.Path:
    writer = checkpoint.Writer(directory, keep, begin=0)
    for step, *best_by in saves:
        writer.save(step, state(step), *best_by)
    writer.close()
    return directory


@pytest.fixture
def saved(tmp_path):
    return write(tmp_path / "run", 2, (1,), (2,), (3,))


def test_restore_and_keep_the_newest(saved):
    back = checkpoint.restore(saved, 3, state())
    assert jax.tree.structure(back) == jax.tree.structure(state())
    assert checkpoint.sha256(back) == checkpoint.sha256(state())
    assert checkpoint.steps(saved) == [2, 3]
    assert checkpoint.restore_newest(saved, state()).step == 3
    assert checkpoint.restore_newest(saved / "nowhere", state()) is None
    with pytest.raises(InputError, match="no checkpoint of step 1; it has: 2, 3"):
        checkpoint.restore(saved, 1, state())


def test_keep_the_best_and_the_newest(tmp_path):
    run = write(tmp_path / "run", 1, *((i + 1, {"fid": x}) for i, x in enumerate((5, 6, 2, 3))))
    assert checkpoint.steps(run) == [3, 4]
    writer = checkpoint.Writer(run, keep=1, begin=4)  # another process
    assert checkpoint.steps(run) == [3, 4]
    for step, value, kept in ((5, 4, [3, 5]), (6, 1, [6]), (7, 9, [6, 7])):
        writer.save(step, state(step), {"fid": value})
        writer.wait()
        assert checkpoint.steps(run) == kept
    for step, value in ((8, 3), (9, 4)):  # config.keep_best has changed: fid no longer counts
        writer.save(step, state(step), {"kid": value})
    writer.close()
    assert checkpoint.steps(run) == [8, 9]


def test_best_without_later_values(tmp_path):
    saves = ((1, {"fid": 0.2}), (2, {"fid": 0.5}), (3, None), (4, {}), (5, None))
    run = write(tmp_path / "run", 1, *saves)
    assert checkpoint.steps(run) == [1, 5]
    assert checkpoint.best(run, "fid") == 1
    with pytest.raises(InputError, match=r"config.keep_best was 'kid'"):
        checkpoint.best(run, "kid")
    saves = ((1, {"parzen": 0.2}), (2, {"parzen": -1.5}), (3, {"parzen": -1.5}))
    assert checkpoint.best(write(tmp_path / "equals", 9, *saves), "parzen") == 2  # the first


def test_sha256_of_values_and_structure():
    trees = [
        {"a": np.zeros(2, np.float32)},
        {"a": np.array([0, 1e-45], np.float32)},
        {"b": np.zeros(2, np.float32)},
        {"a": np.zeros(2, np.int32)},
        {"a": np.zeros((2, 1), np.float32)},
        {"a": np.zeros(1, np.float32), "b": np.zeros(1, np.float32)},
    ]
    assert len({checkpoint.sha256(tree) for tree in trees}) == len(trees)


@pytest.mark.parametrize(
    ("like", "words"),
    [
        (state(width=5), r"kernel'\] is float32 \(2, 4\), expected float32 \(2, 5\)"),
        (state()._replace(step=np.int64(3)), r"step is int32 \(\), expected int64"),
        (
            state()._replace(averages={"ema": np.zeros(2)}),
            r"ema'\] is none, expected float64",
        ),
        (state()._replace(players={}), r"kernel'\] is float32 \(2, 4\), expected none"),
    ],
)
def test_structure_mismatch(like, words, saved, caplog):
    with pytest.raises(InputError, match=f"step_0000003 is from another config: .*{words}"):
        checkpoint.restore_newest(saved, like)
    assert not caplog.text  # nothing was called damaged, and the one before not tried


def test_checkpoints_of_earlier_versions(saved, caplog):
    for path in saved.iterdir():
        (path / "arrays.json").unlink()
        manifest = json.loads((path / "manifest.json").read_text())
        del manifest["sha256"]["arrays.json"]
        (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="step_0000003 was written by an earlier version"):
        checkpoint.restore_newest(saved, state())
    assert not caplog.text


@pytest.mark.parametrize("name", ["manifest.ocdbt", "d/*", "arrays.json", "manifest.json"])
def test_fallback_from_damage(name, saved, caplog):
    def damage(step: int) -> None:
        (path,) = saved.glob(f"step_{step:07}/{name}")
        path.write_bytes(path.read_bytes()[:-1])

    damage(3)
    assert checkpoint.restore_newest(saved, state()).step == 2
    assert "step_0000003 is damaged" in caplog.text
    damage(2)
    with pytest.raises(InputError, match="every checkpoint"):
        checkpoint.restore_newest(saved, state())
    assert checkpoint.steps(saved) == [2, 3]


def test_renamed_checkpoints_are_skipped(saved, caplog):
    (saved / "step_0000003").rename(saved / "step_0000009")
    assert checkpoint.restore_newest(saved, state()).step == 2
    assert "step_0000009 is damaged" in caplog.text
    checkpoint.Writer(saved, keep=2, begin=2).close()  # deletes what is past begin
    assert checkpoint.steps(saved) == [2]


def test_removed_directory_is_not_recreated(saved):
    writer = checkpoint.Writer(saved, keep=2, begin=3)
    shutil.rmtree(saved)
    writer.save(4, state(4))
    with pytest.raises(OSError, match="no checkpoint could be written: FileNotFoundError"):
        writer.close()
    assert not saved.exists()


def test_pickles_are_refused(saved, monkeypatch):
    """Also if someone has forged the hashes: nothing is unpickled."""
    evil = b"cos\nmkdir\n(S'evil'\ntR."
    monkeypatch.chdir(saved)
    path = saved / "step_0000003"
    manifest = json.loads((path / "manifest.json").read_text())
    for file in path.rglob("*"):
        if file.is_file() and not file.name.endswith(".json"):
            file.write_bytes(evil)
    manifest["sha256"] = checkpoint._hash_files(path)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="step_0000003 cannot be read"):
        checkpoint.restore(saved, 3, state())
    assert not (saved / "evil").exists()
