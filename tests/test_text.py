"""Tests of GANs conditioned on text: draws, objectives, networks, training and sampling."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax import (
    algorithms,
    artifact,
    config,
    draws,
    evaluate,
    export,
    grid,
    main,
    objectives,
    reproduce,
    sample,
    train,
    workdir,
)
from gan_jax.algorithms import gan
from gan_jax.draws import Batch, CaptionEmbeddings, Stream
from gan_jax.evaluation import efficientnet, registry, scoring, text_encoder
from gan_jax.evaluation.metrics import conditional
from tests.conftest import (
    assert_one_line_error,
    call,
    make_hparams,
    sha,
    tiny_config,
    train_digests,
)
from tests.networks.conftest import apply, randomised

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
RNG = np.random.default_rng(0)
DCGAN = {
    "generator.name": "dcgan",
    "generator.widths": (4, 3),
    "discriminator.name": "dcgan",
    "discriminator.widths": (3, 4),
}


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """A folder of images of three colours, with captions by class and an encoder of them."""
    folder = tmp_path_factory.mktemp("flowers")
    rows = ["class\tname\tcaption1\tcaption2"]
    for colour, rgb in COLOURS.items():
        (folder / "images" / colour).mkdir(parents=True)
        for i in range(8):
            pixels = np.clip(rgb + RNG.normal(0, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "images" / colour / f"{i}.png")
        rows += [f"{colour}\t-\ta {colour} flower {i}\t{colour} petals" for i in range(4)]
    (folder / "captions.tsv").write_text("\n".join(rows))
    c = text_config(folder, {"condition.encoder": "flowers-v1"})
    dataset = train.load_data(c)
    features = np.zeros((24, efficientnet.FEATURES), np.float32)
    features[np.arange(24), dataset.labels] = 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoder, "_STEPS", 40)
        patch.setattr(text_encoder, "_MIN_COUNT", 1)
        encoder = text_encoder.train(features, dataset.captions)
    (folder / "encoder.npz").write_bytes(text_encoder._pack(encoder))
    return folder


def text_config(folder, changes=None):
    fixed = {
        "dataset": f"folder:{folder / 'images'}",
        "test_split": "train",
        "batch_size": 6,
        "condition.on": "text",
        "condition.captions": str(folder / "captions.tsv"),
        "condition.encoder": str(folder / "encoder.npz"),
        "condition.mismatch": 0.5,
        "condition.interpolation": 1.0,
    }
    return config.replace(tiny_config(), fixed | (changes or {}))


@pytest.fixture(scope="module", autouse=True)
def _colours_for_features():
    """Replaces EfficientNet by each image's mean colour, which the encoder was trained on."""

    def features(images):
        means = images.reshape(len(images), -1, 3).mean(axis=1)
        order = np.argsort(means, axis=1)[:, ::-1]  # strongest first
        found = np.zeros((len(images), efficientnet.FEATURES), np.float32)
        found[np.arange(len(images)), np.array([2, 1, 0])[order[:, 0]]] = 5
        return found

    with pytest.MonkeyPatch.context() as patch:
        extractor = registry.Extractor("efficientnet", "", features)
        patch.setattr(scoring, "load_extractor", lambda weights=None: extractor)
        yield


@pytest.fixture(scope="module")
def trained(flowers, tmp_path_factory):
    """A trained run that left the class blue out."""
    directory = tmp_path_factory.mktemp("run") / "run"
    changes = {"condition.held_out": ("blue",), "eval_every": 6, "eval_num": 12}
    changes |= {"condition.interpolation": 0.0}
    c = text_config(flowers, changes | {"eval_metrics": ("r_precision",)})
    assert train.run(c, directory, "text") == 0
    return directory


# Draws and objectives


def test_minibatches_have_captions_of_their_groups():
    vectors = jnp.arange(10.0)[:, None]
    captions = CaptionEmbeddings(vectors, jnp.array([0, 1, 4, 10]))
    groups = jnp.array([0, 1, 2] * 20)
    dataset = Batch(jnp.arange(60.0)[:, None], groups, captions)
    root = jax.random.key_data(jax.random.key(0))
    drawn = {i: set() for i in range(3)}
    minibatch = jax.jit(draws.minibatch, static_argnames=("batch_size", "stream"))
    for number in range(20):
        batch = minibatch(batch_size=6, root=root, data=dataset, number=number)
        for x, y in zip(batch.x[:, 0], batch.y[:, 0], strict=True):
            drawn[int(groups[int(x)])].add(int(y))
    other = minibatch(batch_size=6, root=root, data=dataset, number=number, stream=Stream.BATCH_G)
    assert not np.array_equal(batch.y, other.y)
    assert drawn == {0: {0}, 1: {1, 2, 3}, 2: {4, 5, 6, 7, 8, 9}}


def _critic(batch, key):
    """Inner product of example and condition."""
    return jnp.sum(batch.x * batch.y, axis=-1), {}


def batches(spec):
    x, fake, y = (jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32) for _ in range(3))
    return Batch(x, y), Batch(fake, y)


def test_matching_aware_loss(flowers):
    """Equation of Reed et al. 2016, algorithm 1, line 8."""
    spec = config.spec(text_config(flowers), (8, 8, 3))
    hparams = make_hparams({"condition.mismatch": 0.25})
    real, fake = batches(spec)
    d_loss = jax.jit(objectives.d_loss, static_argnums=(0, 3))
    found, _ = d_loss(spec, hparams, 0, _critic, real, fake, jax.random.key(0))
    right = np.sum(real.x * real.y, axis=-1)
    wrong = np.sum(real.x * np.roll(real.y, 1, axis=0), axis=-1)
    generated = np.sum(fake.x * fake.y, axis=-1)
    softplus = lambda x: np.mean(np.log1p(np.exp(x)))  # noqa: E731
    expected = softplus(-right) + 0.75 * softplus(generated) + 0.25 * softplus(wrong)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_interpolated_embeddings_in_g_loss(flowers):
    spec = config.spec(text_config(flowers), (8, 8, 3))
    hparams = {w: make_hparams({"condition.interpolation": w}) for w in (0.0, 0.5)}
    dataset = Batch(jnp.asarray(RNG.random((6, 8, 8, 3)), jnp.float32))
    state = algorithms.init(spec, hparams[0.0], 0, dataset)
    y = jnp.asarray(RNG.normal(size=(6, spec.text)), jnp.float32)
    z, key = draws.noise(spec, jax.random.key(1), 6), jax.random.key(2)

    @jax.jit
    def loss(hparams, y):
        real = Batch(dataset.x, y)
        return gan.g_step(spec, hparams, state, real, z, key)[1]["g_loss"]

    between = (y + jnp.roll(y, 1, axis=0)) / 2
    expected = loss(hparams[0.0], y) + 0.5 * loss(hparams[0.0], between)
    np.testing.assert_allclose(loss(hparams[0.5], y), expected, rtol=1e-5)


# Networks


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("mlp", {"widths": (5,)}),
        ("dcgan", {"widths": (4, 3)}),
        ("resnet", {"widths": (4,)}),
        ("r3gan", {"widths": (4,), "blocks": 1, "group_size": 4}),
    ],
)
def test_embeddings_are_projected_and_joined(flowers, kind, fields):
    for player in ("generator", "discriminator"):
        changes = {f"{player}.{name}": x for name, x in fields.items()} | {f"{player}.name": kind}
        spec = config.spec(text_config(flowers, changes), (8, 8, 3))
        network = getattr(spec, player)
        shape = (2, spec.z_dim) if player == "generator" else (2, 8, 8, 3)
        x, y = (RNG.normal(size=s).astype(np.float32) for s in (shape, (2, spec.text)))
        variables, *_ = randomised(network, *x.shape[1:], y=y[:1])
        one, other = (apply(network, variables, x, y=s * y)[0] for s in (1, -1))
        assert np.abs(one - other).max() > 1e-5, player
        assert variables.params["text"]["kernel"].shape == (spec.text, 128)


def test_dcgan_joins_embeddings_as_reed(flowers):
    spec = config.spec(text_config(flowers, DCGAN), (8, 8, 3))
    players = algorithms.shapes(spec, make_hparams()).players
    d, g = players["d"].params, players["g"].params
    assert g["Dense_0"]["kernel"].shape == (spec.z_dim + 128, 2 * 2 * 4)
    assert [d[f"Conv_{i}"]["kernel"].shape for i in range(3)] == [
        (4, 4, 3, 3),
        (4, 4, 3, 4),
        (1, 1, 4 + 128, 4),
    ]
    assert d["Dense_0"]["kernel"].shape == (2 * 2 * 4, 1)


# Runs


@pytest.mark.slow
def test_bits_on_device_on_host_and_resumed(flowers):
    c = text_config(flowers, {"pack": 2, "loss": "relativistic_pairing"})
    dataset = train.load_data(c)
    expected = train_digests(c, dataset, (3, 5), (8,))
    c = config.replace(c, {"data_placement": "host"})
    assert train_digests(c, dataset, (3, 5), (3, 8)) == expected


def test_reproducible(trained, capsys):
    assert reproduce.reproduce(trained) == 0
    assert "identical" in capsys.readouterr().out


def draw(directory, tmp_path, monkeypatch, *arguments):
    out = tmp_path / "out.npz"
    out.unlink(missing_ok=True)
    arguments = [f"--workdir={directory}", f"--out={out}", "--num=4", *arguments]
    assert call(sample, monkeypatch, *arguments) == 0
    with np.load(out) as arrays:
        return arrays["images"]


def test_samples_of_a_text(trained, flowers, tmp_path, monkeypatch):
    red = draw(trained, tmp_path, monkeypatch, "--text=a red flower")
    spec, state = workdir.load(trained)
    encoder = text_encoder.load(str(flowers / "encoder.npz"))
    y = np.repeat(text_encoder.encode(encoder, ["a red flower"]), 4, axis=0)
    expected = algorithms.generate(spec, state, draws.noise(spec, jax.random.key(0), 4), y)
    np.testing.assert_array_equal(red, np.round(expected * 255).astype(np.uint8))
    with_unknown = draw(trained, tmp_path, monkeypatch, "--text=A RED zzz flower!")
    np.testing.assert_array_equal(red, with_unknown)
    walk = draw(trained, tmp_path, monkeypatch, "--text=a red flower", "--interpolate")
    assert not np.array_equal(walk, red)


def test_export_encodes_texts(trained, tmp_path):
    export.export(trained, tmp_path / "artifact")
    spec, state = workdir.load(trained)
    text = "A RED zzz flower! " * 40
    encoder = workdir.recorded_encoder(trained)
    numbers = artifact.tokens(tmp_path / "artifact", text)
    np.testing.assert_array_equal(numbers, text_encoder.tokens(encoder.vocabulary, [text]))
    y = np.repeat(text_encoder.encode(encoder, [text]), 4, axis=0)
    expected = algorithms.generate(spec, state, draws.noise(spec, jax.random.key(0), 4), y)
    found = artifact.draw(tmp_path / "artifact", 4, text=text)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # vectors are not bitwise identical
    with pytest.raises(artifact.ArtifactError, match="this sampler needs --text"):
        artifact.draw(tmp_path / "artifact", 4)
    with (tmp_path / "artifact/vocabulary.txt").open("a") as file:
        file.write("zzz\n")
    with pytest.raises(artifact.ArtifactError, match=r"vocabulary\.txt: its sha256 does not match"):
        artifact.draw(tmp_path / "artifact", 4, text="zzz")


def test_grid_has_a_row_per_caption(trained):
    c = workdir.read_config(trained)
    dataset, (spec, state) = train.load_data(c), workdir.load(trained)
    images = grid.samples(c, spec, state, dataset)  # 2 rows of 3
    z = draws.noise(spec, draws.stream_key(state.key, Stream.NOISE_SAMPLE), 6)
    encoder = text_encoder.load(c.condition.encoder)
    texts = ["a green flower 0", "a red flower 0"]  # classes are in the order of their names
    y = text_encoder.encode(encoder, texts).repeat(3, axis=0)
    np.testing.assert_array_equal(images, algorithms.generate(spec, state, z, y))


def test_scores(trained, monkeypatch, capsys):
    assert "r_precision" in (trained / "metrics.jsonl").read_text()
    arguments = [f"--workdir={trained}", "--num=60", "--metrics=r_precision"]
    assert call(evaluate, monkeypatch, *arguments) == 0
    entry = json.loads((trained / "evaluation.json").read_text())["metrics"]["r_precision"]
    assert entry["chance"] == 0.01
    assert {"value", "low", "high", "shuffled_captions"} <= entry.keys()
    assert entry["baselines"]["k-means"] is None
    assert entry["baselines"]["real data"]["samples"] == 16
    real = entry["baselines"]["real data"]["value"]
    assert real > 0.9  # all captions of a class fit, and there are two classes
    arguments[-1] = "--metrics=parzen"
    assert call(evaluate, monkeypatch, *arguments, "--held_out") == 0
    held_out = json.loads((trained / "evaluation_held_out.json").read_text())
    assert held_out["test_examples"] == 8
    arguments[-1] = "--metrics=r_precision"
    capsys.readouterr()
    assert call(evaluate, monkeypatch, *arguments, "--held_out") == 2
    assert_one_line_error(capsys.readouterr().err, "captions of two classes")


def test_r_precision():
    first = np.array([0, 3, 4, 9])
    requested = np.array([0, 0, 2, 2])
    others = conditional.mismatched(first, np.array([0, 2]), requested, seed=0)
    assert others.shape == (4, 99)
    assert set(others[:2].ravel().tolist()) == {4, 5, 6, 7, 8}
    assert set(others[2:].ravel().tolist()) == {0, 1, 2}
    vectors = np.eye(100)
    wrong = np.stack([np.delete(vectors, i, axis=0) for i in range(100)])
    assert conditional.r_precision(vectors, vectors, wrong).value == 1
    assert conditional.r_precision(vectors, np.roll(vectors, 1, axis=0), wrong).value == 0
    noise = RNG.normal(size=(2000, 8))
    candidates = RNG.normal(size=(2000, 100, 8))
    score = conditional.r_precision(noise, candidates[:, 0], candidates[:, 1:])
    assert score.low <= 0.01 <= score.high


def test_moved_files_and_other_captions(trained, flowers, tmp_path, monkeypatch, capsys):
    shutil.copytree(flowers, tmp_path / "moved")
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "config.py").write_text(
        "import json, pathlib, ml_collections\n"
        f"path = pathlib.Path({str(trained / 'config.json')!r})\n"
        "def get_config(): return ml_collections.ConfigDict(json.loads(path.read_text()))\n"
    )
    arguments = [
        f"--config={tmp_path / 'config.py'}",
        f"--workdir={tmp_path / 'run'}",
        f"--config.dataset=folder:{tmp_path / 'moved/images'}",
        f"--config.condition.captions={tmp_path / 'moved/captions.tsv'}",
        f"--config.condition.encoder={tmp_path / 'moved/encoder.npz'}",
        "--config.num_steps=14",
    ]
    assert call(main, monkeypatch, *arguments) == 0
    assert sha(tmp_path / "run") != sha(trained)
    with (tmp_path / "moved/captions.tsv").open("a") as file:
        file.write("\nred\t-\tcrimson\tscarlet\n")
    capsys.readouterr()
    assert call(main, monkeypatch, *arguments[:-1], "--config.num_steps=16") == 2
    assert "other data" in capsys.readouterr().err


def test_unsuitable_requests(finished, trained, flowers, tmp_path, monkeypatch, capsys):
    out = f"--out={tmp_path / 'x.png'}"
    for arguments, words in (
        ([f"--workdir={trained}"], "give a caption by --text"),
        ([f"--workdir={trained}", "--text="], "give a caption by --text"),
        ([f"--workdir={trained}", "--label=1"], "is not conditional"),
        ([f"--workdir={finished}", "--text=a"], "is not conditioned on text"),
    ):
        assert call(sample, monkeypatch, out, *arguments) == 2
        assert_one_line_error(capsys.readouterr().err, words)
    assert call(evaluate, monkeypatch, f"--workdir={finished}", "--held_out") == 2
    assert_one_line_error(capsys.readouterr().err, "no classes in config.condition.held_out")
    shutil.copytree(trained, tmp_path / "run")
    record = workdir.read_json(trained / "run.json")
    record["text_encoder"]["sha256"] = "0" * 64
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    assert call(sample, monkeypatch, out, f"--workdir={tmp_path / 'run'}", "--text=a") == 2
    assert_one_line_error(capsys.readouterr().err, "the text encoder differs")
