import json
import shutil

import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.sweeps import merge, runner
from gan_jax.sweeps.merge import SweepSpec
from gan_jax.writers import read_metrics
from tests.conftest import sha
from tests.sweeps.conftest import assert_same, refused, rows, run

SPEC = SweepSpec({}, [{}], 2, None, ["", ""], "", [[0, 1]])


@pytest.mark.slow
def test_merged_shards_equal_the_sweep(finished, tmp_path):
    assert run(tmp_path, shard=(1, 2)) == 0
    with refused(tmp_path, "shard-1-of-2 exists and is not one of 4 shards"):
        run(tmp_path, shard=(0, 4))
    with refused(tmp_path, r"another sweep, which differs in config.num_steps \(300 -> 13\)"):
        run(tmp_path, shard=(0, 2), num_steps=13)
    assert run(tmp_path, shard=(0, 2)) == 0
    with refused(tmp_path, "not empty and not a sweep"):
        run(tmp_path)
    assert merge.merge(tmp_path) == 0
    assert_same(finished, tmp_path)
    assert merge.merge(tmp_path) == run(tmp_path, shard=(1, 2)) == 0
    with refused(tmp_path, "holds this sweep, merged from shards"):
        run(tmp_path)
    assert runner.rerun(tmp_path, 3) == 0
    standalone = tmp_path / "members/3"
    assert sha(standalone) == rows(finished)[3]["params_sha256"]
    with np.load(tmp_path / "curves.npz") as file:
        steps, names, curves = file["steps"].tolist(), file["names"].tolist(), file["curves"][3]
    for line in read_metrics(standalone / "metrics.jsonl"):
        curve = dict(zip(names, curves[steps.index(line.pop("step"))], strict=True))
        assert line == pytest.approx({name: curve[name] for name in line}, rel=1e-7)
    shutil.copytree(tmp_path / "shard-1-of-2", tmp_path / "shard-1-of-4")
    for call in (merge.merge, lambda directory: run(directory, shard=(1, 4))):
        with refused(tmp_path, "shard-1-of-4 is a copy of another shard"):
            call(tmp_path)


def test_other_directories_are_refused(finished, tmp_path):
    with refused(finished, "another sweep, which differs in settings"):
        run(finished, settings=[{"k": 1}])
    with refused(finished, r"differs in config.num_steps \(300 -> 13\); use another"):
        run(finished, num_steps=13)
    with refused(finished, r"differs in config.metrics_every"):
        run(finished, metrics_every=10)
    with refused(finished, "holds this sweep as a whole, not in shards"):
        run(finished, shard=(0, 2))
    with refused(finished, "has no shards"):
        merge.merge(finished)
    (tmp_path / "mine").write_text("mine")
    for shard in (None, (0, 2)):
        with refused(tmp_path, "not empty and not a sweep"):
            run(tmp_path, shard=shard)
    with refused(tmp_path, "is not a directory"):
        run(tmp_path / "mine")


@pytest.mark.parametrize(
    "changes",
    [
        {"units": [[0]]},
        {"units": [[0, 0]]},
        {"units": [["0", "1"]]},
        {"units": 3},
        {"shard": [1, 0]},
        {"shard": [0, 2], "units": None},
        {"seeds": 2**70},
        {"config": "digits"},
        {"extra": 1},
    ],
)
def test_damaged_spec(changes, tmp_path):
    (tmp_path / merge.SPEC).write_text(json.dumps(SPEC._asdict()))
    assert merge.read_spec(tmp_path) == SPEC
    (tmp_path / merge.SPEC).write_text(json.dumps(SPEC._asdict() | changes))
    with pytest.raises(InputError, match=r"sweep.json is damaged"):
        merge.read_spec(tmp_path)


def write_shards(directory, *shards):
    for i, n, seeds in shards:
        shard = merge.shard_directory(directory, [i, n])
        shard.mkdir(parents=True)
        units = [list(range(i, seeds, n))]
        merge.write_spec(shard, SPEC._replace(seeds=seeds, shard=[i, n], units=units))


def test_incompatible_shards(tmp_path):
    write_shards(tmp_path / "a", (0, 2, 2), (1, 2, 4))
    with refused(tmp_path, "of sweeps that differ in seeds"):
        merge.merge(tmp_path / "a")
    write_shards(tmp_path / "b", (0, 2, 4), (1, 3, 4))
    with refused(tmp_path, "shards of one sweep, but shard-0-of-2, shard-1-of-3"):
        merge.merge(tmp_path / "b")
    write_shards(tmp_path / "c", (0, 2, 4))
    with refused(tmp_path, "does not have all shards of one sweep, but shard-0-of-2"):
        merge.merge(tmp_path / "c")
    write_shards(tmp_path / "d", (0, 1, 4))
    with refused(tmp_path / "d", "units/0000 is not finished"):
        merge.merge(tmp_path / "d")
    (tmp_path / "d/mine").touch()
    with refused(tmp_path, "not empty and not a sweep"):
        merge.merge(tmp_path / "d")


def test_join_aligns_members_steps_and_quantities():
    """Units with swept num_steps and penalties measure different things at different steps."""

    def unit(numbers, steps, names):
        curves = 100 * np.array(numbers)[:, None, None] + np.array(steps)[:, None]
        return {
            "numbers": np.array(numbers),
            "steps": np.array(steps),
            "names": np.array(names),
            "curves": (curves + 0.1 * np.arange(len(names))).astype(np.float32),
            "diverged": np.array(numbers) * 10,
            "samples": np.array(numbers)[:, None],
            "params_sha256": np.array([f"sha{i}" for i in numbers]),
        }

    spec = SPEC._replace(config={"seed": 7}, settings=[{"k": 1}, {"k": 2}])
    units = [unit([1, 2], [1, 20], ["a", "b"]), unit([0, 3], [1, 10], ["a", "penalty", "b"])]
    results = merge.join(spec, units)
    assert results.setting.tolist() == [0, 0, 1, 1]
    assert results.seed.tolist() == [7, 8, 7, 8]
    assert results.steps.tolist() == [1, 10, 20]
    assert results.names == ("a", "b", "penalty")
    assert results.diverged.tolist() == [0, 10, 20, 30]
    assert results.samples.tolist() == [[0], [1], [2], [3]]
    assert results.params_sha256 == ["sha0", "sha1", "sha2", "sha3"]
    nan = np.nan
    np.testing.assert_allclose(results.curves[2], [[201, 201.1, nan], [nan] * 3, [220, 220.1, nan]])
    np.testing.assert_allclose(
        results.curves[3], [[301, 301.2, 301.1], [310, 310.2, 310.1], [nan] * 3]
    )
