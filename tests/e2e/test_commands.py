"""Commands end to end: exit statuses, one-line errors and signals."""

import os
import signal
import subprocess
import sys

import pytest

from gan_jax import main, workdir, writers
from tests.conftest import ROOT, assert_one_line_error, call

DIGITS = f"--config={ROOT}/configs/digits.py"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--config"),
        ([DIGITS, "--confg.k=3"], "unknown argument"),
        ([DIGITS, "--config.k=" + 20_000 * "-"], "config.k is"),
        ([DIGITS, f"--workdir={5000 * 'x'}"], "File name too long"),
        ([DIGITS, "--config.accelerator=tpu"], "but this machine has: "),
        ([DIGITS, "--config.batch_size=1501"], "has only 1500 examples"),
        ([DIGITS, "--config.dataset=folder:nowhere"], "nowhere"),
        ([DIGITS, f"--workdir={ROOT}/pyproject.toml"], "not a directory"),
    ],
)
def test_one_line_errors(arguments, words, monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call(main, monkeypatch, *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert_one_line_error(err, words)
    assert not list(tmp_path.iterdir())


# Without $HOME, Python looks up the home directory in pwd.
NOBODY = "import pwd, runpy\ndef no(*_): raise KeyError\npwd.getpwuid = pwd.getpwnam = no\n"
MAIN = "runpy.run_module('gan_jax.main', run_name='__main__')"


@pytest.mark.slow
def test_odd_environment(tiny, tmp_path):
    writers.write_json(tmp_path / "config.json", tiny.to_dict())
    arguments = [f"--config={tmp_path}/config.json", f"--workdir={tmp_path}/run"]
    env = {name: x for name, x in os.environ.items() if name != "HOME"} | {"MPLBACKEND": "nonsense"}
    subprocess.run([sys.executable, "-c", NOBODY + MAIN, *arguments], cwd=ROOT, check=True, env=env)


@pytest.mark.slow
def test_signal_during_compilation(tiny, tmp_path):
    writers.write_json(tmp_path / "config.json", tiny.to_dict())
    command = [sys.executable, "-m", "gan_jax.main", f"--config={tmp_path}/config.json"]
    command += [f"--workdir={tmp_path}/run", "--config.generator.widths=(5,5,5)"]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == f"{tmp_path}/run\n"  # compilation starts
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert workdir.load(tmp_path / "run")[1].step >= 1
