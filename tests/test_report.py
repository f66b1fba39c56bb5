"""Tests of gan_jax.report on runs; those on sweeps are in tests/sweeps/."""

import base64
import contextlib
import html.parser
import importlib.util
import io
import json
import shutil
import urllib.parse

import numpy as np
import pytest
from PIL import Image

from gan_jax import config, plots, report, workdir
from gan_jax.reports import charts
from gan_jax.reports import page as page_lib
from gan_jax.reports import run as run_lib
from gan_jax.writers import png, write_json
from tests.conftest import assert_one_line_error, call, skip_unless_ci, tiny_config, untrained

HOSTILE = "folder:<script>alert('a')</script>\"$x$ {{ 7 * 7 }} </title> &amp;"


class Parsed(html.parser.HTMLParser):
    """A page's visible text, tags with attributes, and JSON blocks; checks that tags are closed."""

    VOID = ("meta", "input", "img")

    def __init__(self, content: bytes):
        super().__init__()
        self.words, self.tags, self.specs, self.open = [], [], [], []
        self.feed(content.decode())
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            if "type" in self.tags[-1][1]:
                self.specs.append(json.loads(data))
        elif self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def run(finished, tmp_path):
    """A finished run, to be modified."""
    return shutil.copytree(finished, tmp_path / "run")


def page(directory, tmp_path) -> Parsed:
    out = tmp_path / "page.html"
    report.report(directory, out)
    return Parsed(out.read_bytes())


def change(file, **fields):
    write_json(file, json.loads(file.read_text()) | fields)


def test_run_report(finished, tmp_path, monkeypatch, capsys):
    out = tmp_path / "x.html"
    arguments = f"--workdir={finished}", f"--out={out}"
    assert call(report, monkeypatch, *arguments) == 0
    record = workdir.read_json(finished / "run.json")
    speed = f"{record['steps_per_second']} iterations/s"
    assert capsys.readouterr().out == f"{out}: finished, iteration 12 of 12, {speed}\n"
    content = out.read_bytes()
    parsed = Parsed(content)
    for words in (
        "digits, non_saturating, seed 0",
        "finished iteration 12 of 12",
        "batch_size 8 128 examples",  # value, default, meaning
        "iteration 0 iteration 6 iteration 12",
        "Losses",
        f"python -m gan_jax.evaluate --workdir={finished}",
        "Samples of iteration 12, each left of its nearest training image",
        f"source_sha256 {record['source_sha256']}",
        f"params_sha256 {record['params_sha256']}",
        f"python -m gan_jax.main --config={finished}/config.json",
        f"python -m gan_jax.reproduce --workdir={finished}",
    ):
        assert words in parsed.text, words
    images = parsed.all("img")
    assert len(images) == 4
    assert all(x["src"].startswith("data:image/webp;base64,") and x["alt"] for x in images)
    (slider,) = (x for x in parsed.all("input") if x["type"] == "range")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "2", "2")
    assert ("html", {"lang": "en"}) in parsed.tags
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    points = parsed.specs[0]["data"]["values"]
    assert [x["value"] for x in points if x["quantity"] == "d_loss"] == pytest.approx(
        [line["d_loss"] for line in lines], rel=1e-5
    )
    assert "default-src 'none'" in str(parsed.all("meta"))
    assert call(report, monkeypatch, *arguments) == 0
    assert out.read_bytes() == content


def test_default_file_and_saved_config(run, monkeypatch):
    assert call(report, monkeypatch, f"--workdir={run}") == 0
    (link,) = (x for x in Parsed((run / "report.html").read_bytes()).all("a") if "download" in x)
    text = urllib.parse.unquote(link["href"].partition(",")[2])
    assert json.loads(text) == json.loads((run / "config.json").read_text())


def test_hostile_names(finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "<script>alert(1)<&script> \"'$`")
    change(directory / "config.json", dataset=HOSTILE)
    change(directory / "run.json", status="<b>", device={"kind": HOSTILE})
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 14, f"{HOSTILE}.[0]": 1.0}) + "\n")
    parsed = page(directory, tmp_path)
    assert len(parsed.all("script")) == 1 + len(parsed.specs)
    assert f"{HOSTILE}, non_saturating, seed 0 (<b>)" in " ".join(parsed.words)
    assert parsed.specs[-1]["description"].startswith(f"{HOSTILE}.[0]")
    assert not parsed.all("b")
    for command in ("main", "evaluate", "reproduce"):  # quoted for a shell
        assert f"gan_jax.{command} '--" in parsed.text
    assert "Not available" in parsed.text


def entry(value, **more):
    baselines = {
        "real data": {"value": 0.5, "low": 0.4, "high": 0.6, "samples": 9},
        "k-means": None,
    }
    return {"value": value, "low": 1.0, "high": 3.0, "baselines": baselines, **more}


def evaluation(**more):
    return {
        **{"step": 8, "samples": 9, "dataset": "digits", "test_split": "test"},
        **{"test_examples": 297, "evaluator": {"name": "digits-1", "accuracy": 0.99}},
        "metrics": {"fid": entry(2.0), "kid": entry(None), "unknown": {}},
        **more,
    }


def test_scores(run, tmp_path):
    bound = {"elbo": {"value": -3, "standard_error": 0.25}}
    write_json(run / "evaluation.json", evaluation(log_likelihood=bound))
    write_json(run / "evaluation_held_out.json", evaluation(samples=7))
    text = page(run, tmp_path).text
    assert "9 samples of iteration 8 against 297 examples of digits test, by digits-1 (99" in text
    assert "metric this run 95 % interval real data k-means better" in text
    assert "FID 2 1 to 3 0.500 - lower KID nan" in text
    assert "FID: too wide near its value for real data" in text
    assert "log-likelihood of test: at least -3.00 ± 0.25 nats" in text
    assert "7 samples of iteration 8" in text  # of held-out classes
    assert "real data of 9" in text
    assert "gan_jax.evaluate" not in text


def test_scores_of_training(run, tmp_path):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 14, "fid": 3.5, "memorisation": null}\n')
    parsed = page(run, tmp_path)
    assert "Last scores during training, without intervals FID 3.5 memorisation null" in parsed.text
    assert [x["description"] for x in parsed.specs if "FID" in x["description"]] == [
        "FID (lower is better) over iterations"
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "interrupted", "step": 6}, ["interrupted iteration 6 of 12", "Resume:"]),
        ({"status": "running", "step": None}, ["killed iteration 12 of 12", "Resume:"]),
        (
            {"status": "diverged", "step": 9, "diverged": {"step": 9, "in": "d_loss"}},
            ["diverged iteration 9 of 12: d_loss is not finite"],
        ),
    ],
)
def test_states(fields, words, run, tmp_path):
    change(run / "run.json", **fields)
    text = page(run, tmp_path).text
    assert all(x in text for x in words)


def test_old_and_empty_runs(run, tmp_path):
    write_json(run / "run.json", {})
    for name in ("metrics.jsonl", "samples.gif", "curves.png"):
        (run / name).unlink()
    shutil.rmtree(run / "samples")
    text = page(run, tmp_path).text
    for words in (
        "unknown iteration 0 of 12",
        "No samples have been drawn yet.",
        "Nothing has been measured yet.",
        "run.json does not record the shape of the data",
    ):
        assert words in text


def test_changed_environment(run, tmp_path):
    record = workdir.read_json(run / "run.json")
    change(run / "run.json", earlier=[record | {"cores": 64, "until": 5}])
    words = f"Until iteration 5, in another environment: cores 64 -> {record['cores']}"
    assert words in page(run, tmp_path).text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": "ring", "generator.output": "linear"}, "The data are not images."),
        ({"condition.on": "label"}, "each left of its nearest training image"),
        ({"algorithm": "vae", "prior.name": "normal"}, "iteration kl loss reconstruction"),
    ],
)
def test_kinds_of_runs(changes, words, tmp_path):
    c = config.replace(tiny_config(), changes)
    assert words in page(untrained(c, tmp_path / "run"), tmp_path).text


@pytest.mark.slow
def test_report_size(run, tmp_path):
    rng = np.random.default_rng(0)
    for step in range(100, 134):
        noise = Image.fromarray(rng.integers(0, 256, (600, 600, 3)).astype(np.uint8))
        (run / f"samples/step_{step:07}.png").write_bytes(png(noise))
    names = [f"{part}_{kind}_norm" for part in "abcdefgh" for kind in ("grad", "param")]
    with (run / "metrics.jsonl").open("a") as file:
        for step in range(100, 4000):
            line = dict(zip(names, rng.random(len(names)), strict=True))
            file.write(json.dumps({"step": step, **line}) + "\n")
    parsed = page(run, tmp_path)
    assert "32 of the 37 images" in parsed.text
    assert 800_000 < (tmp_path / "page.html").stat().st_size < 5_000_000


def test_watch(run, tmp_path, monkeypatch, capsys):
    out, polls = tmp_path / "x.html", []
    change(run / "run.json", status="running", step=None)

    def sleep(seconds):
        parsed = Parsed(out.read_bytes())
        polls.append(("reload" in [x.get("id") for x in parsed.all("input")], parsed.text))
        assert len(polls) < 5
        if len(polls) == 2:
            with (run / "metrics.jsonl").open("a") as file:
                file.write('{"step": 14, "d_loss": 1.0}\n')
        if len(polls) == 3:
            change(run / "run.json", status="finished", step=14)

    monkeypatch.setattr(report.time, "sleep", sleep)
    with workdir.lock(run):
        report.report(run, out, watch=True)
    assert [reloads for reloads, _ in polls] == [True] * 3
    assert "running iteration 14 of 12" in polls[2][1]
    assert "Available when the run has ended." in polls[2][1]
    assert capsys.readouterr().out.count("\n") == 3  # nothing was new at the second poll
    assert not [x for x in Parsed(out.read_bytes()).all("input") if x.get("id") == "reload"]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", "{", "config.json cannot be read"),
        ("config.json", None, "is not the directory of a run: no config.json"),
        ("run.json", "[]", "run.json is not a JSON object"),
        ("metrics.jsonl", "x\n", "metrics.jsonl is damaged in line 1"),
        ("metrics.jsonl", '{"step": 1, "d_loss": {}}\n', "metrics.jsonl is damaged"),
        ("metrics.jsonl", '{"step": 1, "fid": "x"}\n', "metrics.jsonl is damaged"),
        ("evaluation.json", "{}", "evaluation.json is damaged or of another version"),
        ("evaluation.json", '{"metrics": {"fid": 3}}', "evaluation.json is damaged"),
        ("samples/step_0000006.png", "x", "step_0000006.png cannot be read as an image"),
    ],
)
def test_damaged_files(file, content, words, run, tmp_path, monkeypatch, capsys):
    (run / file).unlink(missing_ok=True)
    if content is not None:
        (run / file).write_text(content)
    assert call(report, monkeypatch, f"--workdir={run}") == 2
    assert_one_line_error(capsys.readouterr().err, words)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--workdir"),
        (["--workdir=nowhere"], "--workdir=nowhere is not a directory"),
        (["--workdir=.", "--out=x.html"], "not the directory of a run: no config.json"),
        (["--workdir=RUN", "--out=x.png"], "--out=x.png must end in .html"),
        (["--workdir=RUN", "--out=no/x.html"], "there is no directory no"),
        (["--workdir=RUN", "--step=3"], "unrecognized"),
    ],
)
def test_one_line_errors(arguments, words, finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [x.replace("RUN", str(finished)) for x in arguments]
    assert call(report, monkeypatch, *arguments) == 2
    assert_one_line_error(capsys.readouterr().err, words)
    assert not list(tmp_path.iterdir())


def test_missing_extra(finished, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert call(report, monkeypatch, f"--workdir={finished}") == 2
    words = "gan_jax.report needs jinja2: pip install 'gan_jax[report]'"
    assert_one_line_error(capsys.readouterr().err, words)


CHROMIUM = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextlib.contextmanager
def opened(file, width):
    """A page in Chromium; nothing may be printed to its console or requested by it."""
    from playwright.sync_api import sync_playwright

    if (path := shutil.which("chromium")) is None:
        skip_unless_ci("there is no chromium")
    events = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.on("console", lambda message: events.append(message.text))
        tab.on("pageerror", lambda error: events.append(str(error)))
        tab.on("dialog", lambda dialog: events.append(dialog.message))
        tab.on("request", lambda r: r.url.startswith(("data:", "file:")) or events.append(r.url))
        tab.goto(file.as_uri())
        tab.wait_for_function("document.querySelectorAll('.plot:empty').length === 0")
        yield tab
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert events == []


def assert_accessible(tab):
    """axe-core finds no violation of WCAG or of good practice, in light and in dark mode."""
    from axe_playwright_python.sync_playwright import Axe

    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        found = Axe().run(tab)
        assert not found.violations_count, found.generate_report()
        assert "color-contrast" in [rule["id"] for rule in found.response["passes"]]


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_run_in_a_browser(width, run, tmp_path):
    hostile = shutil.copytree(run, tmp_path / "<script>alert(1)<&script> \"'$`")
    change(hostile / "config.json", dataset=HOSTILE)
    with (hostile / "metrics.jsonl").open("a") as file:
        for step in range(14, 60):
            file.write(json.dumps({"step": step, f"{HOSTILE}.[0]": step / 7}) + "\n")
    out = tmp_path / "x.html"
    report.report(hostile, out)
    with opened(out, width) as tab:
        assert tab.title() == f"{HOSTILE}, non_saturating, seed 0 (finished)"
        slider = tab.get_by_role("slider", name="Iteration")
        image = tab.locator(".slider img:visible")
        assert image.get_attribute("alt") == "samples of iteration 12"
        slider.focus()
        tab.keyboard.press("ArrowLeft")
        assert image.get_attribute("alt") == "samples of iteration 6"
        tab.keyboard.press("Home")
        assert image.get_attribute("alt") == "samples of iteration 0"
        assert slider.get_attribute("aria-valuetext") == "iteration 0"
        assert image.evaluate("image => image.naturalWidth") > 100
        chart = tab.locator(".chart", has_text=f"{HOSTILE}.[0]")
        chart.locator("svg").hover()
        tooltip = tab.locator("#vg-tooltip-element")
        assert f"{HOSTILE}.[0]" in tooltip.inner_text()
        tab.mouse.move(0, 0)
        chart.get_by_text("As a table").click()
        assert chart.get_by_role("table").is_visible()
        assert_accessible(tab)
        tab.emulate_media(media="print")
        assert [x.get_attribute("alt") for x in tab.locator(".slider img:visible").all()] == [
            f"samples of iteration {step}" for step in (0, 6, 12)
        ]
        assert not slider.is_visible()
        tab.emulate_media(media="screen")


@pytest.mark.slow
def test_reload_in_a_browser(run, tmp_path):
    change(run / "run.json", status="running", step=None)
    out = tmp_path / "x.html"
    with workdir.lock(run):
        live = run_lib.report(run)
    out.write_bytes(page_lib.html(live, run, reload=True))
    with opened(out, 1280) as tab:
        tab.get_by_role("slider").focus()
        tab.keyboard.press("ArrowLeft")
        out.write_bytes(page_lib.html(live._replace(state="later"), run, reload=True))
        tab.get_by_text("later").wait_for(timeout=10_000)
        image = tab.locator(".slider img:visible")
        assert image.get_attribute("alt") == "samples of iteration 6"
        tab.keyboard.press("ArrowRight")  # still focused
        assert image.get_attribute("alt") == "samples of iteration 12"
        tab.get_by_role("checkbox").uncheck()
        out.write_bytes(page_lib.html(live._replace(state="last"), run, reload=True))
        tab.wait_for_timeout(6_000)
        assert tab.get_by_text("later").is_visible()


def chart(*y: list[float]) -> dict:
    lines = [plots.Line(f"{i}", np.arange(len(x)), np.array(x)) for i, x in enumerate(y)]
    return charts.spec(plots.Panel("title", lines), "line")


def test_charts():
    points = chart([np.nan, *range(1, 1000)], [-1, -2])["data"]["values"]
    first = [point for point in points if point["line"] == "0"]
    assert len(first) == 400
    assert first[0] == {"iteration": 1, "line": "0", "value": 1}
    assert first[-1] == {"iteration": 999, "line": "0", "value": 999}
    scales = [
        chart(y)["encoding"]["y"]["scale"]
        for y in ([1, 5, 20], [1, 5, 9], [-1, 5, 20], [np.nan, 1, 20])
    ]
    logarithmic, linear = {"type": "log"}, {"zero": False}
    assert scales == [logarithmic, linear, linear, logarithmic]


def test_bands():
    x = np.arange(3)
    line = plots.Line("a", x, x + 2.0, x + 1.0, x + 3.0)
    drawn = charts.spec(plots.Panel("title", [line]), "line")
    assert [layer["mark"]["type"] for layer in drawn["layer"]] == ["area", "line", "circle"]
    assert drawn["data"]["values"][1] == {
        **{"iteration": 1, "line": "a", "value": 3},
        **{"low": 2, "high": 4},
    }


def test_wide_images_are_reduced():
    wide = Image.fromarray(np.zeros((4, 40_000, 3), np.uint8))
    src = page_lib.figure(wide, "", "").src
    content = base64.b64decode(src.partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (10_000, 1)
