import itertools

import matplotlib
import numpy as np
import pytest

from gan_jax import plots
from gan_jax.sweeps import figures, ranking, space
from tests.conftest import figure_of
from tests.sweeps.conftest import make_results

NAN = float("nan")


def test_curves_are_medians_and_quartiles(monkeypatch):
    results = make_results([[9, 9, 9], [1, 2, 4], [5, 5, 5]])
    arguments = results, "fid", ranking.rank(results, "fid")
    (axes,) = figure_of(monkeypatch, figures.curves_png, *arguments).axes
    labels = [line.get_label() for line in axes.lines]
    assert labels == ["1: 2 (2.333)", "2: 3 (5)", "0: 1 (9)"]
    assert axes.lines[0].get_xydata().tolist() == [[20, 4], [30, 2]]
    band = axes.collections[0].get_paths()[0].vertices
    assert {(30, 1.5), (30, 3)} <= set(map(tuple, band.tolist()))
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 3


def test_losses_replace_a_metric_measured_once(monkeypatch):
    results = make_results([[1, 2]])
    results.curves[:, 1, 2] = NAN
    arguments = results, "fid", ranking.rank(results, "fid")
    upper, lower = figure_of(monkeypatch, figures.curves_png, *arguments).axes
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("d_loss", "g_loss")
    assert upper.lines[0].get_xydata().tolist() == [[10, 0.5], [20, 1.5], [30, 2.5]]


@pytest.mark.parametrize(("metric", "edge"), [("fid", 1), ("recall", 0), ("density", 1)])
def test_hyperparameter_panels(metric, edge, monkeypatch):
    settings = [{"r": 1e-4, "widths": (8,)}, {"r": 1e-2, "widths": [9]}, {"r": 1e-3, "widths": []}]
    results = make_results([[1, 2], [3, 4], [5, 6]], settings, metric, [[0, 0], [0, 0], [30, 0]])
    rates, widths = figure_of(monkeypatch, figures.hyperparameters_png, results, metric).axes[:2]
    assert (rates.get_xlabel(), widths.get_xlabel()) == ("r", "widths")
    for axes in (rates, widths):
        assert axes.get_yscale() == "linear"
        dots, lost, middles, infinite = axes.lines
        assert dots.get_ydata().tolist() == [1, 2, 3, 4, 6]
        assert lost.get_ydata().tolist() == infinite.get_ydata().tolist() == [edge]
        assert np.nanmin(middles.get_ydata()) == 1.5
    dots, lost, middles, infinite = rates.lines
    np.testing.assert_array_equal(middles.get_ydata(), [1.5, NAN, 3.5])  # sorted by value
    assert infinite.get_xdata().tolist() == [1]
    np.testing.assert_allclose(dots.get_xdata(), [0, 0, 2, 2, 1], atol=0.2)
    assert [text.get_text() for text in rates.get_xticklabels()] == ["0.0001", "0.001", "0.01"]
    assert [text.get_text() for text in widths.get_xticklabels()] == ["(8,)", "(9,)", "()"]
    assert rates.lines[2].get_linestyle() == "-"
    assert widths.lines[2].get_linestyle() == "None"


def test_panel_iqm_counts_unscored_as_worst(monkeypatch):
    results = make_results([[1, 2, 3, 4]], metric="recall", diverged=[[0, 0, 0, 30]])
    axes = figure_of(monkeypatch, figures.hyperparameters_png, results, "recall").axes[0]
    assert axes.lines[2].get_ydata().tolist() == [1.5]


def test_many_numbers_get_a_numeric_axis(monkeypatch):
    rates = np.geomspace(1e-4, 1e-2, 13).tolist()
    settings = [{"rate": rate, "widths": (8,) * i} for i, rate in enumerate(rates)]
    results = make_results(np.arange(1.0, 14)[:, None], settings)
    figure = figure_of(monkeypatch, figures.hyperparameters_png, results, "fid")
    numbers, names = figure.axes
    assert (numbers.get_xscale(), names.get_xscale()) == ("log", "linear")
    assert (numbers.get_yscale(), names.get_yscale()) == ("log", "log")
    (dots,) = numbers.lines
    np.testing.assert_allclose(dots.get_xdata(), rates)
    (dots,) = names.lines
    np.testing.assert_allclose(dots.get_xdata(), np.arange(13), atol=0.2)
    assert len(names.get_xticklabels()) == 0
    figure.draw_without_rendering()
    ticks = [text.get_text() for text in numbers.get_xticklabels()]
    assert {"0.0001", "0.0003", "0.001", "0.003", "0.01"} <= set(ticks)
    assert [axes.get_xlabel() for axes in figure.axes] == ["rate (13 values)", "widths (13 values)"]


def test_ranking_clips_infinite_intervals(monkeypatch):
    results = make_results([[5, 7], [1, 3], [1, 2]], diverged=[[0, 0], [0, 0], [30, 0]])
    arguments = results, "fid", ranking.rank(results, "fid")
    (axes,) = figure_of(monkeypatch, figures.ranking_png, *arguments).axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ["2", "1", "3 (1/2 unscored)"]
    assert axes.yaxis_inverted()
    *_, middles, infinite = axes.lines
    assert middles.get_xydata().tolist() == [[2, 0], [6, 1]]
    edge = axes.get_xlim()[1]
    assert infinite.get_xydata().tolist() == [[edge, 2]]
    ends = [path.vertices[:, 0].tolist() for path in axes.collections[0].get_paths()]
    assert ends == [[1, 3], [5, 7], [2, edge]]
    many = make_results(np.arange(40.0)[:, None])
    arguments = many, "fid", ranking.rank(many, "fid")
    figure = figure_of(monkeypatch, figures.ranking_png, *arguments)
    assert len(figure.axes[0].get_yticklabels()) == 30
    assert "best 30 of 40" in figure.get_suptitle()


def test_samples_of_best_median_and_worst(monkeypatch):
    results = make_results([[5, 1, 9, 2, 3]], [{}], diverged=[[0, 0, 30, 0, 0]])
    axes = figure_of(monkeypatch, figures.samples_png, results, "fid").axes
    titles = [x.get_title("left").splitlines()[0] for x in axes]
    assert titles == ["best: member 1, FID 1", "median: member 4, FID 3", "worst: member 0, FID 5"]
    for panel, i in zip(axes, (1, 4, 0), strict=True):
        expected = np.asarray(plots.image_grid(results.samples[i], 2, 2))
        np.testing.assert_array_equal(panel.images[0].get_array(), expected)


def texts_of(figure):
    """Visible texts of a figure after layout."""
    figure.set_dpi(120)
    with plots.style():
        figure.draw_without_rendering()
    found = [figure._suptitle, figure._supylabel]
    for legend in figure.legends:
        found += [legend.get_title(), *legend.get_texts()]
    for axes in figure.axes:
        found.append(axes._left_title)
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            shown = [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
            found += [axis.label, *(label for label in shown if label.get_visible())]
    return [text for text in found if text is not None and text.get_text()]


def test_text_is_literal_and_rcparams_are_ignored():
    """`$5_$10` is invalid as mathtext."""
    results = make_results([[1, 2], [3, 4]], [{"$5_$10": "$5_$10"}, {"$5_$10": "_"}])
    standings = ranking.rank(results, "fid")

    def draw():
        return [
            figures.ranking_png(results, "fid", standings),
            figures.hyperparameters_png(results, "fid"),
            figures.curves_png(results, "fid", standings),
            figures.samples_png(results, "fid"),
        ]

    before = draw()
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30}):
        assert draw() == before


LONG = {
    "loss": ["minimax", "non_saturating"],
    "generator.widths": [(128,), (1200, 1200), (1200, 1200, 1200, 1200)],
    "d_optimizer.learning_rate": [0.1 + 0.2, 1e-3, 3e-3],
    "num_steps": list(range(1000, 13_000, 1000)),
    "generator.activation": ["leaky_relu"],
    "generator.initializer": ["lecun_normal"],
    "discriminator.initializer": ["lecun_normal"],
    "d_optimizer.name": ["rmsprop"],
}
RANDOM = space.random(
    {
        "d_optimizer.learning_rate": space.log_uniform(1.3e-4, 7e-3),
        "g_optimizer.learning_rate": space.log_uniform(1e-6, 1e-1),
    },
    40,
    seed=0,
)


@pytest.mark.parametrize("settings", [space.grid(LONG), RANDOM, [{"k": 1}, {"k": 2}]])
def test_texts_are_inside_and_do_not_overlap(settings, monkeypatch):
    n = len(settings)
    lost = np.random.default_rng(0).integers(0, 4, (n, 3)) == 0
    scores = np.geomspace(100, 5000, 3 * n).reshape(n, 3)
    results = make_results(scores, settings, "parzen", 30 * lost)
    standings = ranking.rank(results, "parzen")
    for draw, arguments in (
        (figures.ranking_png, (standings,)),
        (figures.hyperparameters_png, ()),
        (figures.curves_png, (standings,)),
        (figures.samples_png, ()),
    ):
        figure = figure_of(monkeypatch, draw, results, "parzen", *arguments)
        texts = texts_of(figure)
        boxes = [text.get_window_extent().padded(-1) for text in texts]
        for text, box in zip(texts, boxes, strict=True):
            assert figure.bbox.contains(box.x0, box.y0), text
            assert figure.bbox.contains(box.x1, box.y1), text
        # Bounding boxes of rotated texts may overlap where the texts do not.
        level = [i for i, text in enumerate(texts) if text.get_rotation() % 90 == 0]
        for i, j in itertools.combinations(level, 2):
            assert not boxes[i].overlaps(boxes[j]), (texts[i], texts[j])
