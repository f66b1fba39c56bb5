"""Tests of gan_jax.report on sweeps."""

import json
import math
import shutil

import numpy as np
import pytest

from gan_jax import report, workdir
from gan_jax.errors import InputError
from gan_jax.reports import sweep
from gan_jax.sweeps import merge
from gan_jax.sweeps.ranking import Standing
from tests.conftest import assert_one_line_error, call
from tests.sweeps.conftest import RATE, rows
from tests.test_report import HOSTILE, assert_accessible, opened, page


def best_of(members):
    scored = [row for row in members if row["final_parzen"]]
    return max(scored, key=lambda row: float(row["final_parzen"]))


def test_sweep_report(finished, tmp_path):
    parsed = page(finished, tmp_path)
    for words in (
        f"Sweep of digits {finished} finished 2 of 2 units finished, 4 of 8 members diverged",
        "settings 4 seeds per setting 2 members 8 ranked by Parzen log-likelihood (nats)",
        f"rank setting loss {RATE} generator.widths seeds unscored IQM",
        "Agarwal et al. 2021, https://arxiv.org/abs/2108.13264",
        "4 of 4 settings, best first: interquartile mean (IQM) of Parzen log-likelihood (nats)",
        "Learning curves of the best settings (median and quartiles over seeds).",
        "8 of 8 members, best first",
        f"python -m gan_jax.sweep --workdir={finished} --rerun=0",
    ):
        assert words in parsed.text, words
    assert len(parsed.all("img")) == 3
    best = best_of(rows(finished))
    score = f"{float(best['final_parzen']):.4g}"
    assert f"best: member {best['member']}, Parzen log-likelihood (nats) {score};" in parsed.text
    assert f"diverged at {best['member']} {best['loss']} " in parsed.text  # the first row
    assert f" {best['seed']} {score} " in parsed.text
    assert len(parsed.all("circle")) == 2  # settings with a finite score
    (curves,) = parsed.specs
    assert {"setting", "low", "high"} < curves["data"]["values"][0].keys()


def test_intervals_are_clipped_to_finite_numbers():
    def positions(*iqms):
        return sweep._positions([Standing(0, np.empty(0), 0, iqm, iqm) for iqm in iqms]).tolist()

    nan = math.nan
    found = positions((2, 1, math.inf), (4, nan, nan), (math.inf, 2, math.inf))
    np.testing.assert_allclose(found, [[100 / 3, 0, 100], [100, nan, nan], [nan] * 3])
    assert positions((10, 1, 100)) == [[50, 0, 100]]  # logarithmic
    assert positions((3, 3, 3)) == [[0, 0, 0]]


def test_unfinished_sweep(finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "sweep")
    (directory / "units/0000/result.npz").unlink()
    record = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps(record | {"status": "running"}))
    with workdir.lock(directory):
        text = page(directory, tmp_path).text
    left = merge.read_spec(finished).units[1]
    assert f"running 1 of 2 units finished, 2 of {len(left)} members diverged" in text
    assert f"{len(left)} of {len(left)} members" in text
    members = [row for row in rows(finished) if int(row["member"]) in left]
    assert all(f" {row['member']} {row['loss']} " in text for row in members)
    assert f"best: member {best_of(members)['member']}, " in text
    (directory / "units/0001/result.npz").unlink()
    text = page(directory, tmp_path).text
    assert "killed 0 of 2 units finished" in text
    assert "Ranking" not in text


def test_merged_sweep(finished, tmp_path):
    directory = tmp_path / "sweep"
    spec = merge.read_spec(finished)
    shard = shutil.copytree(finished, directory / "shard-0-of-1")
    merge.write_spec(shard, spec._replace(shard=[0, 1]))
    merge.write_spec(directory, spec._replace(units=None))
    assert "2 of 2 units finished, 4 of 8 members diverged" in page(directory, tmp_path).text
    assert "8 of 8 members" in page(shard, tmp_path).text
    shutil.rmtree(shard)
    with pytest.raises(InputError, match="has no shards"):
        sweep.report(directory)


def test_damaged_sweeps(finished, tmp_path, monkeypatch, capsys):
    directory = shutil.copytree(finished, tmp_path / "sweep")
    (directory / "units/0000/result.npz").write_bytes(b"x")
    assert call(report, monkeypatch, f"--workdir={directory}") == 2
    assert_one_line_error(capsys.readouterr().err, "result.npz cannot be read")
    (directory / "sweep.json").write_text("{}")
    assert call(report, monkeypatch, f"--workdir={directory}") == 2
    assert_one_line_error(capsys.readouterr().err, "sweep.json is damaged")


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_sweep_in_a_browser(width, finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "sweep")
    spec = merge.read_spec(finished)
    settings = [x | {"loss": f"{x['loss']} {HOSTILE}.[0]"} for x in spec.settings]
    merge.write_spec(directory, spec._replace(settings=settings))
    out = tmp_path / "x.html"
    report.report(directory, out)
    with opened(out, width) as tab:
        table = tab.get_by_role("table", name="8 of 8 members, best first, with their final scores")
        names = table.locator("thead th").all_inner_texts()

        def column(name):
            return table.locator(
                f"tbody tr > :nth-child({names.index(name) + 1})"
            ).all_inner_texts()

        name = "Parzen log-likelihood (nats)"
        scored = [x for x in column(name) if x != "-"]
        button = table.get_by_role("button", name=name)
        header = table.locator("thead th").filter(has_text=name)
        button.click()
        ascending = [*sorted(scored, key=float), *["-"] * 4]
        assert column(name) == ascending
        assert header.get_attribute("aria-sort") == "ascending"
        button.focus()
        tab.keyboard.press("Enter")
        assert column(name) == [*sorted(scored, key=float, reverse=True), *["-"] * 4]
        assert header.get_attribute("aria-sort") == "descending"
        table.get_by_role("button", name="loss").click()
        assert column("loss") == sorted(column("loss"))
        assert header.get_attribute("aria-sort") is None
        assert_accessible(tab)
        tab.locator(".chart svg").first.hover()
        assert HOSTILE in tab.locator("#vg-tooltip-element").inner_text()
