"""Commands as a user meets them: exit statuses, one-line errors, nothing lost."""

import json
import os
import signal
import subprocess
import sys

import pytest

from gan_jax import cli, main, train, workdir, writers
from gan_jax.errors import InputError
from tests.conftest import ROOT
from tests.test_train import files

DIGITS = f"--config={ROOT}/configs/digits.py"


def call(command, monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as e:
        cli.run(command.main)
    return e.value.code


def assert_one_line(err: str, words: str) -> None:
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--config"),
        ([f"--config={5000 * 'x'}.py"], "no such file"),
        ([f"--config={ROOT}/pyproject.toml"], "neither a .py nor a .json"),
        ([DIGITS, "--confg.k=3"], "unknown argument"),
        ([DIGITS, "--config.los=minimax"], "did you mean config.loss?"),
        ([DIGITS, "--config.k=0"], "config.k is 0, but must be an integer from 1"),
        ([DIGITS, "--config.k={[]:1}"], "config.k is '{[]:1}'"),
        ([DIGITS, "--config.k=" + 20_000 * "-"], "config.k is"),
        ([DIGITS, "--config.prior.low=2"], "below prior.high"),
        ([DIGITS, f"--workdir={5000 * 'x'}"], "File name too long"),
        ([DIGITS, "--config.accelerator=tpu"], "but this machine has: "),
        ([DIGITS, "--config.batch_size=1501"], "has only 1500 examples"),
        ([DIGITS, "--config.dataset=npz:nowhere.npz"], "nowhere.npz"),
        ([DIGITS, "--config.dataset=no_such_set"], "no_such_set"),
        ([DIGITS, "--config.dataset=folder:nowhere"], "nowhere"),
        ([DIGITS, "--config.split=train[7"], "split"),
        ([DIGITS, f"--workdir={ROOT}/pyproject.toml"], "not a directory"),
        ([DIGITS, f"--workdir={ROOT}/gan_jax"], "not a run"),
        ([DIGITS, "--workdir=/proc/nowhere"], "/proc"),
    ],
)
def test_mistakes_are_one_line(arguments, words, monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call(main, monkeypatch, *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert_one_line(err, words)
    assert not list(tmp_path.iterdir())


def test_a_config_json_gives_the_same_run(tiny, tmp_path, monkeypatch):
    train.run(tiny, tmp_path / "a", "digits")
    b = f"--workdir={tmp_path}/b"
    assert call(main, monkeypatch, f"--config={tmp_path}/a/config.json", b) == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")


# pwd is where Python looks for a home directory without $HOME.
NOBODY = "import pwd, runpy\ndef no(*_): raise KeyError\npwd.getpwuid = pwd.getpwnam = no\n"
MAIN = "runpy.run_module('gan_jax.main', run_name='__main__')"


@pytest.mark.parametrize(
    ("environment", "status", "words"),
    [
        ({"JAX_PLATFORMS": "cuda"}, 2, "JAX finds no device for JAX_PLATFORMS=cuda"),
        ({"JAX_PLATFORMS": "abacus"}, 2, "JAX finds no device for JAX_PLATFORMS=abacus"),
        ({"HOME": None, "GAN_JAX_CACHE": None, "XDG_CACHE_HOME": None}, 2, "set GAN_JAX_CACHE"),
        ({"HOME": None, "MPLBACKEND": "nonsense"}, 0, ""),
    ],
)
def test_odd_environments(environment, status, words, tiny, tmp_path):
    writers.write_json(tmp_path / "config.json", tiny.to_dict())
    arguments = [f"--config={tmp_path}/config.json", f"--workdir={tmp_path}/run"]
    done = subprocess.run(
        [sys.executable, "-c", NOBODY + MAIN, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={k: v for k, v in {**os.environ, **environment}.items() if v is not None},
    )
    assert done.returncode == status
    if status:
        assert_one_line(done.stderr, words)
        assert not (tmp_path / "run").exists()


def test_a_signal_saves_and_resumes_to_the_same_end(tiny, tmp_path):
    tiny.num_steps, tiny.checkpoint_every, tiny.log_every, tiny.sample_every = 800, 800, 100, 20
    tiny.metrics_every = 1  # slow enough to catch
    writers.write_json(tmp_path / "config.json", tiny.to_dict())
    command = [sys.executable, "-m", "gan_jax.main", f"--config={tmp_path}/config.json"]
    command += [f"--workdir={tmp_path}/twice"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    while not (line := process.stdout.readline()).startswith("Iter: 100 "):
        assert line
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "goes on from there" in out
    twice = tmp_path / "twice"
    saved = workdir.load(twice)[1].step
    assert 100 <= saved < 800
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert workdir.read_json(twice / "run.json")["resumed_from"] == saved
    lines = [json.loads(line) for line in (twice / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 801))
    once = tmp_path / "once"
    assert train.run(tiny, once, "digits") == 0
    assert files(once) == files(twice)


def test_a_signal_during_compilation_saves(tiny, tmp_path):
    writers.write_json(tmp_path / "config.json", tiny.to_dict())
    command = [sys.executable, "-m", "gan_jax.main", f"--config={tmp_path}/config.json"]
    command += [f"--workdir={tmp_path}/run", "--config.generator.widths=(5,5,5)"]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == f"{tmp_path}/run\n"  # next it compiles
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert workdir.load(tmp_path / "run")[1].step >= 1


def test_a_workdir_in_use_is_refused(tiny, tmp_path):
    with (
        workdir.lock(tmp_path / "run"),
        pytest.raises(InputError, match=f"in use by process {os.getpid()}"),
    ):
        train.run(tiny, tmp_path / "run", "digits")
    assert train.run(tiny, tmp_path / "run", "digits") == 0


def test_cached_data_need_neither_tensorflow_nor_tfds(tiny, tmp_path):
    train.run(tiny, tmp_path, "digits")
    code = (
        "import sys; from gan_jax import data, train, config; data.load('digits');"
        "assert not {'tensorflow', 'tensorflow_datasets', 'sklearn'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=dict(os.environ))
