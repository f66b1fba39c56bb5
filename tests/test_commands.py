"""The commands as a user meets them: exit statuses, one-line errors, nothing lost."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gan_jax import cli, main, sample, train, workdir, writers
from gan_jax.errors import InputError
from tests.conftest import ROOT, picture, tiny_config

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
        (["--config=nowhere.py"], "nowhere.py: no such file"),
        ([f"--config={ROOT}/pyproject.toml"], "neither a .py nor a .json"),
        ([f"--config={ROOT}/gan_jax/errors.py"], "get_config"),
        ([DIGITS, "--config.los=minimax"], "did you mean config.loss?"),
        ([DIGITS, "--config.prior=3"], "config.prior is not a field"),
        ([DIGITS, "--confg.k=3"], "unknown argument"),
        ([DIGITS, "--config.k"], "--config.FIELD=VALUE"),
        ([DIGITS, "--config.k=0"], "config.k is 0, but must be an integer from 1"),
        ([DIGITS, "--config.k=two"], "config.k is 'two'"),
        ([DIGITS, "--config.k=1.5"], "config.k is 1.5"),
        ([DIGITS, "--config.k=True"], "config.k is True"),
        ([DIGITS, "--config.seed=-1"], "config.seed"),
        ([DIGITS, "--config.d_optimizer.learning_rate=-1"], "at least 0"),
        ([DIGITS, "--config.d_optimizer.learning_rate=1e999"], "d_optimizer.learning_rate is inf"),
        ([DIGITS, "--config.loss=wgann"], "one of minimax, non_saturating"),
        ([DIGITS, "--config.generator.widths=(0,)"], "generator.widths"),
        ([DIGITS, "--config.generator.widths=7.5"], "a tuple"),
        ([DIGITS, "--config.prior.low=2"], "below prior.high"),
        ([DIGITS, "--config.prior.low=0.999999999"], "below prior.high"),
        ([DIGITS, "--config.d_optimizer.b1=0.999999999"], "from 0 to below 1"),
        ([DIGITS, "--config.d_optimizer.eps=1e-60"], "above 0"),
        ([DIGITS, "--config.d_optimizer.learning_rate=1" + 400 * "0"], "at least 0"),
        ([DIGITS, "--config.k={[]:1}"], "config.k is '{[]:1}'"),
        ([DIGITS, "--config.k=" + 20_000 * "-"], "config.k is"),
        ([DIGITS, "--config.generator.widths=(10000000,)"], "to 65536"),
        (
            [
                DIGITS,
                *(f"--config.d_optimizer.{x}" for x in ("schedule=cosine", "end_learning_rate=1")),
            ],
            "d_optimizer.end_learning_rate is 1.0",
        ),
        ([f"--config={5000 * 'x'}"], "no such file"),
        ([DIGITS, f"--workdir={5000 * 'x'}"], "File name too long"),
        ([DIGITS, "--config.num_steps=2000000000", "--config.k=3"], "num_steps"),
        ([DIGITS, "--config.accelerator=tpu"], "but this machine has: "),
        ([DIGITS, "--config.accelerator=abacus"], "one of auto, cpu, gpu, tpu"),
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
def test_a_users_mistake_is_one_line_and_status_2(arguments, words, monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call(main, monkeypatch, *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert_one_line(err, words)
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_config_file_is_one_line(monkeypatch, capfd, tmp_path):
    for source, words in (
        ("def get_config(): return 1 / 0", "ZeroDivisionError"),
        ("import nonsuch", "No module named 'nonsuch'"),
        ("def get_config(:", "SyntaxError"),
        ("def get_config(): return {}", "did not return a ConfigDict"),
        ("from ml_collections import ConfigDict as get_config", "config.seed is missing"),
        ("raise SystemExit(0)", "SystemExit"),
        ("def get_config(): return get_config()", "RecursionError"),
    ):
        (tmp_path / "c.py").write_text(source)
        assert call(main, monkeypatch, f"--config={tmp_path}/c.py") == 2
        assert_one_line(capfd.readouterr().err, words)


def test_an_odd_config_json_is_one_line(monkeypatch, capfd, tmp_path):
    for text, words in (
        ("[]", "not a JSON object"),
        ("{", "JSONDecodeError"),
        (200_000 * "[", "RecursionError"),
        ('{"prior.low": 0}', "config.seed is missing"),
        ('{"seed": {"a": 1}}', "config.seed.a is not a field"),
    ):
        (tmp_path / "config.json").write_text(text)
        assert call(main, monkeypatch, f"--config={tmp_path}/config.json") == 2
        assert_one_line(capfd.readouterr().err, words)


def test_a_variant_finds_its_base_from_anywhere(monkeypatch, tmp_path):
    """Also where the current directory has configs of its own, of the same name."""
    (tmp_path / "here/configs").mkdir(parents=True)
    (tmp_path / "here/configs/mnist.py").write_text("raise RuntimeError('not this one')")
    (tmp_path / "mine.py").write_text(
        "from configs import digits\n"
        "def get_config():\n c = digits.get_config()\n c.k = 3\n return c\n"
    )
    code = "from gan_jax import config; print(config.load('../mine.py').k, end='')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path / "here", capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("3", "")


def test_a_run_of_a_config_json_is_the_same_run(tiny, tmp_path, monkeypatch):
    train.run(tiny, tmp_path / "a", "digits")
    b = f"--workdir={tmp_path}/b"
    assert call(main, monkeypatch, f"--config={tmp_path}/a/config.json", b) == 0
    a, b = ((tmp_path / d / "metrics.jsonl").read_bytes() for d in "ab")
    assert a == b


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on_to_the_same_end(kind, tiny, tmp_path):
    tiny.num_steps, tiny.checkpoint_every, tiny.log_every, tiny.sample_every = 800, 800, 100, 20
    tiny.metrics_every = 1  # slow enough to catch
    writers.write_json(tmp_path / "config.json", tiny.to_dict())
    command = [sys.executable, "-m", "gan_jax.main", f"--config={tmp_path}/config.json"]
    command += [f"--workdir={tmp_path}/twice"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    while not (line := process.stdout.readline()).startswith("Iter: 100 "):
        assert line
    process.send_signal(kind)
    begun = time.monotonic()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + kind
    assert time.monotonic() - begun < 10
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
    assert (once / "metrics.jsonl").read_bytes() == (twice / "metrics.jsonl").read_bytes()


def test_a_signal_during_the_first_compilation_saves_and_exits(tiny, tmp_path):
    writers.write_json(tmp_path / "config.json", tiny.to_dict())
    command = [sys.executable, "-m", "gan_jax.main", f"--config={tmp_path}/config.json"]
    command += [f"--workdir={tmp_path}/run", "--config.generator.widths=(5,5,5)"]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == f"{tmp_path}/run\n"  # what comes next is compiling
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    process.communicate(timeout=60)
    assert time.monotonic() - begun < 10
    assert process.returncode == 128 + signal.SIGTERM
    assert workdir.load(tmp_path / "run")[1].step >= 1


def test_two_processes_cannot_share_a_workdir(tiny, tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import pathlib, sys, time; from gan_jax import workdir\n"
            f"with workdir.lock(pathlib.Path({str(tmp_path / 'run')!r})):\n"
            "    print('held', flush=True); time.sleep(60)",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline()
    with pytest.raises(InputError, match=f"in use by process {holder.pid} on"):
        train.run(tiny, tmp_path / "run", "digits")
    holder.kill()  # a dead holder's lock does not block
    holder.communicate()
    assert train.run(tiny, tmp_path / "run", "digits") == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    train.run(tiny_config(), directory, "digits")
    return directory


def test_samples_are_seeded_and_of_the_checkpoint_asked_for(finished, tmp_path, monkeypatch, capfd):
    def draw(name, *arguments):
        out = tmp_path / name
        assert call(sample, monkeypatch, f"--workdir={finished}", f"--out={out}", *arguments) == 0
        return out

    a = np.load(draw("a.npz", "--num=10"))["images"]
    assert a.shape == (10, 8, 8, 1)
    assert a.dtype == np.uint8
    assert np.array_equal(a, np.load(draw("b.npz", "--num=10"))["images"])
    assert not np.array_equal(a, np.load(draw("c.npz", "--num=10", "--seed=1"))["images"])
    assert not np.array_equal(a, np.load(draw("d.npz", "--num=10", "--step=4"))["images"])
    assert picture(draw("e.png", "--num=10")).size[0] >= 240
    walk = np.load(draw("f.npz", "--num=9", "--interpolate"))["images"].astype(int)
    steps = np.abs(np.diff(walk.reshape(3, 3, -1), axis=1)).sum()
    ends = np.abs(walk.reshape(3, 3, -1)[:, 0] - walk.reshape(3, 3, -1)[:, 2]).sum()
    assert steps < 2 * ends  # the middle of a walk lies between its ends
    assert call(sample, monkeypatch, f"--workdir={finished}", f"--out={tmp_path}/a.npz") == 2
    assert "exists" in capfd.readouterr().err


def test_interpolation_between_parallel_points_is_straight():
    z = np.array([[[2.0]], [[-1.0]]])
    walk = sample.interpolate(z, 4, "normal")
    np.testing.assert_allclose(walk[0, :, 0], [2, 1, 0, -1], atol=1e-6)


def test_interpolation_keeps_ends_and_norms():
    import jax

    z = jax.random.normal(jax.random.key(0), (2, 4, 50))
    for prior in ("uniform", "normal"):
        walk = sample.interpolate(z, 5, prior)
        np.testing.assert_allclose(walk[:, 0], z[0], atol=1e-5)
        np.testing.assert_allclose(walk[:, -1], z[1], atol=1e-5)
        middle = np.linalg.norm(walk[:, 2], axis=-1) / np.linalg.norm(z, axis=-1).mean(0)
        assert (middle > 0.9).all() == (prior == "normal")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out=x.png"], "--workdir"),
        (["--workdir=WORKDIR"], "--out"),
        (["--workdir=nowhere", "--out=x.png"], "not the directory of a run"),
        (["--workdir=WORKDIR", "--out=x.bmp"], ".png or .npz"),
        (["--workdir=WORKDIR", "--out=no/x.png"], "no directory"),
        (["--workdir=WORKDIR", "--out=x.png", "--num=0"], "from 1 up"),
        (["--workdir=WORKDIR", "--out=x.png", "--num=many"], "from 1 up"),
        (["--workdir=WORKDIR", "--out=x.png", "--step=3"], "it has: 4, 8, 12"),
        (["--workdir=WORKDIR", "--out=x.png", "--config.k=3"], "unrecognized"),
    ],
)
def test_mistakes_in_sampling(arguments, words, finished, monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = [a.replace("WORKDIR", str(finished)) for a in arguments]
    assert call(sample, monkeypatch, *arguments) == 2
    assert_one_line(capfd.readouterr().err, words)
    assert not list(tmp_path.iterdir())


def test_training_imports_neither_tensorflow_nor_tfds_when_the_cache_has_the_data(finished):
    code = (
        "import sys; from gan_jax import data, train, config; data.load('digits');"
        "assert not {'tensorflow', 'tensorflow_datasets', 'sklearn'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=dict(os.environ))
