import pathlib
import subprocess
import sys

import pytest

from gan_jax import api, config, workdir
from gan_jax.errors import InputError
from gan_jax.writers import write_json
from tests.conftest import ROOT


@pytest.fixture
def finished(tiny, tmp_path):
    """The records of a finished run on a folder of images."""
    tiny.dataset = "folder:old"
    write_json(tmp_path / "config.json", tiny.to_dict())
    dataset = {"name": "folder:old", "sha256": "1", "shape": [9, 8, 8, 1]}
    record = {"status": "finished", "step": tiny.num_steps, "dataset": dataset}
    write_json(tmp_path / "run.json", record)
    return tmp_path


def test_holds_finished(tiny, finished):
    assert workdir.holds_finished(finished, tiny)
    assert not workdir.holds_finished(finished / "new", tiny)
    longer = config.replace(tiny, {"num_steps": 13, "log_every": 7})
    assert not workdir.holds_finished(finished, longer)
    record = workdir.read_json(finished / "run.json")
    write_json(finished / "run.json", record | {"status": "interrupted"})
    assert not workdir.holds_finished(finished, tiny)
    (finished / "run.json").unlink()
    assert not workdir.holds_finished(finished, tiny)
    (finished / "config.json").unlink()
    (finished / "precious").touch()
    with pytest.raises(InputError, match="is not empty and not a run"):
        workdir.holds_finished(finished, tiny)


def test_sweeps_are_not_runs(tiny, finished):
    (finished / "sweep.json").touch()
    with pytest.raises(InputError, match=r"is a sweep; use another --workdir$"):
        workdir.holds_finished(finished, tiny)
    rerun = f"`gan-jax sweep --workdir={finished} --rerun=N` and use {finished}/members/N$"
    for read in (workdir.read_config, workdir.load, api.load_run):
        with pytest.raises(InputError, match=f"is a sweep; retrain a member with {rerun}"):
            read(finished)


@pytest.mark.parametrize("dataset", ["folder:new", "npz:new.npz", "npy:new.npy"])
def test_moved_data_known_by_hash(dataset, tiny, finished):
    with pytest.raises(InputError, match="folder:old has changed since"):
        workdir.holds_finished(finished, tiny, sha256="2")
    tiny.dataset = dataset
    assert not workdir.holds_finished(finished, tiny)  # not known before they are loaded
    assert workdir.holds_finished(finished, tiny, sha256="1")
    with pytest.raises(InputError, match="on other data: folder:old has other content"):
        workdir.holds_finished(finished, tiny, sha256="2")
    workdir.check_data(finished, "1")
    with pytest.raises(InputError, match="folder:old has changed since"):
        workdir.check_data(finished, "2")
    (finished / "run.json").unlink()
    with pytest.raises(InputError, match="does not record its data"):
        workdir.holds_finished(finished, tiny, sha256="1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"dataset": "digits"},
            r"dataset \('folder:old' -> 'digits'\)",
        ),  # the name matters for metrics
        ({"dataset": "folder:new", "split": "train[:5]"}, r"config: split"),
        ({"num_steps": 11}, r"num_steps \(12 -> 11\)"),
    ],
)
def test_other_configs(changes, words, tiny, finished):
    with pytest.raises(InputError, match=words):
        workdir.holds_finished(finished, config.replace(tiny, changes))
    write_json(finished / "config.json", config.replace(tiny, {"dataset": "digits"}).to_dict())
    with pytest.raises(InputError, match=r"dataset \('digits' -> 'folder:"):
        workdir.holds_finished(finished, tiny)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (None, "no run.json"),
        ([], "not a JSON object"),
        ({"dataset": {"shape": [9, 8, 8, 0]}}, "does not record the shape"),
        ({"dataset": 3}, "does not record the shape"),
        ({"dataset": {"shape": [9, 8, 8, 1]}}, "no checkpoint yet"),
    ],
)
def test_load_without_a_run(record, words, finished):
    (finished / "run.json").unlink()
    if record is not None:
        write_json(finished / "run.json", record)
    with pytest.raises(InputError, match=words):
        workdir.load(finished)


def test_new_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert workdir.next_run("a") == pathlib.Path("runs/a/1")
    (tmp_path / "runs/a/9").mkdir()
    assert workdir.next_run("a") == pathlib.Path("runs/a/10")
    (tmp_path / "runs/b").touch()
    with pytest.raises(InputError, match="cannot create a directory in runs/b"):
        workdir.next_run("b")


def test_lock_names_its_holder(tmp_path):
    code = (
        "import pathlib, sys, time; from gan_jax import workdir\n"
        "with workdir.lock(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline()
    for _ in range(2):  # a failed attempt must not erase the name
        with (
            pytest.raises(InputError, match=rf"in use by process {holder.pid} on \S+$"),
            workdir.lock(tmp_path),
        ):
            pass
    holder.kill()
    holder.communicate()
    with workdir.lock(tmp_path):
        assert workdir.is_new(tmp_path)
        with pytest.raises(InputError, match="in use by"), workdir.lock(tmp_path):
            pass
    with workdir.lock(tmp_path):
        pass


def test_errors_tell_how_to_resume(tmp_path):
    with pytest.raises(OSError, match=r"^full \(what was saved is intact"), workdir.lock(tmp_path):
        raise OSError("full")
    nowhere = pathlib.Path("/proc/x")
    with pytest.raises(InputError, match="cannot be written"), workdir.lock(nowhere):
        pass
