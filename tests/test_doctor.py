import argparse
import importlib.util
import shutil
import tomllib

import pytest

from gan_jax import doctor
from gan_jax.extras import EXTRAS
from tests.conftest import ROOT, call


def test_doctor(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    assert call(doctor, monkeypatch) == 0
    out = capsys.readouterr().out
    assert "\ndevice   1 x cpu\n" in out
    assert out.endswith("ready    to train: gan-jax train --config=digits\n")
    assert "no compiled programs yet" in out
    (tmp_path / "cache/xla").mkdir(parents=True)
    (tmp_path / "cache/xla/program").write_bytes(bytes(300_000_000))
    assert call(doctor, monkeypatch) == 0
    out = capsys.readouterr().out
    assert "compiled programs: 0.3 GB" in out
    assert "no compiled programs yet" not in out


def test_unwritable_cache(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "file/cache"))
    assert call(doctor, monkeypatch) == 1
    assert f"error    the cache {tmp_path}/file/cache cannot be written" in (
        out := capsys.readouterr().out
    )
    assert "ready" not in out


def test_extras_match_pyproject(monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"dev", "docs", "test", *EXTRAS} == set(project["optional-dependencies"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert ("extras", "none") in list(doctor.check())


def test_problems(monkeypatch):
    def findings():
        return [text for topic, text in doctor.check() if topic == "slow"]

    assert not any("NVIDIA" in text or "free" in text for text in findings())
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: argparse.Namespace(free=10**8))
    monkeypatch.setitem(doctor.EXTRAS, "cuda", ("no_such_module",))
    assert sum("NVIDIA" in text or "free" in text for text in findings()) == 2


@pytest.mark.parametrize("cores", [1, 2])
def test_restricted_cores(cores, monkeypatch):
    monkeypatch.setenv("NPROC", str(cores))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert any("1 of 2 cores" in text for _, text in doctor.check()) == (cores == 1)
