import numpy as np
import pytest

from gan_jax import plots, ranking, summary_plots
from tests.conftest import sweep

NAN = float("nan")


def figure_of(monkeypatch, draw, *arguments):
    """The figure that a function makes a PNG of."""
    kept = []
    monkeypatch.setattr(plots, "figure_png", lambda figure: kept.append(figure) or b"")
    draw(*arguments)
    return kept[0]


def test_the_curves_are_medians_and_quartiles_of_the_best(monkeypatch):
    results = sweep([[9, 9, 9], [1, 2, 4], [5, 5, 5]])
    arguments = results, "fid", ranking.rank(results, "fid")
    (axes,) = figure_of(monkeypatch, summary_plots.curves_png, *arguments).axes
    assert [line.get_label()[:1] for line in axes.lines] == ["2", "3", "1"]
    assert axes.lines[0].get_xydata().tolist() == [[20, 4], [30, 2]]
    band = axes.collections[0].get_paths()[0].vertices
    assert {(30, 1.5), (30, 3)} <= set(map(tuple, band.tolist()))
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 3


def test_the_losses_stand_in_for_a_metric_measured_once(monkeypatch):
    results = sweep([[1, 2]])
    results.curves[:, 1, 2] = NAN
    arguments = results, "fid", ranking.rank(results, "fid")
    upper, lower = figure_of(monkeypatch, summary_plots.curves_png, *arguments).axes
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("d_loss (nats)", "g_loss (nats)")
    assert upper.lines[0].get_xydata().tolist() == [[10, 0.5], [20, 1.5], [30, 2.5]]


@pytest.mark.parametrize(("metric", "edge"), [("fid", 0.98), ("recall", 0.02), ("density", 0.98)])
def test_a_panel_a_field_and_every_member_a_dot(metric, edge, monkeypatch):
    settings = [{"r": 1e-4, "widths": (8,)}, {"r": 1e-2, "widths": [9]}, {"r": 1e-3, "widths": []}]
    results = sweep([[1, 2], [3, 4], [5, 6]], settings, metric, [[0, 0], [0, 0], [30, 0]])
    rates, widths = figure_of(monkeypatch, summary_plots.hyperparameters_png, results, metric).axes[
        :2
    ]
    assert (rates.get_xlabel(), widths.get_xlabel()) == ("r", "widths")
    assert (rates.get_xscale(), widths.get_xscale()) == ("log", "linear")
    for axes in (rates, widths):
        dots, lost, middles = axes.lines
        assert dots.get_ydata().tolist() == [1, 2, 3, 4, 6]
        assert lost.get_ydata().tolist() == [edge]
        assert np.nanmin(middles.get_ydata()) == 1.5
    dots, lost, middles = rates.lines
    np.testing.assert_allclose(middles.get_xdata(), [1e-4, 1e-3, 1e-2])
    np.testing.assert_allclose(np.log10(dots.get_xdata()), [-4, -4, -2, -2, -3], atol=0.21)
    assert [text.get_text() for text in widths.get_xticklabels()] == ["(8,)", "(9,)", "()"]


def test_the_ranking_is_best_first_and_its_infinite_ends_are_at_the_edge(monkeypatch):
    results = sweep([[5, 7], [1, 3], [1, 2]], diverged=[[0, 0], [0, 0], [30, 0]])
    arguments = results, "fid", ranking.rank(results, "fid")
    (axes,) = figure_of(monkeypatch, summary_plots.ranking_png, *arguments).axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ["2", "1", "3 (1/2 no score)"]
    *_, middles, infinite = axes.lines
    assert middles.get_xydata().tolist() == [[2, 0], [6, 1]]
    edge = axes.get_xlim()[1]
    assert infinite.get_xydata().tolist() == [[edge, 2]]
    ends = [path.vertices[:, 0].tolist() for path in axes.collections[0].get_paths()]
    assert ends == [[1, 3], [5, 7], [2, edge]]
    many = sweep(np.arange(40.0)[:, None])
    arguments = many, "fid", ranking.rank(many, "fid")
    figure = figure_of(monkeypatch, summary_plots.ranking_png, *arguments)
    assert len(figure.axes[0].get_yticklabels()) == 30
    assert "the best 30 of 40" in figure.get_suptitle()


def test_samples_of_the_best_the_median_and_the_worst(monkeypatch):
    results = sweep([[5, 1, 9, 2, 3]], [{}], diverged=[[0, 0, 30, 0, 0]])
    axes = figure_of(monkeypatch, summary_plots.samples_png, results, "fid").axes
    titles = [x.get_title("left").splitlines()[0] for x in axes]
    assert titles == ["best: member 1, 1", "median: member 4, 3", "worst: member 0, 5"]
    for panel, i in zip(axes, (1, 4, 0), strict=True):
        expected = np.asarray(plots.image_grid(results.samples[i], 2, 2))
        np.testing.assert_array_equal(panel.images[0].get_array(), expected)
