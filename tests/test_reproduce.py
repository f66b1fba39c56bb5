import shutil

import pytest

from gan_jax import reproduce, train, workdir
from gan_jax.errors import InputError
from gan_jax.writers import read_metrics, write_json
from tests.conftest import contents, tiny_config


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ([{"step": 1, "fid": 2.0}], [{"step": 1, "fid": 2.0}], None),
        ([{"step": 1, "fid": 2.0}], [{"step": 1, "fid": 3.0}], "fid: 2.0 recorded, 3.0 now"),
        ([{"step": 1, "fid": 2.0}], [{"step": 1}], "fid: 2.0 recorded, nothing now"),
        ([{"step": 1}], [{"step": 1, "fid": None}], "fid: nothing recorded, None now"),
        ([{"step": 1, "a": 1, "b": 1}], [{"step": 1, "b": 2, "a": 2}], "a: 1 recorded, 2 now"),
        ([{"step": 1}, {"step": 2}], [{"step": 2}], "step: 1 recorded, 2 now"),
    ],
)
def test_first_difference(old, new, difference):
    expected = difference and f"iteration 1, {difference}"
    assert reproduce.first_difference(old, new) == expected
    fewer = f"{len(old) + 1} lines of metrics recorded, {len(old)} now"
    assert reproduce.first_difference([*old, {}], old) == fewer


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def test_identical_run(finished, capsys):
    before = contents(finished)
    assert reproduce.reproduce(finished) == 0
    expected = "identical: 7 lines of metrics, 3 sample grids, params_sha256"
    assert capsys.readouterr().out.splitlines()[1] == expected
    assert contents(finished) == before


def test_first_difference_and_environment(copy, capsys, monkeypatch):
    metrics = copy / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('"d_real": 0.', '"d_real": 0.0')
    metrics.write_text("".join(lines))
    record = workdir.read_json(copy / "run.json")
    record["versions"]["jax"] = "0.0.1"
    record["earlier"] = [{**record, "cores": 64, "until": 4}]
    record["cores"] = 2
    write_json(copy / "run.json", record)
    monkeypatch.setenv("NPROC", "1")
    assert reproduce.reproduce(copy) == 1
    out = capsys.readouterr().out
    assert "differs first at iteration 4, d_real" in out
    assert "the run changed environment at iteration 4: cores 64 -> 2" in out
    assert "the environment differs in cores 2 -> 1" in out
    assert "the environment differs in versions.jax 0.0.1 ->" in out


def test_changed_parameters_and_images(copy, capsys):
    record = workdir.read_json(copy / "run.json")
    write_json(copy / "run.json", record | {"params_sha256": 64 * "0"})
    assert reproduce.reproduce(copy) == 1
    out = capsys.readouterr().out
    assert "differs first at params_sha256: 0000" in out
    assert "the environment differs in nothing recorded" in out
    (copy / "samples/step_0000012.png").write_bytes(b"")
    assert reproduce.reproduce(copy) == 1
    assert "differs first at samples/step_0000012.png" in capsys.readouterr().out


def test_inconsistent_records(copy):
    lines = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    for kept, message in (([], "no metrics yet"), (lines[:-1], "disagree on the last step")):
        (copy / "metrics.jsonl").write_text("".join(kept))
        with pytest.raises(InputError, match=message):
            reproduce.reproduce(copy)


def test_changed_metrics_every(copy, capsys):
    config = tiny_config()
    config.metrics_every, config.num_steps = 3, 18
    train.run(config, copy, "digits")
    steps = [line["step"] for line in read_metrics(copy / "metrics.jsonl")]
    assert steps == [1, 2, 4, 6, 8, 10, 12, 15, 18]
    assert reproduce.reproduce(copy) == 0
    assert "identical: 9 lines" in capsys.readouterr().out


def test_moved_data(copy):
    fields = workdir.read_json(copy / "config.json") | {"dataset": "npz:gone.npz"}
    write_json(copy / "config.json", fields)
    with pytest.raises(InputError, match=r"gone\.npz: .* resume .* --config\.dataset=npz:NEW"):
        reproduce.reproduce(copy)
