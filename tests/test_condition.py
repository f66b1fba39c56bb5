"""Tests of conditional GANs: networks, objectives, training, sampling and refusals."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import (
    algorithms,
    config,
    data,
    draws,
    evaluate,
    grid,
    main,
    objectives,
    population,
    sample,
    workdir,
)
from gan_jax.draws import Batch
from gan_jax.errors import InputError
from gan_jax.evaluation import registry, scoring
from gan_jax.evaluation.baselines import baselines
from gan_jax.networks import layers
from tests.conftest import assert_one_line_error, call, make_hparams, tiny_config, untrained
from tests.evaluation.conftest import shorten
from tests.networks.conftest import apply, randomised

RNG = np.random.default_rng(0)
LABELS = {"condition.on": "label"}
CONVOLUTIONAL = {
    "dcgan": {"widths": (4,)},
    "resnet": {"widths": (4,)},
    "r3gan": {"widths": (4,), "blocks": 1, "group_size": 4},
}
HOW = {
    "generator": ("concat", "batch_norm"),
    "discriminator": ("concat", "projection", "classifier"),
}
KINDS = [
    (player, kind, how)
    for player in HOW
    for kind in ("mlp", *CONVOLUTIONAL)
    for how in HOW[player]
    if (kind, how) != ("r3gan", "batch_norm")
]


def conditional(changes=None):
    """A config that conditions both players, each in a way of its own."""
    return config.replace(tiny_config(), LABELS | (changes or {}))


def spec_of(player: str, kind: str, how: str):
    changes = {f"condition.{player}": how, f"{player}.name": kind}
    changes |= {f"{player}.{name}": x for name, x in CONVOLUTIONAL.get(kind, {}).items()}
    if kind == "mlp":
        changes |= {f"{player}.widths": (5,)}
        changes |= {"generator.batch_norm": True} if how == "batch_norm" else {}
    changes |= {"condition.weight": 1.0} if how == "classifier" else {}
    return config.spec(config.replace({}, LABELS | changes | {"z_dim": 3}), (8, 8, 1), 10)


# Layers


def test_joined():
    y = np.eye(2)
    np.testing.assert_array_equal(layers.joined(jnp.ones((2, 3)), y)[:, 3:], y)
    maps = layers.joined(jnp.ones((2, 4, 5, 3)), y)
    assert maps.shape == (2, 4, 5, 5)
    np.testing.assert_array_equal(maps[..., 3:], np.broadcast_to(y[:, None, None], (2, 4, 5, 2)))


def test_conditional_batch_norm():
    x, y = RNG.normal(size=(6, 2, 2, 3)), np.eye(6)[:, :2]
    layer = layers.ConditionalBatchNorm(False, 0.9)
    variables = layer.init(jax.random.key(0), x, y)
    normal = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    near = functools.partial(np.testing.assert_allclose, atol=1e-5)
    near(layer.apply(variables, x, y, mutable=["batch_stats"])[0], normal)
    params = jax.tree.map(lambda p: RNG.normal(size=p.shape), variables["params"])
    found, _ = layer.apply(variables | {"params": params}, x, y, mutable=["batch_stats"])
    scale, shift = (y @ params[name]["kernel"] for name in ("scale", "shift"))
    near(found, normal * (1 + scale)[:, None, None] + shift[:, None, None])


@pytest.mark.parametrize("how", HOW["discriminator"])
def test_discriminator_output(how):
    features, y = RNG.normal(size=(4, 3)), np.eye(4)[:, :2]
    kernels = []

    def dense(x, width):
        kernels.append(RNG.normal(size=(x.shape[-1], width)))
        return x @ kernels[-1]

    found = layers.discriminator_output(jnp.asarray(features), jnp.asarray(y), how, dense)
    if how == "concat":
        expected = np.concatenate([features, y], axis=1) @ kernels[0][:, 0]
    elif how == "projection":
        expected = features @ kernels[0][:, 0] + np.sum(features * (y @ kernels[1]), axis=1)
    else:
        expected = features @ np.concatenate(kernels, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Networks


@pytest.mark.parametrize(("player", "kind", "how"), KINDS)
def test_outputs_depend_on_labels(player, kind, how):
    spec = spec_of(player, kind, how)
    network = getattr(spec, player)
    x = RNG.normal(size=(4, 3) if player == "generator" else (4, 8, 8, 1)).astype(np.float32)
    one, other = (np.eye(10, dtype=np.float32)[[c] * 4] for c in (2, 7))
    shape = (8, 8, 1) if player == "generator" else ()
    variables, *_ = randomised(network, *x.shape[1:], y=one[:1])
    a, b = (apply(network, variables, x, y=y)[0] for y in (one, other))
    assert a.shape == (4, *shape, *([11] if how == "classifier" else []))
    # Labels do not enter a classifier.
    assert np.allclose(a, b, atol=1e-6) == (how == "classifier")


# Objectives


def test_auxiliary_classifier():
    outputs = {"real": RNG.normal(size=(4, 4)), "fake": RNG.normal(size=(4, 4))}
    y = np.array([0, 2, 1, 1])
    real, fake = (Batch(jnp.full((4, 1), x), jnp.asarray(y)) for x in (1.0, 0.0))
    both = jnp.asarray([outputs["fake"], outputs["real"]], jnp.float32)

    def critic(batch, key):
        return both[jnp.int32(batch.x[0, 0])], {}

    spec = spec_of("discriminator", "mlp", "classifier")
    hparams = make_hparams(
        LABELS | {"condition.discriminator": "classifier", "condition.weight": 3}
    )
    minibatches = critic, real, fake, jax.random.key(0)

    def softplus(x):
        return np.log1p(np.exp(x))

    def cross_entropy(output):
        classes = output[:, 1:]
        return np.mean(np.log(np.exp(classes).sum(1)) - classes[np.arange(4), y])

    d_fake, errors = outputs["fake"][:, 0], {n: cross_entropy(x) for n, x in outputs.items()}
    d = np.mean(softplus(-outputs["real"][:, 0])) + np.mean(softplus(d_fake))
    d_loss, g_loss = (
        jax.jit(loss, static_argnames=("spec", "critic"))
        for loss in (objectives.d_loss, objectives.g_loss)
    )
    loss, terms = d_loss(spec, hparams, 0, *minibatches)
    np.testing.assert_allclose(loss, d + 3 * (errors["real"] + errors["fake"]), rtol=1e-5)
    np.testing.assert_allclose(terms.real_logits, outputs["real"][:, 0], rtol=1e-6)
    expected = np.mean(softplus(-d_fake)) + 3 * errors["fake"]
    np.testing.assert_allclose(g_loss(spec, hparams, *minibatches), expected, rtol=1e-5)


def test_penalties_of_given_labels():
    y = jnp.array([0, 1])
    real, fake = Batch(jnp.float32([[2], [3]]), y), Batch(jnp.float32([[5], [7]]), y)

    def critic(batch, key):  # gradients 1 and 2
        return batch.x[:, 0] * (1 + batch.y), {}

    spec = spec_of("discriminator", "mlp", "projection")._replace(penalties=(("r1", 1), ("r2", 1)))
    hparams = make_hparams({"penalties.r1.weight": 1.0, "penalties.r2.weight": 10.0})
    key = jax.random.key(0)
    _, terms = objectives.d_loss(spec, hparams, jnp.int32(0), critic, real, fake, key)
    np.testing.assert_allclose(terms.penalty, 11 * (1 + 4) / 2 / 2, rtol=1e-6)


# Training

PAIRS = data.from_arrays(
    (RNG.normal(size=(400, 2)) / 10 + np.repeat([[-2, 0], [2, 1]], 200, axis=0)).astype(np.float32),
    np.repeat(np.int32([0, 1]), 200),
)
WAYS = [
    {"condition.discriminator": "projection", "pack": 2, "ema": 0.9},
    {"condition.discriminator": "classifier", "condition.weight": 1.0, "update": "simultaneous"}
    | {"condition.generator": "batch_norm", "generator.batch_norm": True},
]


@pytest.mark.slow
@pytest.mark.parametrize("changes", WAYS, ids=str)
def test_each_class_is_learned(changes):
    c = config.replace(
        config.load("ring"),
        LABELS
        | {"num_steps": 600, "batch_size": 64, "generator.widths": (32,), "z_dim": 4}
        | {"discriminator.widths": (32,), "instance_noise.std": 0.3}
        | changes,
    )
    c = config.replace(c, {f"{p}_optimizer.learning_rate": 3e-3 for p in "dg"})
    members = population.create([c], PAIRS)
    states = population.init(members)
    states, _ = population.train_chunk(members, states, 0, c.num_steps, np.ones(1, bool))
    z = draws.noise(members.spec, jax.random.key(0), 200)
    state = population.member(states, 0)
    for label, mean in ((0, [-2, 0]), (1, [2, 1])):
        x = algorithms.generate(members.spec, state, z, np.full(200, label))
        assert np.linalg.norm(x.mean(axis=0) - mean) < 0.8


# Commands


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    changes = {"condition.discriminator": "projection", "eval_every": 6, "eval_num": 30}
    return untrained(conditional(changes | {"eval_metrics": ("parzen",)}), directory)


def draw(trained, tmp_path, monkeypatch, *arguments) -> dict:
    out = tmp_path / f"{len(list(tmp_path.iterdir()))}.npz"
    assert call(sample, monkeypatch, f"--workdir={trained}", f"--out={out}", *arguments) == 0
    with np.load(out) as arrays:
        return dict(arrays)


def test_samples_by_label(trained, tmp_path, monkeypatch):
    everything = draw(trained, tmp_path, monkeypatch, "--num=16")
    assert everything["labels"].tolist() == [row for row in range(4) for _ in range(4)]
    threes = draw(trained, tmp_path, monkeypatch, "--num=16", "--label=3")
    assert threes["labels"].tolist() == [3] * 16
    np.testing.assert_array_equal(threes["images"][12:], everything["images"][12:])
    assert not np.array_equal(threes["images"][:12], everything["images"][:12])
    walk = draw(trained, tmp_path, monkeypatch, "--num=16", "--interpolate")
    assert "labels" not in walk
    spec, state = workdir.load(trained)
    z = np.repeat(draws.noise(spec, jax.random.key(0), 4), 4, axis=0)
    for column, step in ((0, 0), (3, 1)):
        ends = algorithms.generate(spec, state, z, np.arange(16) // 4 + step)
        shown = np.round(ends[column::4] * 255)
        np.testing.assert_allclose(walk["images"][column::4], shown, atol=1)


def test_grid_has_a_row_per_class(trained):
    spec, state = workdir.load(trained)
    with pytest.raises(InputError, match="need labels or text embeddings"):
        algorithms.generate(spec, state, draws.noise(spec, jax.random.key(0), 2))
    c = config.replace(conditional(), {"sample_grid": (10, 2)})
    images = grid.samples(c, spec, state, data.load("digits"))
    z = draws.noise(spec, draws.stream_key(state.key, draws.Stream.NOISE_SAMPLE), 20)
    for row in range(10):
        expected = algorithms.generate(spec, state, z, np.full(20, row))
        np.testing.assert_allclose(images[2 * row :][:2], expected[2 * row :][:2], atol=1e-6)


def test_class_names(trained, tmp_path, monkeypatch):
    record = workdir.read_json(trained / "run.json")
    assert record["dataset"]["class_names"] == list("0123456789")
    record["dataset"]["class_names"][3] = "tulip"
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "checkpoints").symlink_to(trained / "checkpoints")
    (copy / "config.json").write_bytes((trained / "config.json").read_bytes())
    (copy / "run.json").write_text(json.dumps(record))
    by_name = draw(copy, tmp_path, monkeypatch, "--num=4", "--label=tulip")
    by_number = draw(copy, tmp_path, monkeypatch, "--num=4", "--label=3")
    np.testing.assert_array_equal(by_name["images"], by_number["images"])


def test_unsuitable_labels(tmp_path, monkeypatch, capsys, finished, trained):
    images = np.zeros((20, 8, 8), np.uint8)
    for labels, words in (
        (None, "has no labels"),
        (np.arange(20) - 1, "has the label -1"),
        (np.arange(20) * 1000, "at most 10000 classes"),
    ):
        arrays = {"images": images} | ({} if labels is None else {"labels": labels})
        np.savez(tmp_path / "x.npz", **arrays)
        arguments = [f"--config.dataset=npz:{tmp_path / 'x.npz'}", f"--workdir={tmp_path / 'run'}"]
        arguments += ["--config=digits", "--config.condition.on=label", "--config.batch_size=8"]
        assert call(main, monkeypatch, *arguments) == 2
        assert_one_line_error(capsys.readouterr().err, words)
        assert not (tmp_path / "run").exists()
    for label, words in (("10", "expected a class name (0, 1, "), ("-1", "or its number, 0 to 9")):
        arguments = [f"--workdir={trained}", f"--out={tmp_path / 'y.png'}", f"--label={label}"]
        assert call(sample, monkeypatch, *arguments) == 2
        assert_one_line_error(capsys.readouterr().err, words)
    arguments[0] = f"--workdir={finished}"
    assert call(sample, monkeypatch, *arguments) == 2
    assert_one_line_error(capsys.readouterr().err, "is not conditional")


@pytest.mark.slow
def test_scores_by_label(trained, tmp_path, monkeypatch):
    """Real images score as the samples of a perfect generator, others at chance."""
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path))
    shorten(monkeypatch, 600)
    train_set = data.load("digits")
    c = conditional()
    names = ["label_accuracy", "class_fid", "class_diversity", "transfer_accuracy"]
    reference = scoring.reference(c, train_set, "test", names, 500)
    images, labels = train_set.images[:500], train_set.labels[:500]

    def score(labels):
        conditions = registry.Conditions(labels)
        return scoring.score(images, reference, names, intervals=False, conditions=conditions)

    real = score(labels)
    assert real["label_accuracy"]["value"] > 0.95
    assert real["transfer_accuracy"]["value"] > 0.9
    assert real["class_diversity"]["value"] == pytest.approx(1, abs=0.3)
    wrong = score(np.random.default_rng(0).permutation(labels))
    assert wrong["label_accuracy"]["value"] < 0.2
    assert wrong["transfer_accuracy"]["value"] < 0.3
    assert wrong["class_fid"]["value"] > 3 * real["class_fid"]["value"]
    rows = baselines(reference, 200, names)
    assert rows["real data"]["label_accuracy"]["value"] > 0.95
    assert rows["k-means"]["label_accuracy"] is None
    plain = scoring.unavailable_metrics(tiny_config(), train_set, train_set, 500)
    assert plain["label_accuracy"] == "the run is not conditional"
    few = scoring.unavailable_metrics(c, train_set, train_set, 39)
    assert few["class_fid"] == "it needs 40 samples and examples, 4 for each class"
    fives = train_set._replace(labels=np.full(len(train_set.labels), 5, np.int32))
    other = scoring.unavailable_metrics(c, train_set, fives._replace(labels=fives.labels + 9), 99)
    assert other["class_fid"] == "test and the samples have no class with 4 of each"
    assert "class_fid" not in scoring.unavailable_metrics(c, train_set, fives, 99)
    arguments = [f"--workdir={trained}", "--num=100", "--metrics=label_accuracy,class_fid"]
    assert call(evaluate, monkeypatch, *arguments) == 0
    result = json.loads((trained / "evaluation.json").read_text())["metrics"]
    assert result["label_accuracy"]["baselines"]["real data"]["value"] > 0.9
    assert len(result["class_fid"]["by_class"]) == 10
