"""Pictures of a run: sample grids, their animation, and the curves."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gan_jax.metrics.neighbours import nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GRID_PIXELS = 480  # small images are magnified by a whole factor until a grid is about this wide


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images of [0, 1] (what lies beyond is clipped) as bytes; bytes as they are."""
    if images.dtype == np.uint8:
        return images
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def image_grid(images: np.ndarray, rows: int, columns: int) -> Image.Image:
    """Arranges images in rows, one pixel of black around each.

    Args:
      images: see `to_uint8`, shape (<= rows * columns, height, width, channels), 1 or 3 channels.
      rows: of the grid.
      columns: of the grid.
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


def points(samples: np.ndarray, data: np.ndarray | None = None) -> Image.Image:
    """A scatter plot of points by their first two components (or one, on a line).

    Args:
      samples: shape (n, d).
      data: shape (m, d), drawn below the samples and deciding what the axes hold.
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


def _plane(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[:, 0], x[:, 1] if x.shape[1] > 1 else np.zeros(len(x))


def sample_picture(
    samples: np.ndarray, rows: int, columns: int, data: np.ndarray | None = None
) -> Image.Image:
    """A grid where the samples are images, a scatter plot over the data where they are points."""
    return image_grid(samples, rows, columns) if samples.ndim == 4 else points(samples, data)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def npz(samples: np.ndarray) -> bytes:
    """Samples as an .npz file's array `images`: bytes for images, points as they are."""
    buffer = io.BytesIO()
    np.savez(buffer, images=to_uint8(samples) if samples.ndim == 4 else samples)
    return buffer.getvalue()


def gif(frames: list[Image.Image]) -> bytes:
    """An animation of pictures, half a second each and the last for two."""
    images = [frame.convert("RGB") for frame in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=images[1:],
        duration=[500] * (len(images) - 1) + [2000],
        loop=0,
    )
    return buffer.getvalue()


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of a size in inches."""
    from matplotlib.figure import Figure  # takes a second to import; training does not wait for it

    return Figure(figsize=(width, height), layout="constrained")


def figure_image(figure: "Figure") -> Image.Image:
    """A figure as a picture."""
    return Image.open(io.BytesIO(figure_png(figure))).convert("RGB")


def figure_png(figure: "Figure") -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def curves(metrics: list[dict[str, Any]], title: str) -> bytes:
    """Losses and D's outputs over the iterations, as a PNG.

    Args:
      metrics: lines of metrics.jsonl.
      title: of the figure.
    """
    step = [m["step"] for m in metrics]
    figure = new_figure(8, 6)
    figure.suptitle(title, x=0.01, ha="left")
    losses, outputs = figure.subplots(2, 1, sharex=True)
    for axes, names, label in (
        (losses, {"d_loss": "D", "g_loss": "G"}, "loss"),
        (outputs, {"d_real": "D(x), real", "d_fake": "D(G(z)), generated"}, "D's output"),
    ):
        for (name, text), color, style in zip(
            names.items(), ("#0072B2", "#D55E00"), ("-", "--"), strict=True
        ):
            axes.plot(step, [m[name] for m in metrics], style, color=color, label=text, lw=1.2)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    if all(0 <= m[name] <= 1 for m in metrics for name in ("d_real", "d_fake")):  # probabilities
        outputs.axhline(0.5, color="black", lw=0.8, ls=":", label="1/2, where D cannot tell")
        outputs.set_ylim(0, 1)
    outputs.set_xlabel("iteration")
    for axes in (losses, outputs):
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
    return figure_png(figure)


def show_grid(axes: "Axes", images: np.ndarray, rows: int, columns: int, title: str) -> None:
    """Draws `image_grid` into axes, under a title."""
    known = np.nan_to_num(images)  # of a run that diverged nothing is left
    axes.imshow(image_grid(known, rows, columns), cmap="gray", interpolation="nearest")
    axes.set_title(title, loc="left", fontsize=10)
    axes.axis("off")


def evaluation(
    samples: np.ndarray,
    train: np.ndarray,
    result: dict[str, Any],
    metrics: list[dict[str, Any]],
) -> bytes:
    """Samples, their nearest training images, classes and metrics over the iterations, as a PNG.

    Args:
      samples: images or points, at least one.
      train: the training set, of the same shape.
      result: the contents of evaluation.json.
      metrics: lines of metrics.jsonl, of which those of an evaluation have more.
    """
    figure = new_figure(10, 8)
    title = f"{result['dataset']}, iteration {result['step']}, {result['samples']} samples"
    figure.suptitle(title, x=0.01, ha="left")
    (left, right), (classes, curves) = figure.subplots(2, 2, height_ratios=(3, 2))
    if samples.ndim == 4:
        show_grid(left, samples[:100], 10, 10, "samples")
        some = samples[:25]
        flat = to_uint8(some).reshape(len(some), -1), train.reshape(len(train), -1)
        index, _ = nearest(*(x.astype(np.float32) for x in flat))
        # Five columns of pairs: a sample and, to the right of it, its neighbour.
        pairs = np.stack([to_uint8(some), train[index]], axis=1).reshape(-1, *train.shape[1:])
        show_grid(right, pairs, 5, 10, "which training image is nearest? (right of each sample)")
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
        classes.set_title("which classes are there?", loc="left", fontsize=10)
        if len(n) <= 20:
            classes.set_xticks(range(len(n)))
        classes.set_xlabel("class, by the evaluator")
        classes.set_ylabel("share")
        classes.legend(frameon=False)
    else:
        classes.axis("off")
    evaluated = {name for line in metrics for name in line} & result["metrics"].keys()
    curves.axis("off")
    for i, name in enumerate(sorted(evaluated)):
        # One below the other, as they have no scale in common.
        axes = curves.inset_axes((0.05, 1 - (i + 1) / len(evaluated), 0.95, 0.9 / len(evaluated)))
        values = [(m["step"], m[name]) for m in metrics if name in m]
        axes.plot(*zip(*values, strict=True), marker="o", ms=3, color="#0072B2")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        if i + 1 < len(evaluated):
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel("iteration")
    text = "how did the metrics move while training?"
    curves.set_title(text if evaluated else f"{text} (needs eval_every)", loc="left", fontsize=10)
    return figure_png(figure)


def spectrum(eigenvalues: np.ndarray, of: str) -> bytes:
    """Eigenvalues of a game's Jacobian in the complex plane, as a PNG.

    Args:
      eigenvalues: complex, shape (n,).
      of: what they belong to.
    """
    figure = new_figure(6, 5)
    axes = figure.subplots()
    axes.axvline(0, color="black", lw=0.8)
    axes.axhline(0, color="black", lw=0.8)
    size = float(np.abs(eigenvalues).max())
    flat = np.abs(eigenvalues.real) <= 1e-6 * size  # float32 gradients do not tell their sign
    contracts = eigenvalues.real > 0
    for chosen, marker, color, label in (
        (~flat & contracts, "o", "#0072B2", "contracts"),
        (~flat & ~contracts, "x", "#D55E00", "spreads"),
        (flat, ".", "0.5", "neither"),
    ):
        x = eigenvalues[chosen]
        text = f"{label} ({len(x)})"
        axes.plot(x.real, x.imag, marker, ms=5, alpha=0.6, mew=1, color=color, label=text)
    # Most lie close to 0 and a few far off: linear around 0, then by decades.
    small = max(size * 1e-3, 1e-12)
    axes.set_xscale("symlog", linthresh=small, linscale=2)
    axes.set_yscale("symlog", linthresh=small, linscale=2)
    axes.minorticks_off()
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("real part: how fast gradient steps contract, or spread")
    axes.set_ylabel("imaginary part: how fast they rotate")
    axes.set_title(
        f"Would plain gradient steps contract here, spread or rotate?\n{of}",
        loc="left",
        fontsize=11,
    )
    figure.legend(frameon=False, loc="outside lower left", ncols=3)
    axes.grid(alpha=0.3)
    return figure_png(figure)
