import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from gan_jax import checkpoint, config, data, train, workdir
from gan_jax.errors import InputError
from gan_jax.evaluation import scoring
from gan_jax.provenance import cores
from gan_jax.sweeps import merge, plan, runner, summary
from gan_jax.sweeps.merge import SweepSpec
from gan_jax.sweeps.unit import Result
from gan_jax.writers import write_json
from tests.conftest import ROOT, contents, fill
from tests.sweeps.conftest import RATE, SETTINGS, assert_same, base, refused, rows, run


@pytest.fixture
def copied(finished, tmp_path):
    directory = tmp_path / "sweep"
    shutil.copytree(finished, directory)
    return directory


def test_sweep_writes_its_files(finished):
    names = {path.name for path in finished.iterdir() if path.is_file()}
    assert names >= {"config.json", "run.json", "sweep.json", *summary.FILES}
    assert workdir.read_json(finished / "run.json")["status"] == "finished"
    splits = [data.load("digits", split).sha256 for split in ("train[:1000]", "train[1000:]")]
    assert merge.read_spec(finished).data_sha256 == splits
    assert len(rows(finished)) == 8
    for row in rows(finished):
        diverged = row[RATE] == "1e+30"
        assert (row["diverged_at"] != "") == diverged
        assert (row["params_sha256"] == "") == (row["final_parzen"] == "") == diverged
    text = (finished / "summary.md").read_text()
    assert "# Sweep ranked by Parzen log-likelihood" in text
    assert "Scored with 30 samples against `digits` train[1000:]." in text
    assert not list(finished.rglob("checkpoints"))


def test_all_devices_are_those_of_a_standalone_run(monkeypatch):
    found = []
    monkeypatch.setattr(
        runner.device, "setup", lambda *_, cpu_devices, **__: found.append(cpu_devices)
    )
    for number in (0, 1, 2):
        runner._setup(config.replace(base(), {"devices": number}))
    assert found == [1, cores(), cores()]


DIVERGED = {"diverged": {"step": 20}}


@pytest.mark.parametrize(
    ("number", "record", "status", "message"),
    [
        (1, {"params_sha256": "a"}, 0, "identical to the member"),
        (1, {"params_sha256": "b"}, 1, "the parameters differ from the member's"),
        (1, DIVERGED, 1, "the run diverged at iteration 20, but the member did not diverge"),
        (3, DIVERGED, 1, "identical to the member"),
        (3, {"diverged": {"step": 19}}, 1, "19, but the member diverged at iteration 20"),
        (3, {"params_sha256": "b"}, 1, "did not diverge, but the member diverged at iteration 20"),
        (5, {"params_sha256": "a"}, 0, "nothing to compare with"),
        (0, {}, None, "members are 1 to 7 in steps of 2, as this is shard 1/2"),
        (9, {}, None, "members are 1 to 7"),
    ],
)
def test_rerun_of_a_shard(number, record, status, message, tmp_path, monkeypatch, capsys):
    sha256 = data.load("digits", "train[:1000]").sha256
    spec = SweepSpec(
        base().to_dict(), [{"k": k} for k in range(1, 5)], 2, [1, 2], [sha256, ""], "", []
    )
    merge.write_spec(tmp_path, spec._replace(units=[[1, 3], [5, 7]]))
    unit = merge.unit_directory(tmp_path, 0)
    unit.mkdir(parents=True)
    empty = np.zeros(0)
    merge.write_result(unit, [1, 3], Result(empty, (), empty, np.array([0, 20]), empty, ["a", ""]))

    def train_standalone(config, directory, name):
        directory.mkdir(parents=True)
        write_json(directory / "run.json", record)
        return int("diverged" in record)

    monkeypatch.setattr(train, "run", train_standalone)
    if status is None:
        with refused(tmp_path, message):
            runner.rerun(tmp_path, number)
    else:
        assert runner.rerun(tmp_path, number) == status
        assert message in capsys.readouterr().out


@pytest.mark.slow
def test_resume_is_bitwise_identical(finished, tmp_path, monkeypatch):
    """SIGKILL in the first unit, on another number of devices; SIGTERM in the second."""
    directory, settings = tmp_path / "sweep", merge.read_spec(finished).settings
    write_json(tmp_path / "config.json", base().to_dict())
    (tmp_path / "s.py").write_text(f"def get_sweep():\n    return {settings!r}\n")
    code = (
        "from gan_jax import cli, sweep; from gan_jax.sweeps import runner; "
        f"runner.cores = lambda: {jax.device_count() + 1}; cli.run(sweep.main)"
    )
    arguments = [f"--config={tmp_path}/config.json", f"--sweep={tmp_path}/s.py", "--seeds=2"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, f"--workdir={directory}"],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
    )
    while not checkpoint.steps(directory / "units/0000/checkpoints"):
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert workdir.read_json(directory / "run.json")["status"] == "running"
    assert not (directory / "units/0000/result.npz").exists()

    original = runner.unit.run

    def terminated(configs, *arguments):
        *others, on_progress = arguments

        def report_and_terminate(progress):
            on_progress(progress)
            if configs[0].loss == "non_saturating":
                os.kill(os.getpid(), signal.SIGTERM)

        return original(configs, *others, report_and_terminate)

    with monkeypatch.context() as patch:
        patch.setattr(runner.unit, "run", terminated)
        assert run(directory) == 128 + signal.SIGTERM
    assert workdir.read_json(directory / "run.json")["status"] == "interrupted"
    assert (directory / "units/0000/result.npz").exists()
    assert checkpoint.steps(directory / "units/0001/checkpoints") == [1]
    assert run(directory) == 0
    assert_same(finished, directory)
    assert "different environments: device.count" in (directory / "summary.md").read_text()


def test_changed_data_are_refused(copied):
    spec = merge.read_spec(copied)
    for hashes in (["0", spec.data_sha256[1]], [spec.data_sha256[0], "0"]):
        merge.write_spec(copied, spec._replace(data_sha256=hashes))
        with refused(copied, "another sweep, which differs in data_sha256"):
            run(copied)
    merge.write_spec(copied, spec._replace(data_sha256=["0", spec.data_sha256[1]]))
    with refused(copied, "trained on other data: digits has changed since"):
        runner.rerun(copied, 2)


def test_missing_files_are_recreated(copied, capsys, monkeypatch):
    before = contents(copied)
    assert run(copied, log_every=3, checkpoint_every=7) == 0
    assert "already finished" in capsys.readouterr().out
    assert contents(copied) == before
    content = (copied / "ranking.png").read_bytes()
    (copied / "ranking.png").unlink()
    (copied / "units/0000/checkpoints").mkdir()  # as after a kill
    monkeypatch.setattr(plan, "max_unit", lambda *_: 1)  # the units of sweep.json stay
    assert run(copied) == 0
    assert (copied / "ranking.png").read_bytes() == content
    assert not (copied / "units/0000/checkpoints").exists()
    result = copied / "units/0000/result.npz"
    assert contents(copied)[result] == before[result]


def test_different_environments_are_reported(copied, caplog):
    unit = copied / "units/0001/run.json"
    write_json(unit, workdir.read_json(unit) | {"cores": 99})
    (copied / "run.json").unlink()
    assert "different environments" not in (copied / "summary.md").read_text()
    assert run(copied) == 0
    assert "different environments: cores" in caplog.text
    assert "different environments: cores" in (copied / "summary.md").read_text()


def test_damaged_results_are_named_and_retrained(finished, copied, capsys):
    (copied / "summary.md").unlink()
    result = copied / "units/0001/result.npz"
    content = result.read_bytes()
    middle = len(content) // 2
    other = (copied / "units/0000/result.npz").read_bytes()
    for damaged in (content[:-100], content[:middle] + b"x" + content[middle + 1 :], b"", other):
        result.write_bytes(damaged)
        with pytest.raises(InputError, match=r"0001/result.npz cannot be read: .*; remove it to"):
            run(copied)
        assert result.read_bytes() == damaged
    result.unlink()
    assert run(copied) == 0
    assert result.read_bytes() == content
    with np.load(copied / "curves.npz") as file:
        best = np.nanmax(file["curves"][4:, :, file["names"].tolist().index("parzen")])
    assert f"unit 1: 4 members, 2 diverged, best parzen {best:.4g}\n" in capsys.readouterr().out
    assert_same(finished, copied)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("owner", [merge, summary])
def test_full_disk(owner, finished, small_disk, monkeypatch):
    original = owner.write_whole
    shutil.copytree(finished, small_disk / "sweep")
    (small_disk / "sweep/summary.md").unlink()
    if owner is merge:
        (small_disk / "sweep/units/0001/result.npz").unlink()

    def fill_first(*arguments):
        fill(small_disk / "ballast")
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, "write_whole", fill_first)
        with pytest.raises(OSError, match="No space left on device"):
            run(small_disk / "sweep")
    (small_disk / "ballast").unlink()
    assert run(small_disk / "sweep") == 0
    assert_same(finished, small_disk / "sweep")


def test_non_finite_samples_affect_one_member(finished, tmp_path, monkeypatch):
    original = scoring.evaluation_samples

    def broken(spec, state, num, labels):
        ends = int(state.step) == 300 and state.key[1] == 0  # the seed
        return original(spec, state, num, labels) * (np.nan if ends else 1)

    monkeypatch.setattr(scoring, "evaluation_samples", broken)
    assert run(tmp_path, settings=SETTINGS[:2]) == 0
    found, expected = rows(tmp_path), rows(finished)[:4]
    assert [row["diverged_at"] for row in found[2:]] == ["300", ""]
    assert [row["final_parzen"] for row in found[2:]] == ["", expected[3]["final_parzen"]]
    assert [row["diverged_at"] for row in found[:2]] == [row["diverged_at"] for row in expected[:2]]


def test_incompatible_data_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.batch_size is 5000"):
        run(tmp_path / "sweep", settings=[{"batch_size": 8}, {"batch_size": 5000}])
    assert not (tmp_path / "sweep").exists()


def test_metrics_that_a_setting_lacks_are_refused(tmp_path):
    settings = [{"condition.on": on} for on in ("label", "none")]
    c = config.replace(base(), {"eval_metrics": ("label_accuracy",), "eval_num": 60})
    c = config.replace(c, {"condition.on": "label", "validation_split": "test"})
    with pytest.raises(InputError, match="the run is not conditional"):
        runner.run(c, settings, 1, tmp_path / "x", "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "where",
    [
        *([], ["--shard=0/4"], ["--shard", "0/4"], ["--on=ray", "--gpus_per_unit=0.5"]),
        ["--on=slurm", "--slurm=time=5,constraint=a&b"],
    ],
)
def test_command_omits_where_it_is_trained(where):
    arguments = ["--sweep=s.py", *where, "--config.split=train[:9]"]
    command = "python -m gan_jax.sweep --sweep=s.py '--config.split=train[:9]'"
    assert runner._command(arguments) == command
