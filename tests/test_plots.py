import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from gan_jax import config, plots
from gan_jax.data.pixels import to_uint8
from gan_jax.errors import InputError
from gan_jax.writers import png
from tests.conftest import figure_of, open_image


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_in_reading_order(channels):
    images = np.zeros((5, 4, 6, channels), np.float32)
    images += np.arange(1, 6).reshape(5, 1, 1, 1) / 10
    grid = np.asarray(plots.image_grid(images, 2, 3))
    factor = 480 // (3 * 8)
    assert grid.shape[:2] == (2 * 6 * factor, 3 * 8 * factor)
    centres = grid.reshape(2, 6 * factor, 3, 8 * factor, -1)[:, 3 * factor, :, 4 * factor, 0]
    assert centres.ravel().tolist() == [26, 51, 76, 102, 128, 0]


def test_gif_frames():
    frames = [Image.new("L", (8, 8), 80 * i) for i in range(3)]
    animation = Image.open(io.BytesIO(plots.gif(frames)))
    assert animation.n_frames == 3
    for i in range(3):
        animation.seek(i)
        assert animation.info["duration"] == (2000 if i == 2 else 500)
        assert np.allclose(np.asarray(animation.convert("L")), 80 * i, atol=1)


def evaluated(**metrics) -> dict:
    return {"dataset": "digits", "step": 40, "samples": 30, "metrics": metrics}


def line(step: int, **more) -> dict:
    return {"step": step, "d_loss": 1.0, "g_loss": 1.0, "d_real": 0.5, "d_fake": 0.5, **more}


def axes_of(monkeypatch, *arguments) -> list:
    """Axes of an evaluation figure, in order of creation."""
    return figure_of(monkeypatch, plots.evaluation, *arguments).axes


@pytest.mark.parametrize("channels", [1, 3])
def test_evaluation_of_images(channels, monkeypatch):
    train = np.random.default_rng(0).integers(0, 256, (40, 8, 8, channels)).astype(np.uint8)
    samples = train[[7, 3, 11]] / np.float32(255)
    classes = {"histogram": [1, 2, 0], "data_histogram": [10, 0, 30]}
    metrics = [line(1), line(20, fid=3.0, modes=2), line(40, fid=2.0, modes=float("inf"))]
    found = evaluated(fid={}, class_kl=classes)
    shown, pairs, bars, curves = axes_of(monkeypatch, samples, train, found, metrics)[:4]
    expected = np.asarray(plots.image_grid(samples, 10, 10))
    np.testing.assert_array_equal(shown.images[0].get_array(), expected)
    both = to_uint8(samples).repeat(2, axis=0)  # each is its own neighbour
    expected = np.asarray(plots.image_grid(both, 5, 10))
    np.testing.assert_array_equal(pairs.images[0].get_array(), expected)
    heights = [patch.get_height() for patch in bars.patches]
    np.testing.assert_allclose(heights, [1 / 3, 2 / 3, 0, 0.25, 0, 0.75])
    (fid,) = curves.child_axes  # modes is not in this evaluation
    assert fid.get_ylabel() == "fid"
    assert fid.lines[0].get_xydata().tolist() == [[20, 3], [40, 2]]


@pytest.mark.parametrize("d", [1, 2, 3])
def test_evaluation_of_points(d, monkeypatch):
    points = np.random.default_rng(0).normal(size=(30, d)).astype(np.float32)
    found = evaluated(parzen={"value": float("inf")})
    metrics = [line(step, parzen=float("inf")) for step in (1, 2)]
    left, right, bars, curves = axes_of(monkeypatch, points[:10], points, found, metrics)[:4]
    assert [len(axes.collections[0].get_offsets()) for axes in (left, right)] == [10, 30]
    assert not bars.patches
    assert len(curves.child_axes) == 1


def test_means_of_many_components(monkeypatch):
    samples, points = np.random.default_rng(0).random((2, 9, 40))
    monkeypatch.setattr(plots, "figure_image", lambda figure: figure)
    (axes,) = plots.sample_image(samples, 3, 3, points).axes
    found = axes.lines[1].get_xydata()
    np.testing.assert_allclose(found, np.stack([points.mean(axis=0), samples.mean(axis=0)], axis=1))


HOSTILE = {"text.usetex": True, "font.size": 30, "savefig.dpi": 20}


def draw_all(title: str) -> list[bytes]:
    """Draws every kind of figure, with `title` as the data set's name."""
    x = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    return [
        png(plots.points(x, x)),
        png(plots.component_means(x, x)),
        plots.curves([line(1), line(2)], title),
        plots.evaluation(x, x, evaluated() | {"dataset": title}, [line(1)]),
        plots.spectrum(np.array([1 + 2j, -1e-3 + 0j, 1j]), title),
    ]


def test_figures_ignore_rcparams():
    expected = draw_all("digits")
    with matplotlib.rc_context(HOSTILE):
        assert draw_all("digits") == expected
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("title", ["folder:sold_$5_$10", "folder:$\\nothing{$", "folder:写真"])
def test_text_is_literal(title, monkeypatch):
    """Without math mode, and without warnings about missing glyphs."""
    texts = []
    original = plots.figure_png

    def draw(figure):
        content = original(figure)
        texts.extend(figure.findobj(matplotlib.text.Text))
        return content

    monkeypatch.setattr(plots, "figure_png", draw)
    draw_all(title)
    assert sum(title in text.get_text() for text in texts) == 3
    assert not any(text.get_parse_math() for text in texts)
    assert not any("mathdefault" in text.get_text() for text in texts)


@pytest.mark.parametrize(
    ("metrics", "panels"),
    [
        (
            [line(1), line(2, fid=3.0)],
            {
                "Losses": ["d_loss", "g_loss"],
                "Discriminator outputs": ["d_fake", "d_real", "chance"],
            },
        ),
        (
            [{"step": 1, "d_real": 2.0}, {"step": 2, "e_loss": 1.0, "d_real": 0.5}],
            {"Losses": ["e_loss"], "Discriminator outputs": ["d_real"]},
        ),
        ([{"step": 1, "reconstruction_loss": None}], {"Losses": ["reconstruction_loss"]}),
        ([{"step": 1}], {"Losses": []}),
    ],
)
def test_curves_of_any_algorithm(metrics, panels, monkeypatch):
    found = {}
    for axes in figure_of(monkeypatch, plots.curves, metrics, "title").axes:
        found[axes.get_ylabel()] = [line.get_label() for line in axes.lines]
    assert found == panels


def test_panels():
    lines = [line(1, d_grad_norm=2.0), line(4, fid=None, zebra=1.0, g_grad_norm=3.0)]
    found = {panel.title: [x.name for x in panel.lines] for panel in plots.panels(lines)}
    assert list(found.items())[1:] == [
        ("Discriminator outputs", ["d_fake", "d_real"]),
        ("Gradient norms", ["d_grad_norm", "g_grad_norm"]),
        ("FID (lower is better)", ["fid"]),
        ("zebra", ["zebra"]),
    ]
    fid = plots.panels(lines)[3].lines[0]
    assert (fid.x.tolist(), np.isnan(fid.y).tolist()) == ([4], [True])
    with pytest.raises(TypeError):
        plots.panels([{"step": 1, "d_loss": {}}])


def test_run_title():
    for name, title in (("mnist", "mnist, non_saturating"), ("aae_mnist", "mnist, aae")):
        assert plots.run_title(config.load(name)) == title


def test_draw_replaces_figures(tmp_path, tiny):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "d_loss": 1.0}\n')
    (tmp_path / "samples").mkdir()
    for i, step in enumerate((0, 9_999_999, 10_000_000)):
        image = Image.new("L", (8, 8), 80 * i)
        (tmp_path / f"samples/step_{step:07}.png").write_bytes(png(image))
    (tmp_path / "samples/step_mine.png").touch()
    for _ in range(2):
        plots.draw(tmp_path, tiny)
        frames = open_image(tmp_path / "samples.gif")
        assert frames.n_frames == 3
        frames.seek(2)
        assert frames.convert("L").getpixel((0, 0)) == 160  # in the order of the steps
        assert open_image(tmp_path / "curves.png").size[0] > 500
        for name in ("samples.gif", "curves.png"):
            (tmp_path / name).write_bytes(b"")
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        plots.draw(tmp_path, tiny)
