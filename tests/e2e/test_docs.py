"""Tests of README.md and docs/: code runs, and numbers match benchmarks/results/.

Commands that end in `# long` are only parsed: their flags, config and sweep must exist. Those that
make a virtual environment are run by .ci/run.
"""

import argparse
import csv
import importlib
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from decimal import Decimal

import pytest
import yaml

from benchmarks import inferred_classes, pacgan_table1, table1
from gan_jax import __main__ as console
from gan_jax import config
from gan_jax.config.markdown import markdown
from gan_jax.evaluation import tables
from gan_jax.evaluation.baselines import BASELINES
from gan_jax.evaluation.registry import METRICS
from gan_jax.writers import read_metrics
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)(?: title=\"(\S+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"python (?:-m gan_jax|benchmarks/)[^`\"\n]*")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

# Appended to commands that run.
SHRINK = {
    "gan_jax.main": "--config.num_steps=20 --config.metrics_every=10 --config.checkpoint_every=10",
    "gan_jax.sweep": "--config.num_steps=20 --config.metrics_every=10 --seeds=2",
    "gan_jax.evaluate": "--num=500 --metrics=parzen",
}
SHRINK_EVAL = "--config.eval_every=10 --config.eval_num=500"


class Parsed(Exception):
    """Raised instead of running a parsed command."""


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def commands(page: pathlib.Path) -> list[str]:
    """Commands in sh blocks, inline and in other blocks; only the first are ever run."""
    text = page.read_text()
    shell = [body for language, _, body in BLOCK.findall(text) if language == "sh"]
    return lines("".join(shell)) + COMMAND.findall(
        BLOCK.sub(lambda m: "" if m[1] == "sh" else m[0], text)
    )


def parse(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parses a command's arguments and loads its config and sweep without running it."""
    known = argparse.ArgumentParser.parse_known_args

    def parse_known_args(self: argparse.ArgumentParser, *args: object) -> None:
        raise Parsed(*known(self))

    def parse_args(self: argparse.ArgumentParser, *args: object) -> None:
        arguments, rest = known(self)
        if rest:
            self.error(f"unrecognized arguments: {rest}")
        raise Parsed(arguments, rest)

    module = argv[2] if argv[1] == "-m" else argv[1].removesuffix(".py").replace("/", ".")
    monkeypatch.setattr(sys, "argv", [module, *argv[3 if argv[1] == "-m" else 2 :]])
    if not hasattr(importlib.import_module(module), "main"):  # takes no arguments
        return
    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        with pytest.raises(Parsed) as parsed:
            importlib.import_module(module).main()
    arguments, settings = parsed.value.args
    if path := getattr(arguments, "config", None):
        config.load(str(path), settings)
    else:
        assert not settings
    if sweep := getattr(arguments, "sweep", None):
        assert sweep is True or config.call_from_file("--sweep", sweep, "get_sweep")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_parse(page, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for name in ("configs", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for _, title, body in BLOCK.findall(page.read_text()):
        if title:
            pathlib.Path(title).write_text(body)
    for command in commands(page):
        for part in re.sub(r"\$\w+", "0", command).split("&&"):
            argv = shlex.split(part, comments=True)
            if argv[0] == "gan-jax":
                parse(
                    ["python", "-m", f"gan_jax.{console.COMMANDS[argv[1]]}", *argv[2:]], monkeypatch
                )
            elif "install" in argv:
                assert set(re.findall(r"[a-z]+", argv[-1])) <= EXTRAS.keys(), command
            elif re.search(r"-m gan_jax|benchmarks/", part):
                parse(argv, monkeypatch)
            elif "/sample.py " not in part:  # of an export
                assert part.strip() in ("python3 -m venv .venv", ".venv/bin/pytest"), part


def shrunk(command: str) -> str:
    """The command, with overrides that make it fast."""
    if "--merge" not in command and "--rerun" not in command:
        command += "".join(f" {x}" for name, x in SHRINK.items() if f"-m {name} " in command)
    return f"{command} {SHRINK_EVAL}" if "eval_every" in command else command


# Pages that use the run of README.md, in order; all others stand alone.
SHARED = ("README", "evaluation", "images", "reliability", "retrieval", "training")
GROUPS = [[page for page in PAGES if page.stem in SHARED]]
GROUPS += [[p] for p in PAGES if p.stem not in SHARED and BLOCK.search(p.read_text())]


@pytest.mark.slow
@pytest.mark.parametrize("pages", GROUPS, ids=lambda pages: pages[-1].stem)
def test_code_runs(pages, tmp_path, mnist_dir):
    env = os.environ | {"TFDS_DATA_DIR": mnist_dir, "PYTHONPATH": str(ROOT)}
    env["PATH"] = f"{pathlib.Path(sys.executable).parent}:{env['PATH']}"
    for page in pages:
        for language, title, body in BLOCK.findall(page.read_text()):
            if title:
                (tmp_path / title).write_text(body)
            elif language == "python":
                subprocess.run([sys.executable, "-c", body], cwd=tmp_path, env=env, check=True)
            elif language == "sh":
                for command in lines(body):
                    if not command.endswith("# long") and "-m venv" not in command:
                        subprocess.run(
                            shrunk(command), shell=True, cwd=tmp_path, env=env, check=True
                        )


def test_cluster_files():
    """The Slurm array and the Kubernetes job are valid, and cover all shards."""
    blocks = BLOCK.findall((ROOT / "docs/sweeps.md").read_text())
    (array,) = [body for _, _, body in blocks if "#SBATCH" in body]
    subprocess.run(["bash", "-n"], input=array, text=True, check=True)
    assert array.startswith("#!/bin/bash\n")
    last, shards = re.search(r"--array=0-(\d+)\n.*ARRAY_TASK_ID/(\d+)", array, re.DOTALL).groups()
    assert int(shards) == int(last) + 1
    (job,) = [yaml.safe_load(body) for language, _, body in blocks if language == "yaml"]
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert pod["restartPolicy"] == "OnFailure"  # indexed jobs allow it or Never
    (container,) = pod["containers"]
    *_, command = container["command"]
    subprocess.run(["sh", "-n"], input=command, text=True, check=True)
    shards = re.search(r"COMPLETION_INDEX/(\d+)$", command)[1]
    assert int(shards) == spec["completions"] == spec["parallelism"]
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount["name"] == volume["name"]
    assert f"--workdir={mount['mountPath']}/" in command


@pytest.mark.slow
def test_added_field_trains(tmp_path):
    """Applies the diff in docs/extending.md and trains with the new field."""
    blocks = BLOCK.findall((ROOT / "docs/extending.md").read_text())
    diff = "".join(body for language, _, body in blocks if language == "diff")
    for name in ("gan_jax", "configs"):
        subprocess.run(["cp", "-r", ROOT / name, tmp_path], check=True)
    subprocess.run(["patch", "-p1"], input=diff, text=True, cwd=tmp_path, check=True)
    losses = []
    for drift in (0, 1):
        settings = f"--workdir={drift} --config.num_steps=2 --config.drift={drift}"
        command = [sys.executable, "-m", "gan_jax.main", "--config=digits", *settings.split()]
        env = os.environ | {"PYTHONPATH": str(tmp_path)}
        subprocess.run(command, cwd=tmp_path, env=env, check=True)
        losses.append(read_metrics(tmp_path / str(drift) / "metrics.jsonl")[0]["d_loss"])
    assert losses[1] > losses[0]


def test_configuration_page():
    """Otherwise: python -m gan_jax.config > docs/configuration.md."""
    assert (ROOT / "docs/configuration.md").read_text() == markdown()


def test_readme_length():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


RESULTS = ROOT / "benchmarks/results"


def read(name: str) -> dict:
    return json.loads((RESULTS / name).read_text())


def members(name: str) -> list[dict[str, str]]:
    with (RESULTS / name / "results.csv").open() as file:
        return list(csv.DictReader(file))


def mean_error(values: Iterable[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    values = list(values)
    return statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5


def assert_row(page: str, first: str, *values: float) -> None:
    """Asserts that a table row starting with `first` contains these numbers, rounded."""
    text = (ROOT / f"docs/{page}.md").read_text().replace("\N{MINUS SIGN}", "-").replace("*", "")
    rows = re.findall(rf"^\| {re.escape(first)} \|(.*)$", text, re.MULTILINE)
    found = [re.findall(r"(?<![A-Za-z\d])-?\d[\d,]*(?:\.\d+)?", row) for row in rows]

    def matches(numbers: list[str]) -> bool:
        decimals = [Decimal(x.replace(",", "")) for x in numbers]
        return len(numbers) == len(values) and all(
            x == round(Decimal(v), -x.as_tuple().exponent)
            for x, v in zip(decimals, values, strict=True)
        )

    assert any(map(matches, found)), (first, values, rows)


def test_table_1():
    for name, published in table1.PUBLISHED.items():
        assert_row("reproductions", f"{name[0].upper()}{name[1:]} (published)", *published)
    configs = {name: row["seeds"] for name, row in read("table1.json").items()}
    for name, seeds in configs.items():
        scores = [seed["metrics"]["parzen"] for seed in seeds]
        values = [s["value"] for s in scores]
        value, *error = mean_error(values) if len(seeds) > 1 else values
        of_images = statistics.mean(s["standard_error"] for s in scores)
        assert_row("reproductions", f"`{name}`", len(seeds), value, of_images, *error)
    metrics, three = configs["goodfellow2014"][0]["metrics"], configs["mnist_best"]
    for first, name in (
        ("real training images", "real data"),
        ("Gaussian per class", "Gaussians"),
        ("k-means centroids", "k-means"),
    ):
        baseline = metrics["parzen"]["baselines"][name]
        assert_row("reproductions", first, baseline["value"], baseline["standard_error"])
    labels = {"class_kl": "class KL (nats)", "fid": "FID", "kid": "KID"}
    for metric in metrics.keys() - {"parzen", "fid_infinity", "modes"}:
        values = [seed["metrics"][metric]["value"] for seed in three]
        one, real = metrics[metric]["value"], metrics[metric]["baselines"]["real data"]["value"]
        label = labels.get(metric, metric.replace("_", " "))
        row = one, statistics.mean(values), min(values), max(values), real
        assert_row("reproductions", label, *row)


def test_equal_budget():
    found = {name.split()[0]: row["seeds"] for name, row in read("table1-equal.json").items()}
    for name, seeds in (found | {"mnist_best": read("table1.json")["mnist_best"]["seeds"]}).items():
        metrics = ("parzen", "fid", "precision", "recall", "density", "coverage", "memorisation")
        values = (statistics.mean(s["metrics"][x]["value"] for s in seeds) for x in metrics)
        assert_row("reproductions", f"`{name}`, equal budget", seeds[0]["num_steps"], *values)


def test_autoencoders():
    titles = {x: f"`{x}`" for x in ("autoencoder_mnist", "vae_mnist", "aae_mnist")}
    for name, title in (titles | {"vae_mnist_dcgan": "convolutional VAE"}).items():
        row = f"[{title}](../benchmarks/results/{name}/evaluation.json)"
        found = read(f"{name}/evaluation.json")
        metrics = found["metrics"]
        values = [metrics[x]["value"] for x in ("fid", "kid", "precision", "recall", "parzen")]
        values.append(metrics["parzen"]["standard_error"])
        for bound in found.get("log_likelihood", {}).values():
            values += bound.values()
        published = (340, 2) if name == "aae_mnist" else ()
        assert_row("autoencoders", row, *values, *published)


def test_inferred_classes():
    for row, result in read("inferred.json").items():
        errors = [100 * seed["error"]["value"] for seed in result["seeds"]]
        error = statistics.stdev(errors) / len(errors) ** 0.5
        published = inferred_classes.PUBLISHED[row]
        assert_row("autoencoders", row, statistics.mean(errors), error, *published)


def test_evaluation_table():
    found = read("mnist-evaluation.json")
    rows = {
        row: {name: entry["baselines"][row] for name, entry in found["metrics"].items()}
        for row in BASELINES
    }
    table = tables.table(found["metrics"], rows, found["samples"])
    assert "\n".join(table) in (ROOT / "docs/evaluation.md").read_text()


def finals(sweep: str, metric: str, factor: float = 1) -> list[float]:
    """Final values of a metric over all members of a sweep."""
    return [factor * float(x[f"final_{metric}"]) for x in members(sweep)]


def test_mode_coverage():
    row = []
    for name in ("all_modes", "all_modes_ring"):
        (covered,) = set(finals(name, "modes_covered"))
        row += [covered, *mean_error(finals(name, "high_quality", 100))]
        row += mean_error(finals(name, "reverse_kl"))
    assert_row("reproductions", "ours", 20_000, 10_000, *row)


def test_pacgan_table():
    scores = read("pacgan-table1-2000.json")["scores"]
    for pack in pacgan_table1.PACKS:
        row: list[float] = []
        for dataset, published in pacgan_table1.PUBLISHED.items():
            for metric, theirs in zip(pacgan_table1.METRICS, published[pack], strict=True):
                factor = 100 if metric == "high_quality" else 1
                ours = scores[dataset][str(pack)][metric]
                row += [*mean_error(factor * x for x in ours), *theirs]
        assert_row("reproductions", "GAN" if pack == 1 else f"PacGAN{pack}", *row)


def test_sweep_of_losses():
    settings: dict[tuple, list[float]] = {}
    for x in members("losses"):
        key = x["loss"], x["k"], x["d_optimizer.learning_rate"], x["g_optimizer.learning_rate"]
        settings.setdefault(key, []).append(float(x["final_fid"]))
    for loss in ("minimax", "non_saturating"):
        row: list[float] = []
        for k in "125":
            several = [v for key, v in settings.items() if key[:2] == (loss, k)]
            best = min(several, key=statistics.mean)
            row += [statistics.mean(best), statistics.stdev(best)]
        assert_row("sweeps", f"`{loss}`", *row)


def test_cost_of_scaling():
    found = read("scaling-cpu-2.json")
    for name, sides in found["measured"].items():
        relative = sides["of_one_device"]
        assert_row("scaling", name, relative["strong 2"], relative["weak 2"])
    for name in ("mnist", "dcgan_cifar10", "r3gan_cifar10_small", "sngan_cifar10", "text_flowers"):
        values = found["models"][name]
        known = values["all_reduced_mb"], *values["communication_ms"].values()
        assert_row("scaling", name, *known, values["population"]["1"], values["batch"]["1"])


def test_equilibrium():
    found = read("equilibrium/summary.json")
    for name in ("gaussian1d", "grid"):
        for k, ends in found[name].items():
            assert_row("theory", f"{name}, k = {k}", *ends["d_gap"], *ends["jsd"])


def test_executors():
    found = read("engines-cpu-2.json")
    for name in ("local", "ray", "submitit", "slurm"):
        first, every = (statistics.median(found[key][name]) for key in ("first", "all"))
        assert_row("sweeps", name, first, every, every / found["units"])
    process = f"{statistics.median(found['process']):.1f} s of processor time"
    assert process in (ROOT / "docs/sweeps.md").read_text()


def test_speed():
    names = {
        "torch fused Adam": "PyTorch, fused Adam",
        "torch compile": "PyTorch, `torch.compile`, fused Adam",
        "torch CUDA graph": "PyTorch, CUDA graph",
        "torch eager": "PyTorch, eager",
        "python_loop": "Python loop over jitted `d_step` and `g_step`",
        "matmuls": "matrix products of an iteration alone",
    }
    for file in ("cpu-2.json", "nvidia-h100-80gb-hbm3.json"):
        found = read(file)
        for side, rate in found["steps_per_second"].items():
            ratios = [1] if side == "gan_jax" else found["times_as_fast"][side]
            assert_row("speed", names.get(side, side), rate, *ratios)
    found = read("population-cpu-2.json")
    for size in ("1", "2", "8", "32", "128"):
        rates = found["rates"][size]
        row = [statistics.median(rates)]
        for side in ("lone", "torch fused Adam", "matmuls"):
            ratios = [a / b for a, b in zip(rates, found["rates"][side], strict=True)]
            row += [statistics.median(ratios), min(ratios), max(ratios)]
        assert_row("speed", size, *row, found["peak_memory_mb"][size])
    found = read("population-nvidia-h100-80gb-hbm3.json")
    rates = [statistics.median(rates) for rates in found["rates"].values()]
    assert_row("speed", "member-iterations/s", *rates)
    assert_row("speed", "fraction of the limit", *(rate / found["limit"] for rate in rates))
    names |= {"torch compile": "PyTorch, `torch.compile`", "limit": "matrix products alone"}
    for name, found in read("convolutions-cpu-2.json")["configs"].items():
        rates = found["steps_per_second"]
        for side in ("torch fused Adam", "torch compile", "limit"):
            row = rates["gan_jax"], rates[side], *found["times_as_fast"][side]
            assert_row("speed", f"{name}, {names[side]}", *row)


def test_conditional_results():
    for name, found in read("cdcgan_mnist/evaluation.json")["metrics"].items():
        if METRICS[name].requires == "labels":
            real = found["baselines"]["real data"]["value"]
            row = found["value"], found["low"], found["high"], real
            assert_row("reproductions", METRICS[name].label, *row)


def test_retrieval_tables():
    for file in ("mnist", "silhouettes"):
        for i, (name, found) in enumerate(read(f"retrieval/{file}.json")["features"].items()):
            row = [found["dimensions"], *found["score"].values()]
            row += [] if i == 0 else found["difference"].values()
            assert_row("retrieval", name, *row)
    for name, found in read("retrieval/time.json")["features"].items():
        seconds = found["seconds_to_search"]
        row = found["dimensions"], found["bytes"] / 1e9, found["seconds_to_compute"]
        assert_row("retrieval", name, *row, statistics.median(seconds), max(seconds))


def test_molecules():
    found = read("molecules/results.json")
    for first, name in (
        ("similarity to samples of `active`", "active"),
        ("similarity to samples of `inactive` (control)", "inactive"),
        ("difference of both", "difference"),
    ):
        both = (found["enrichment"][f"{name}, {how}"]["seeds"] for how in ("at 1/2", "drawn"))
        assert_row("molecules", first, *(x for seeds in both for x in mean_error(seeds)))
    for first, name in (
        ("similarity to the nearest training active", "nearest training active"),
        (
            "similarity to the nearest training inactive (as many inactives as actives)",
            "nearest of as many inactives",
        ),
        (
            "to the nearest active, less to the nearest inactive",
            "nearest active, less nearest inactive",
        ),
    ):
        assert_row("molecules", first, found["baselines"][name])

    def mean(of: str, samples: str, value: str) -> float:
        return statistics.mean(run[of][samples][value] for run in found["runs"])

    for name in ("active, at 1/2", "active, drawn"):
        row = (mean(of, name, x) for of in ("bits", "nearest") for x in ("mean", "ks"))
        assert_row("molecules", f"samples of {name}", *row)
    real = (mean(of, "active, drawn", "real") for of in ("bits", "nearest"))
    assert_row("molecules", "test actives", *real)


def test_overfitting():
    found = read("your_images/overfitting.json")
    for name, outputs in found["d_output"].items():
        label = name if name == "none" else f"`{name}`"
        assert_row("your_images", label, *outputs.values())
    text = (ROOT / "docs/your_images.md").read_text()
    without, with_it = found["memorisation"].values()
    assert f"`memorisation` is {without:.2f} without augmentation and {with_it:.2f} with" in text


def test_readme_results():
    table = read("table1.json")
    one, three = (
        [seed["metrics"]["parzen"]["value"] for seed in table[name]["seeds"]]
        for name in ("goodfellow2014", "mnist_best")
    )
    kl = [mean_error(finals(name, "reverse_kl")) for name in ("all_modes", "all_modes_ring")]
    speed = read("cpu-2.json")
    text = (ROOT / "README.md").read_text()
    for figure in (
        f"{one[0]:.1f}, one seed",
        "{:.1f} ± {:.1f}, three seeds".format(*mean_error(three)),
        "25, {:.4f} ± {:.4f}, ten seeds".format(*kl[0]),
        "8, {:.4f} ± {:.4f}, ten seeds".format(*kl[1]),
        f"{speed['steps_per_second']['gan_jax']:.0f} iterations/s, "
        f"{speed['times_as_fast']['torch fused Adam'][0]:.2f} times PyTorch",
    ):
        assert figure in text
