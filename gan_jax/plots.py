"""Figures of a run: sample grids, their animation, curves, evaluations and spectra."""

import contextlib
import io
import itertools
import math
import pathlib
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gan_jax.data.pixels import to_uint8
from gan_jax.evaluation.metrics.neighbours import nearest
from gan_jax.evaluation.registry import METRICS
from gan_jax.writers import read_metrics, sample_grids, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_GRID_PIXELS = 480  # small images are magnified by an integer until a grid is about this wide
# Okabe and Ito's colours of a contrast above 3 on white, and line styles and markers for those who
# see or print no colours. At least 12 apart (CIEDE2000), also in simulated dichromacy.
STYLES: tuple[tuple[str, Any, str], ...] = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", "-.", "^"),
    ("#CC79A7", ":", "D"),
    ("#000000", (0, (6, 1, 1, 1, 1, 1)), "v"),
)

LOSSES, OUTPUTS = "Losses", "Discriminator outputs"
_PANELS = {  # pattern of names by title
    LOSSES: r".*loss|reconstruction|kl",
    OUTPUTS: r"d_real|d_fake",
    "Gradient norms": r".*grad_norm",
    "Parameter norms": r".*param_norm",
}


class Line(NamedTuple):
    """A curve over iterations: (n,) each, NaN where not measured."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None  # of a band around it
    high: np.ndarray | None = None


class Panel(NamedTuple):
    """Curves that share axes; `chance` is the height of a dotted line, on an axis from 0 to 1."""

    title: str
    lines: list[Line]
    chance: float | None = None


def panels(metrics: Sequence[dict[str, Any]]) -> list[Panel]:
    """All that lines of metrics.jsonl have measured: losses, D's outputs, norms, then the rest.

    Raises:
      TypeError, ValueError: something is not a number.
    """
    found: dict[str, list[Line]] = {title: [] for title in _PANELS}
    for name in sorted({name for line in metrics for name in line} - {"step"}):
        known = (title for title, names in _PANELS.items() if re.fullmatch(names, name))
        title = next(known, METRICS[name].title if name in METRICS else name)
        points = {line["step"]: line[name] for line in metrics if name in line}
        x, y = np.array([*points]), np.array([*points.values()], np.float64)
        found.setdefault(title, []).append(Line(name, x, y))
    fractions = all(((line.y >= 0) & (line.y <= 1)).all() for line in found[OUTPUTS])
    return [
        Panel(title, lines, 0.5 if title == OUTPUTS and fractions else None)
        for title, lines in found.items()
        if lines
    ]


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draws with matplotlib's defaults and literal text; also a decorator, `@plots.style()`.

    Figures then do not depend on the user's matplotlibrc and rcParams, and a `$` or `_` in the name
    of a data set is not parsed as LaTeX.
    """
    import matplotlib  # takes a second to import; training does not wait for it

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def image_grid(images: np.ndarray, rows: int, columns: int) -> Image.Image:
    """Arranges images in rows, each with a black border of one pixel.

    Images are uint8, or floats in [0, 1], (at most rows * columns, height, width, 1 or 3).
    """
    images = to_uint8(images)
    n, height, width, channels = images.shape
    cells = np.zeros((rows * columns, height + 2, width + 2, channels), np.uint8)
    cells[:n, 1:-1, 1:-1] = images
    grid = cells.reshape(rows, columns, height + 2, width + 2, channels).swapaxes(1, 2)
    grid = grid.reshape(rows * (height + 2), columns * (width + 2), channels)
    factor = max(1, _GRID_PIXELS // grid.shape[1])
    grid = grid.repeat(factor, axis=0).repeat(factor, axis=1)
    return Image.fromarray(grid[..., 0] if channels == 1 else grid)


@style()
def points(samples: np.ndarray, data: np.ndarray | None = None) -> Image.Image:
    """A scatter plot of the first two components of points, (n, d), on a line if d = 1.

    Data, (m, d), are drawn below the samples and set the limits of the axes.
    """
    figure = new_figure(4, 4)
    axes = figure.subplots()
    if data is not None:
        axes.plot(*_plane(data[:2000]), ".", ms=3, color="0.75")
        low, high = np.min(_plane(data), axis=1), np.max(_plane(data), axis=1)
        margin = np.max(high - low) / 4
        axes.set_xlim(low[0] - margin, high[0] + margin)
        axes.set_ylim(low[1] - margin, high[1] + margin)
    axes.plot(*_plane(samples), ".", ms=3, color="#D55E00")
    axes.set_aspect("equal", adjustable="datalim" if data is None else "box")
    return figure_image(figure)


@style()
def component_means(samples: np.ndarray, data: np.ndarray) -> Image.Image:
    """The mean of each component of samples, (n, d), over that of data, (m, d)."""
    figure = new_figure(4, 4)
    axes = figure.subplots()
    means = data.mean(axis=0), samples.mean(axis=0)
    axes.axline((0, 0), slope=1, lw=0.8, color="0.75")
    axes.plot(*means, ".", ms=4, color="#D55E00")
    axes.set_xlabel("mean of each component, data")
    axes.set_ylabel("samples")
    return figure_image(figure)


def _plane(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[:, 0], x[:, 1] if x.shape[1] > 1 else np.zeros(len(x))


def sample_image(
    samples: np.ndarray, rows: int, columns: int, data: np.ndarray | None = None
) -> Image.Image:
    """A grid of images, (n, height, width, 1 or 3), or points, (n, d), over those of the data.

    Of points with more than two components, the means.
    """
    if samples.ndim == 4:
        return image_grid(samples, rows, columns)
    if data is not None and data.shape[1] > 2:
        return component_means(samples, data)
    return points(samples, data)


def npz(samples: np.ndarray, labels: np.ndarray | None) -> bytes:
    """An .npz file with `images`, as uint8 unless they are points, and `labels` if given."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"images": to_uint8(samples) if samples.ndim == 4 else samples}
    np.savez(buffer, **arrays | ({} if labels is None else {"labels": labels}))
    return buffer.getvalue()


def gif(frames: Sequence[Image.Image]) -> bytes:
    """An animation with half a second per frame and two for the last."""
    first, *others = frames
    buffer = io.BytesIO()
    first.convert("RGB").save(
        buffer,
        "GIF",
        save_all=True,
        append_images=(frame.convert("RGB") for frame in others),
        duration=[500] * len(others) + [2000],
        loop=0,
    )
    return buffer.getvalue()


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of a size in inches; draw and save it within `style`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def figure_image(figure: "Figure") -> Image.Image:
    """A figure as an image."""
    return Image.open(io.BytesIO(figure_png(figure))).convert("RGB")


def is_log_scale(values: np.ndarray) -> bool:
    """Whether values, finite ones, are positive and span more than a decade."""
    return len(values) > 0 and bool(0 < 10 * values.min() < values.max())


def log_scale(axes: "Axes", axis: "Axis", values: np.ndarray) -> None:
    """Uses a log axis if its values, finite ones, are positive and span more than a decade.

    Ticks are plain numbers, fewer per decade the more decades there are.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    if not is_log_scale(values):
        return
    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
    decades = round(math.log10(values.max() / values.min()))
    subs = {1: (1, 2, 5), 2: (1, 3)}.get(decades, (1,))
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def figure_png(figure: "Figure") -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


FIGURES = ("samples.gif", "curves.png")


def draw(directory: pathlib.Path, config: ConfigDict, names: Sequence[str] = FIGURES) -> None:
    """Writes a run's samples.gif and curves.png, from its samples/ and metrics.jsonl.

    Raises:
      InputError: metrics.jsonl is missing or damaged.
      OSError: a file cannot be read or written.
    """
    if "samples.gif" in names:
        # Decoded one at a time, and no file left open: a long run has thousands.
        paths = sample_grids(directory).values()
        frames = [Image.open(io.BytesIO(path.read_bytes())) for path in paths]
        if frames:
            write_whole(directory / "samples.gif", gif(frames))
    if "curves.png" in names:
        lines = read_metrics(directory / "metrics.jsonl")
        write_whole(directory / "curves.png", curves(lines, run_title(config)))


def run_title(config: ConfigDict) -> str:
    """The data set, and the loss of a GAN or the name of another algorithm."""
    trained = config.loss if config.algorithm == "gan" else config.algorithm
    return f"{config.dataset}, {trained}"


@style()
def curves(metrics: Sequence[dict[str, Any]], title: str) -> bytes:
    """PNG of the losses, and of the discriminator's outputs if any, over iterations."""
    shown = [panel for panel in panels(metrics) if panel.title in (LOSSES, OUTPUTS)]
    shown = shown or [Panel(LOSSES, [])]
    figure = new_figure(8, 3 * len(shown))
    figure.suptitle(title, x=0.01, ha="left")
    all_axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(all_axes, shown, strict=True):
        for line, (color, dashes, _) in zip(panel.lines, itertools.cycle(STYLES), strict=False):
            axes.plot(line.x, line.y, ls=dashes, color=color, label=line.name, lw=1.2)
        axes.set_ylabel(panel.title)
        axes.grid(alpha=0.3)
        if panel.chance is not None:
            axes.axhline(panel.chance, color="black", lw=0.8, ls=":", label="chance")
            axes.set_ylim(0, 1)
        if panel.lines:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
    all_axes[-1].set_xlabel("iteration")
    return figure_png(figure)


def show_grid(axes: "Axes", images: np.ndarray, rows: int, columns: int, title: str) -> None:
    """Draws an `image_grid` into axes, under a title."""
    known = np.nan_to_num(images)  # all NaN after divergence
    axes.imshow(image_grid(known, rows, columns), cmap="gray", interpolation="nearest")
    axes.set_title(title, loc="left", fontsize=10)
    axes.axis("off")


def interleave_nearest(samples: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Each sample and its nearest training image by 8-bit pixels, alternating.

    Args:
      samples: images, (n, height, width, channels).
      train: uint8 (m, height, width, channels).

    Returns:
      uint8 (2 * n, height, width, channels).
    """
    samples = to_uint8(samples)
    flat = (x.reshape(len(x), -1).astype(np.float32) for x in (samples, train))
    index, _ = nearest(*flat)
    return np.stack([samples, train[index]], axis=1).reshape(-1, *train.shape[1:])


@style()
def evaluation(
    samples: np.ndarray,
    train: np.ndarray,
    result: dict[str, Any],
    metrics: list[dict[str, Any]],
) -> bytes:
    """Samples, their nearest training images, classes, and metrics over iterations, as a PNG.

    Args:
      samples: images or points, at least one.
      train: the training set, examples of the same shape.
      result: the contents of evaluation.json.
      metrics: lines of metrics.jsonl; those of an evaluation have the metrics too.
    """
    figure = new_figure(10, 8)
    title = f"{result['dataset']}, iteration {result['step']}, {result['samples']} samples"
    figure.suptitle(title, x=0.01, ha="left")
    (left, right), (classes, curves) = figure.subplots(2, 2, height_ratios=(3, 2))
    if samples.ndim == 4:
        show_grid(left, samples[:100], 10, 10, "samples")
        # Five columns of pairs.
        pairs = interleave_nearest(samples[:25], train)
        show_grid(right, pairs, 5, 10, "nearest training image (right of each sample)")
    else:
        for axes, x, text in ((left, samples, "samples"), (right, train, "data")):
            axes.scatter(x[:, 0], x[:, -1], s=2, color="#0072B2")
            axes.set_title(text, loc="left", fontsize=10)
    counts = result["metrics"].get("class_kl")
    if counts:
        shares = {"samples": counts["histogram"], "data": counts["data_histogram"]}
        for i, ((text, n), color) in enumerate(
            zip(shares.items(), ("#D55E00", "#0072B2"), strict=True)
        ):
            x = np.arange(len(n)) + 0.4 * i - 0.2
            classes.bar(x, np.array(n) / sum(n), 0.4, color=color, label=text)
        classes.set_title("class frequencies", loc="left", fontsize=10)
        if len(n) <= 20:
            classes.set_xticks(range(len(n)))
        classes.set_xlabel("class predicted by the evaluator")
        classes.set_ylabel("frequency")
        classes.legend(frameon=False)
    else:
        classes.axis("off")
    evaluated = {name for line in metrics for name in line} & result["metrics"].keys()
    curves.axis("off")
    for i, name in enumerate(sorted(evaluated)):
        # Stacked, as they have no common scale.
        axes = curves.inset_axes((0.05, 1 - (i + 1) / len(evaluated), 0.95, 0.9 / len(evaluated)))
        values = [(m["step"], m[name]) for m in metrics if name in m]
        axes.plot(*zip(*values, strict=True), marker="o", ms=3, color="#0072B2")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        if i + 1 < len(evaluated):
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel("iteration")
    text = "metrics during training"
    curves.set_title(text if evaluated else f"{text} (needs eval_every)", loc="left", fontsize=10)
    return figure_png(figure)


@style()
def retrieval(images: np.ndarray, captions: Sequence[str], title: str) -> bytes:
    """A query image and its hits in order, each under its caption, as a PNG.

    Args:
      images: uint8 (n, height, width, 1 or 3), the query first.
      captions: n, of one or two lines.
      title: of the figure.
    """
    columns = min(8, len(images))
    rows = math.ceil(len(images) / columns)
    height, width = images.shape[1:3]
    figure = new_figure(1.2 * columns, rows * (1.15 * height / width + 0.4) + 0.3)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    for i, axes in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        axes.axis("off")
        if i < len(images):
            axes.imshow(
                np.squeeze(images[i], -1) if images.shape[-1] == 1 else images[i],
                cmap="gray",
                vmin=0,
                vmax=255,
            )
            axes.set_title(captions[i], fontsize=8, color="black" if i else "#D55E00")
    return figure_png(figure)


@style()
def spectrum(eigenvalues: np.ndarray, of: str) -> bytes:
    """PNG of the eigenvalues of a game's Jacobian, complex (n,); `of` completes the title."""
    figure = new_figure(6, 5)
    axes = figure.subplots()
    axes.axvline(0, color="black", lw=0.8)
    axes.axhline(0, color="black", lw=0.8)
    size = float(np.abs(eigenvalues).max())
    flat = np.abs(eigenvalues.real) <= 1e-6 * size  # sign unknown in float32
    contracts = eigenvalues.real > 0
    for chosen, marker, color, label in (
        (~flat & contracts, "o", "#0072B2", "contracts"),
        (~flat & ~contracts, "x", "#D55E00", "diverges"),
        (flat, ".", "0.5", "neutral"),
    ):
        x = eigenvalues[chosen]
        text = f"{label} ({len(x)})"
        axes.plot(x.real, x.imag, marker, ms=5, alpha=0.6, mew=1, color=color, label=text)
    # Most are close to 0 and a few far from it: linear around 0, then by decades.
    small = max(size * 1e-3, 1e-12)
    axes.set_xscale("symlog", linthresh=small, linscale=2)
    axes.set_yscale("symlog", linthresh=small, linscale=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("real part (contraction where positive, divergence where negative)")
    axes.set_ylabel("imaginary part (rotation)")
    axes.set_title(f"Eigenvalues of the game's Jacobian\n{of}", loc="left", fontsize=11)
    figure.legend(frameon=False, loc="outside lower left", ncols=3)
    axes.grid(alpha=0.3)
    return figure_png(figure)
