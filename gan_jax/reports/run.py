"""The report of a run."""

import math
import pathlib
import shlex
from typing import Any

from ml_collections import ConfigDict
from PIL import Image

from gan_jax import data, device, grid, plots, train, workdir
from gan_jax.data.folders import read_image
from gan_jax.errors import InputError
from gan_jax.evaluation import tables
from gan_jax.evaluation.registry import METRICS
from gan_jax.reports import page
from gan_jax.reports.charts import evenly
from gan_jax.reports.page import Block, Charts, Code, Figures, Page, Table, Text
from gan_jax.writers import read_metrics, sample_grids

_MAX_FRAMES = 32  # images of the slider
_PRINTED = 4  # of them, in print
_FRAME_BYTES = 60_000  # of each; with scripts and charts, a page stays below 5 MB


def _samples(directory: pathlib.Path) -> list[Block]:
    """The sample grids, thinned."""
    paths = sample_grids(directory)
    steps = list(paths)
    if not steps:
        return [Text("No samples have been drawn yet.")]
    figures = []
    for step in (steps[i] for i in evenly(len(steps), _MAX_FRAMES)):
        pixels = read_image(paths[step])
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        caption = f"iteration {step:,}"
        figures.append(page.figure(image, f"samples of {caption}", caption, _FRAME_BYTES))
    note = f"{len(figures)} of the {len(steps)} images in samples/, from fixed noise."
    return [Figures(figures, evenly(len(figures), _PRINTED)), Text(note)]


def _scores(directory: pathlib.Path, lines: list[dict[str, Any]]) -> list[Block]:
    """Results of gan_jax.evaluate, else the last scores from training."""
    blocks: list[Block] = []
    for path in (directory / "evaluation.json", directory / "evaluation_held_out.json"):
        if not path.exists():
            continue
        result = workdir.read_json(path)
        try:
            entries = {name: x for name, x in result["metrics"].items() if name in METRICS}
            found = [x for entry in entries.values() for x in entry["baselines"].values() if x]
            for entry in [*entries.values(), *found]:  # infinities are null in JSON
                entry |= {k: math.nan for k in ("value", "low", "high") if entry[k] is None}
            names = dict.fromkeys(row for entry in entries.values() for row in entry["baselines"])
            others = {
                row: {name: x["baselines"][row] for name, x in entries.items()} for row in names
            }
            header, *rows = tables.rows(entries, others, result["samples"])
            by = result["evaluator"]
            caption = (
                f"{result['samples']} samples of iteration {result['step']} against "
                f"{result['test_examples']} examples of {result['dataset']} {result['test_split']}"
            ) + (f", by {by['name']} ({by['accuracy']:.1%} accurate)" if by else "")
            notes = [*tables.likelihoods_and_errors(result), *tables.interval_notes(entries)]
            table = Table(caption, ["metric", *header[1:]], rows, numeric=True)
            blocks += [table, *map(Text, notes)]
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise InputError(f"{path} is damaged or of another version: score the run again") from e
    if blocks:
        return blocks
    last = {name: line[name] for line in lines for name in line if name in METRICS}
    if last:
        rows = [[METRICS[name].label, page.json_text(value)] for name, value in last.items()]
        blocks.append(Table("Last scores during training, without intervals", [], rows))
    command = shlex.join(["python", "-m", "gan_jax.evaluate", f"--workdir={directory}"])
    return [
        *blocks,
        Text("Not evaluated yet. To compute scores with intervals and baselines:"),
        Code(command),
    ]


def _neighbours(directory: pathlib.Path, config: ConfigDict) -> Block:
    """Samples of the newest checkpoint next to their nearest training images, or why not."""
    try:
        device.setup("cpu", deterministic=True, cache=data.cache_dir() / "xla")
        spec, state = workdir.load(directory)
        if len(spec.example_shape) != 3:
            return Text("The data are not images.")
        dataset = train.load_data(config)
        workdir.check_data(directory, dataset.sha256)
        samples = grid.samples(config, spec, state, dataset)
        pairs = plots.interleave_nearest(samples[evenly(len(samples), 24)], dataset.images)
    except (InputError, OSError) as e:
        return Text(f"Not available: {e}")
    image = plots.image_grid(pairs, -(-len(pairs) // 8), 8)
    caption = f"Samples of iteration {int(state.step):,}, each left of its nearest training image"
    alt = "pairs of a sample and its nearest training image, by pixels"
    return Figures([page.figure(image, alt, caption)])


def report(directory: pathlib.Path) -> Page:
    """The report of a run.

    Raises:
      InputError: not a run, or a damaged file.
    """
    config, record = workdir.read_config(directory), workdir.read_json(directory / "run.json")
    status, metrics = page.run_status(directory, record), directory / "metrics.jsonl"
    lines = read_metrics(metrics) if metrics.exists() else []
    step = record.get("step")
    if type(step) is not int:  # not recorded before the end
        step = max((line["step"] for line in lines), default=0)
    state = f"iteration {step:,} of {config.num_steps:,}"
    if isinstance(end := record.get("diverged"), dict):
        state += f": {end.get('in')} is not finite"
    if speed := record.get("steps_per_second"):
        state += f", {speed} iterations/s"
    try:
        curves = [page.chart(panel, "quantity") for panel in plots.panels(lines)]
    except (TypeError, ValueError) as e:
        raise InputError(f"{metrics} is damaged: {e}") from e
    here = f"--workdir={directory}"
    commands = {
        "Retrain in a new directory": ["main", f"--config={directory / 'config.json'}"],
        "Verify bitwise reproducibility": ["reproduce", here],
    }
    if status in ("interrupted", "killed"):
        commands["Resume"] = ["main", f"--config={directory / 'config.json'}", here]
    later = Text("Available when the run has ended.")
    return Page(
        title=f"{plots.run_title(config)}, seed {config.seed}",
        status=status,
        state=state,
        done=step / config.num_steps,
        sections={
            "Config": page.config_blocks(config),
            "Samples": _samples(directory),
            "Curves": [Charts(curves)] if curves else [Text("Nothing has been measured yet.")],
            "Scores": _scores(directory, lines),
            "Nearest training images": [
                later if status == "running" else _neighbours(directory, config)
            ],
            "Provenance": page.provenance_blocks(record),
            "Reproduce": [
                Code(shlex.join(["python", "-m", f"gan_jax.{name}", *arguments]), title)
                for title, (name, *arguments) in commands.items()
            ],
        },
    )
