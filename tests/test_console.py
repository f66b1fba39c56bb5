"""Tests of the console script and the list of configs."""

import importlib
import pathlib
import re
import shutil
import sys

from gan_jax import __main__ as console
from gan_jax import catalogue
from tests.conftest import ROOT, assert_one_line_error, call


def test_commands_dispatch(monkeypatch, capsys):
    assert call(console, monkeypatch, "configs", "--help") == 0
    assert "usage: gan-jax configs" in capsys.readouterr().out
    assert call(console, monkeypatch, "train", "--config=nothing") == 2
    assert_one_line_error(capsys.readouterr().err, "--config=nothing")
    assert call(console, monkeypatch, "trian") == 2
    assert_one_line_error(capsys.readouterr().err, "did you mean train?")
    assert call(console, monkeypatch, "trane") == 2
    assert_one_line_error(capsys.readouterr().err, "unknown command 'trane': expected train, ")


def test_help_lists_all_commands(monkeypatch, capsys):
    assert call(console, monkeypatch) == 0
    out = capsys.readouterr().out
    for name, module in console.COMMANDS.items():
        assert f"\n  {name} " in out
        assert hasattr(importlib.import_module(f"gan_jax.{module}"), "main")
    runnable = {p.stem for p in ROOT.glob("gan_jax/*.py") if "cli.run(main)" in p.read_text()}
    assert runnable - {"__main__"} == set(console.COMMANDS.values())


def test_console_script_is_installed():
    assert shutil.which("gan-jax", path=pathlib.Path(sys.executable).parent)


def test_configs_state_time_and_result(monkeypatch, capsys):
    assert call(catalogue, monkeypatch) == 0
    out = capsys.readouterr().out
    for name, (first, last) in catalogue.entries().items():
        assert f"{name}\n    {first[:40]}" in out
        assert re.match(r"Time: .+ Result( \([\w, ]+\))?: .+\.$", last), name
