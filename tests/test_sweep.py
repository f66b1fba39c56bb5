import re

import pytest

from gan_jax import sweep
from gan_jax.sweeps import unit
from gan_jax.writers import write_json
from tests.conftest import assert_one_line_error, call, tiny_config


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A directory with a config and a sweep file."""
    write_json(tmp_path / "config.json", tiny_config().to_dict())
    (tmp_path / "rates.py").write_text(
        "from gan_jax.sweeps import space\n"
        "def get_sweep():\n"
        "    return space.grid({'d_optimizer.learning_rate': [1e-3, 1e-2], 'k': [1, 2]})\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


SWEEP = ("--config=config.json", "--sweep=rates.py")


def test_dry_run_writes_nothing(files, monkeypatch, capsys):
    monkeypatch.setattr(unit, "estimate_seconds", lambda configs, _: 60.0 * len(configs))
    before = set(files.rglob("*"))
    metrics = "--config.eval_metrics=parzen"
    assert call(sweep, monkeypatch, *SWEEP, "--seeds=3", "--dry_run", metrics) == 0
    out = capsys.readouterr().out
    assert "members: 12, units: 2" in out
    assert "unit 1: 6 members" in out
    assert re.search(r"an iteration: \d\.\d+e\+\d+ FLOPs, \d", out)
    assert "members fit into memory" in out
    assert "total: 12 min" in out
    assert call(sweep, monkeypatch, *SWEEP, "--seeds=3", "--dry_run", metrics, "--max_unit=2") == 0
    assert "members: 12, units: 6" in capsys.readouterr().out
    one = "--shard=0/4", "--workdir=new"
    assert call(sweep, monkeypatch, *SWEEP, "--dry_run", metrics, *one) == 0
    assert "unit 0: 1 members" in capsys.readouterr().out
    assert set(files.rglob("*")) == before


def test_dry_run_of_an_algorithm_without_losses(files, monkeypatch, capsys):
    monkeypatch.setattr(unit, "estimate_seconds", lambda configs, _: 60.0)
    changes = "--config.algorithm=vae", "--config.prior.name=normal", "--config.eval_metrics=parzen"
    arguments = "--config=config.json", "--sweep=seeds", "--dry_run", *changes
    assert call(sweep, monkeypatch, *arguments) == 0
    assert "12 iterations: 60 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config and --sweep are required"),
        (["--config=config.json", "--sweep=none.py"], "--sweep=none.py: no such file"),
        (["--config=config.json", "--sweep=config.json"], "neither a .py nor a .json"),
        ([*SWEEP, "--seeds=0"], "integer of at least 1"),
        ([*SWEEP, "--seed=3"], "unknown argument '--seed=3'"),
        ([*SWEEP, "--shard=0/2"], "--shard needs --workdir"),
        ([*SWEEP, "--workdir=x", "--shard=2/2"], "must be I/N with I from 0"),
        ([*SWEEP, "--workdir=x", "--shard=1e0/8"], "must be I/N"),
        ([*SWEEP, "--workdir=x", "--shard=4/5"], "--shard=4/5 has no members"),
        ([*SWEEP, "--on=cloud"], "invalid choice: 'cloud'"),
        ([*SWEEP, "--max_unit=0"], "integer of at least 1"),
        ([*SWEEP, "--on=local", "--gpus_per_unit=1"], "from 0 to 1 or an integer, with --on=ray"),
        ([*SWEEP, "--on=ray", "--gpus_per_unit=nan"], "from 0 to 1 or an integer, with --on=ray"),
        ([*SWEEP, "--on=ray", "--gpus_per_unit=-1"], "from 0 to 1 or an integer, with --on=ray"),
        ([*SWEEP, "--slurm=time=5"], "--slurm needs --on=slurm"),
        ([*SWEEP, "--on=slurm", "--slurm=time"], "must be KEY=VALUE,..., such as time=240"),
        (["--merge", "--workdir=none", "--on=local"], "accept no other argument"),
        (["--merge"], "need --workdir"),
        (["--merge", "--workdir=none", "--config.k=2"], "accept no other argument"),
        (["--merge", "--workdir=none", "--rerun=0"], "accept no other argument"),
        (["--rerun=0", "--workdir=none", "--shard=0/2"], "accept no other argument"),
        (["--merge", "--workdir=none"], "has no shards"),
        (["--rerun=0", "--workdir=none"], "not the directory of a run"),
    ],
)
def test_one_line_errors(arguments, message, files, monkeypatch, capfd):
    before = set(files.rglob("*"))
    assert call(sweep, monkeypatch, *arguments) == 2
    assert_one_line_error(capfd.readouterr().err, message)
    assert set(files.rglob("*")) == before
