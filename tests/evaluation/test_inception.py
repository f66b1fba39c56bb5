"""Tests of gan_jax.evaluation.inception: against NumPy with random weights, and the command."""

import hashlib
import json
import pathlib

import jax
import numpy as np
import pytest

from gan_jax import evaluate
from gan_jax.evaluation import baselines, inception, registry, scoring
from tests.conftest import assert_one_line_error, call, untrained
from tests.evaluation.conftest import (
    spots,
    spots_config,
    torch_file,
    untrained_reference,
    write,
)

# The network, in float64


def windows(x, size, stride, pad, fill):
    """(n, out height, out width, channels, *size) of images (n, height, width, channels)."""
    x = np.pad(x, ((0, 0), *((p, p) for p in pad), (0, 0)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(x, size, (1, 2))[:, ::stride, ::stride]


def average(x):
    return np.nanmean(windows(x, (3, 3), 1, (1, 1), np.nan), (-2, -1))


def largest(x, stride=2):
    return windows(x, (3, 3), stride, (stride % 2,) * 2, -np.inf).max((-2, -1))


class Net:
    """The network of pytorch-fid; draws its weights as it goes."""

    def __init__(self):
        self.rng, self.weights = np.random.default_rng(0), {}

    def unit(self, name, x, out, size=(1, 1), stride=1, pad=(0, 0)):
        normal, uniform = self.rng.normal, self.rng.uniform
        fan = x.shape[-1] * size[0] * size[1]
        kernel = np.float32(normal(0, (2 / fan) ** 0.5, (out, x.shape[-1], *size)))
        scale, variance = np.float32(uniform(0.5, 1.5, (2, out)))
        bias, mean = np.float32(normal(0, 0.3, (2, out)))
        norm = {"weight": scale, "bias": bias, "running_mean": mean, "running_var": variance}
        self.weights[f"{name}.conv.weight"] = kernel
        self.weights |= {f"{name}.bn.{part}": value for part, value in norm.items()}
        y = np.tensordot(windows(x, size, stride, pad, 0), kernel, ([3, 4, 5], [1, 2, 3]))
        return np.maximum((y - mean) / np.sqrt(variance + 1e-3) * scale + bias, 0)

    def chain(self, name, x, *units):
        for i, unit in enumerate(units, 1):
            x = self.unit(f"{name}_{i}", x, *unit)
        return x

    def __call__(self, x):
        square, wide, high = ((3, 3), 1, (1, 1)), ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
        half = ((3, 3), 2)
        x = self.unit("Conv2d_1a_3x3", x, 32, *half)
        x = self.unit("Conv2d_2a_3x3", x, 32, (3, 3))
        x = largest(self.unit("Conv2d_2b_3x3", x, 64, *square))
        x = self.unit("Conv2d_3b_1x1", x, 80)
        x = largest(self.unit("Conv2d_4a_3x3", x, 192, (3, 3)))
        for block, pool in (("5b", 32), ("5c", 64), ("5d", 64)):
            b = f"Mixed_{block}.branch"
            one = self.unit(f"{b}1x1", x, 64)
            five = self.chain(f"{b}5x5", x, (48,), (64, (5, 5), 1, (2, 2)))
            double = self.chain(f"{b}3x3dbl", x, (64,), (96, *square), (96, *square))
            x = np.concatenate([one, five, double, self.unit(f"{b}_pool", average(x), pool)], -1)
        b = "Mixed_6a.branch"
        double = self.chain(f"{b}3x3dbl", x, (64,), (96, *square), (96, *half))
        x = np.concatenate([self.unit(f"{b}3x3", x, 384, *half), double, largest(x)], -1)
        for block, c in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            b = f"Mixed_{block}.branch"
            one = self.unit(f"{b}1x1", x, 192)
            seven = self.chain(f"{b}7x7", x, (c,), (c, *wide), (192, *high))
            units = (c,), (c, *high), (c, *wide), (c, *high), (192, *wide)
            double = self.chain(f"{b}7x7dbl", x, *units)
            x = np.concatenate([one, seven, double, self.unit(f"{b}_pool", average(x), 192)], -1)
        b = "Mixed_7a.branch"
        three = self.chain(f"{b}3x3", x, (192,), (320, *half))
        seven = self.chain(f"{b}7x7x3", x, (192,), (192, *wide), (192, *high), (192, *half))
        x = np.concatenate([three, seven, largest(x)], -1)
        for block in ("7b", "7c"):
            b = f"Mixed_{block}.branch"
            one, y = self.unit(f"{b}1x1", x, 320), self.unit(f"{b}3x3_1", x, 384)
            z = self.chain(f"{b}3x3dbl", x, (448,), (384, *square))
            pairs = [
                self.unit(f"{b}{name}{side}", u, 384, *shape)
                for name, u in (("3x3_2", y), ("3x3dbl_3", z))
                for side, shape in (("a", ((1, 3), 1, (0, 1))), ("b", ((3, 1), 1, (1, 0))))
            ]
            pooled = average(x) if block == "7b" else largest(x, 1)
            x = np.concatenate([one, *pairs, self.unit(f"{b}_pool", pooled, 192)], -1)
        return x.mean((1, 2))


@pytest.mark.slow
def test_features_match_pytorch_fid():
    """On 139x139 pixels, which leave 3x3 to the last blocks."""
    net, images = Net(), np.random.default_rng(1).uniform(-1, 1, (1, 139, 139, 3))
    expected = net(images)
    found = np.asarray(inception.apply(net.weights, np.float32(images)))
    assert len(net.weights) == 94 * 5
    assert found.shape == (1, inception.FEATURES)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("size", [(2, 5), (400, 299)])  # larger and smaller; no antialiasing
def test_resizing_matches_pytorch(size):
    images = np.random.default_rng(0).uniform(0, 1, (2, *size, 3))
    expected = images
    for axis, n in ((1, size[0]), (2, size[1])):  # align_corners=False
        at = np.clip((np.arange(299) + 0.5) * n / 299 - 0.5, 0, n - 1)
        low, part = (
            np.floor(at).astype(int),
            (at % 1).reshape([-1 if axis == a else 1 for a in range(4)]),
        )
        first, second = (np.take(expected, i, axis) for i in (low, np.minimum(low + 1, n - 1)))
        expected = first * (1 - part) + second * part
    found = inception.prepare(np.float32(images))
    np.testing.assert_allclose(found, 2 * expected - 1, atol=1e-4)


# The command

NAMES = [name for name in registry.METRICS if name.endswith("_inception")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on grey images without labels, beside weights for `four_pixels`."""
    home = tmp_path_factory.mktemp("inception")
    untrained(spots_config(write(home / "x.npz", spots(500), labelled=False)), home / "run")
    weights = np.random.default_rng(0).normal(size=(12, 6))
    tensors = {"w": np.float32(weights), "num_batches_tracked": np.array(0)}
    (home / "w.pth").write_bytes(torch_file(tensors))
    (home / "cut.pth").write_bytes((home / "w.pth").read_bytes()[:-4])
    return home


@pytest.fixture
def four_pixels(run, monkeypatch):
    """Stands for the network: 6 features of 4 pixels."""
    sha256 = hashlib.sha256((run / "w.pth").read_bytes()).hexdigest()
    monkeypatch.setattr(inception, "SHA256", sha256)
    apply = jax.jit(lambda weights, x: x[:, 75::150, 75::150].reshape(len(x), -1) @ weights["w"])
    monkeypatch.setattr(inception, "apply", apply)
    monkeypatch.chdir(run)


def test_scores_state_sample_sizes_and_hash(run, cache, four_pixels, monkeypatch, capsys):
    arguments = ["--workdir=run", "--num=60", "--features=inception", "--weights=w.pth"]
    assert call(evaluate, monkeypatch, *arguments) == 0
    out = capsys.readouterr().out
    found = json.loads((run / "run/evaluation.json").read_text())
    assert found["features"] == {"name": "inception", "sha256": inception.SHA256}
    assert [name for name in found["metrics"] if "_" in name] == NAMES
    for name in NAMES:
        entry = found["metrics"][name]
        assert entry["samples_of_data"] == entry["baselines"]["k-means"]["samples_of_data"] == 100
        assert f"\n{registry.METRICS[name].label}, n = 60, 100  " in out
    fid = found["metrics"]["fid_inception"]
    assert fid["baselines"]["real data"]["value"] < fid["value"]
    assert "fid_efficientnet" in found["unavailable"]


def test_grey_images_are_replicated(four_pixels):
    weights, images = inception.load(pathlib.Path("w.pth")), spots(40).images  # two blocks
    found = inception.features(weights, images)
    assert found.shape == (40, 6)
    alone = np.concatenate([inception.features(weights, x[None].repeat(3, -1)) for x in images])
    np.testing.assert_allclose(found, alone, atol=1e-5)


def test_baselines_depend_on_weights(cache):
    reference = untrained_reference(spots(60))
    values = []
    for sha256, scale in (("a", 1), ("b", 2), ("a", 3)):  # the last is cached

        def flat(images, scale=scale):
            return scale / 255 * images.reshape(len(images), -1)

        extractor = registry.Extractor("inception", sha256, flat)
        reference = reference._replace(imagenet_features=flat(reference.test), extractor=extractor)
        found = baselines.baselines(reference, 40, ["kid_inception"])
        values.append(found["Gaussians"]["kid_inception"]["value"])
    assert values[0] == values[2] != values[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--features=vgg", "invalid choice: 'vgg'"),
        ("--features=inception", "--features=inception and --weights=FILE go together"),
        ("--weights=w.pth", "--features=inception and --weights=FILE go together"),
        ("--features=inception --weights=gone.pth", "gone.pth: No such file"),
        ("--features=inception --weights=run", "run: Is a directory"),
        ("--features=inception --weights=cut.pth", "cut.pth, which should be pytorch-fid's pt_i"),
        ("--features=inception --weights=x.npz", "has sha256 "),
        ("--metrics=fid_inception", "it needs --features=inception --weights=FILE"),
        (
            "--features=inception --weights=w.pth --metrics=fid_efficientnet",
            "fid_efficientnet cannot be measured: EfficientNet's features are of colour",
        ),
    ],
)
def test_one_line_errors(arguments, words, run, four_pixels, monkeypatch, capfd):
    assert call(evaluate, monkeypatch, "--workdir=run", "--num=60", *arguments.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert_one_line_error(err, words)


def test_unavailable_features():
    colour = spots(30)._replace(images=np.zeros((30, 8, 8, 3), np.uint8))
    points = spots(30)._replace(images=np.zeros((30, 2), np.float32))
    extractor, c = registry.Extractor("inception", "", np.asarray), spots_config("npz:x.npz")
    unavailable = scoring.unavailable_metrics
    assert not unavailable(c, colour, colour, 60, "test", extractor).keys() & set(NAMES)
    of_points = unavailable(c, points, points, 60, "test", extractor)
    assert {of_points[name] for name in NAMES} == {inception.unavailable(0)}
    assert (
        "--features=efficientnet"
        in unavailable(c, colour, colour, 60, "test", extractor)["kid_efficientnet"]
    )
