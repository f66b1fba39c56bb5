"""Tests of autoencoders, VAEs and AAEs: likelihoods, bounds, steps against NumPy, and runs."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gan_jax import (
    algorithms,
    config,
    evaluate,
    population,
    sample,
    spectrum,
    train,
    workdir,
)
from gan_jax import data as data_lib
from gan_jax.algorithms import autoencoder, vae
from gan_jax.draws import Batch, Stream, minibatch, noise, stream_key
from gan_jax.errors import InputError
from gan_jax.writers import read_metrics, write_json
from tests.conftest import (
    assert_one_line_error,
    call,
    open_image,
    tiny_config,
    train_digests,
    untrained,
)

RNG = np.random.default_rng(0)
CLOSE = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
DATA = Batch(jnp.asarray(RNG.normal(size=(20, 4)), jnp.float32))
LABELLED = DATA._replace(y=jnp.arange(20) % 3)
LINEAR = {
    "prior.name": "normal",
    "z_dim": 2,
    "batch_size": 8,
    "encoder.widths": (),
    "generator.widths": (),
    "generator.output": "linear",
    "likelihood": "gaussian",
    "likelihood_std": 0.7,
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 0.05,
}


def linear(algorithm: str, **changes):
    """A spec of linear networks on points of 4 numbers, and its hyperparameters."""
    adversarial = {"discriminator.widths": ()} if algorithm == "aae" else {}
    for player, rate in (("d", 0.1), ("e", 0.2)):
        if algorithm == "aae":
            adversarial[f"{player}_optimizer.name"] = "sgd"
            adversarial[f"{player}_optimizer.learning_rate"] = rate
    c = config.replace({}, {"algorithm": algorithm} | LINEAR | adversarial | changes)
    return config.spec(c, (4,), 3), config.hparams(c)


# Likelihoods and bounds


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_log_likelihood(likelihood):
    spec, hparams = linear("vae", likelihood=likelihood, **{"generator.output": "sigmoid"})
    x, output = RNG.uniform(size=(3, 4)), RNG.normal(size=(3, 4))
    found = autoencoder.log_likelihood(spec, hparams, jnp.float32(x), jnp.float32(output))
    if likelihood == "bernoulli":
        p = 1 / (1 + np.exp(-output))
        expected = np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=1)
    else:
        expected = scipy.stats.norm.logpdf(x, output, 0.7).sum(axis=1)
    CLOSE(found, expected)


def test_kl_divergence():
    mean, log_variance = RNG.normal(size=(2, 5, 3))
    z = np.linspace(-15, 15, 20_001)
    q = scipy.stats.norm(mean[..., None], np.exp(log_variance / 2)[..., None])
    integrand = q.pdf(z) * (q.logpdf(z) - scipy.stats.norm.logpdf(z))
    expected = np.trapezoid(integrand, z, axis=-1).sum(axis=1)
    CLOSE(vae.kl_divergence(mean, log_variance), expected)


def exact_posterior(w: np.ndarray, b: np.ndarray, std: float):
    """Encoder parameters of the posterior of x = z w + b + std * noise; rows of w orthogonal."""
    variance = 1 / (1 + np.sum(w**2, axis=1) / std**2)
    kernel = np.concatenate([w.T * variance / std**2, np.zeros_like(w.T)], axis=1)
    bias = np.concatenate([-b @ w.T * variance / std**2, np.log(variance)])
    return {"Dense_0": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}}


def test_bounds_of_a_linear_gaussian_model():
    """Tipping and Bishop 1999: log p(x) is known, and the bounds are tight at the posterior."""
    spec, hparams = linear("vae")
    state = algorithms.init(spec, hparams, 0, DATA)
    w = np.array([[1.0, 2, 0, -1], [2, -1, 3, 0]]) / 2
    b, x = RNG.normal(size=4), RNG.normal(size=(600, 4))
    exact = scipy.stats.multivariate_normal(b, w.T @ w + 0.7**2 * np.eye(4)).logpdf(x)
    g, e = state.players["generator"], state.players["encoder"]
    g = g._replace(params={"Dense_0": {"kernel": jnp.float32(w), "bias": jnp.float32(b)}})

    @jax.jit
    def log_weights(params):
        players = {"encoder": e._replace(params=params), "generator": g}
        now, key = state._replace(players=players), jax.random.key(0)
        return now, vae.log_weights(spec, hparams, now, jnp.float32(x), key, 50)

    posterior = exact_posterior(w, b, 0.7)
    now, log_w = log_weights(posterior)
    np.testing.assert_allclose(log_w, np.broadcast_to(exact, (50, 600)), rtol=1e-4)
    for bound in algorithms.log_likelihoods(spec, hparams, now, np.float32(x)).values():
        np.testing.assert_allclose(bound, exact, rtol=1e-4)
    now, _ = log_weights(jax.tree.map(lambda p: 0.8 * p, posterior))
    bounds = algorithms.log_likelihoods(spec, hparams, now, np.float32(x))
    assert (bounds["elbo"] < bounds["importance_weighted"]).all()
    excess = bounds["importance_weighted"] - exact  # 0 at most in expectation
    assert np.mean(excess) < 3 * np.std(excess) / len(exact) ** 0.5
    assert np.mean(bounds["elbo"]) < np.mean(exact) - 0.05


# Training


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def descend(layer, rate, inputs, gradient):
    layer["kernel"] = layer["kernel"] - rate * inputs.T @ gradient
    layer["bias"] = layer["bias"] - rate * gradient.sum(axis=0)


@functools.partial(jax.jit, static_argnames="spec")
def drawn(spec, root, data, number):
    """Minibatch, and noises of generator and discriminator."""
    keys = (stream_key(root, stream, number) for stream in (Stream.NOISE_G, Stream.NOISE_D))
    return minibatch(8, root, data, number), *(noise(spec, key, 8) for key in keys)


@pytest.mark.parametrize(
    ("algorithm", "on"),
    [("autoencoder", "none"), ("vae", "none"), ("aae", "label")],
)
def test_training_follows_numpy(algorithm, on):
    spec, hparams = linear(algorithm, **{"condition.on": on})
    data = LABELLED if on == "label" else DATA
    if algorithm == "vae":
        hparams = {**hparams, "kl_weight": 0.3}
    state = algorithms.init(spec, hparams, 3, data)
    params = jax.tree.map(np.float64, {n: p.params["Dense_0"] for n, p in state.players.items()})
    e, g = params["encoder"], params["generator"]
    moments = {"mean": np.zeros(2), "covariance": np.eye(2)}
    for number in range(5):
        batch, epsilon, real = drawn(spec, state.key, data, number)
        x = np.float64(batch.x)
        output = x @ e["kernel"] + e["bias"]
        if algorithm == "vae":
            mean, log_variance = output[:, :2], output[:, 2:]
            std = np.exp(log_variance / 2)
        else:
            mean, std = output, 0.0
            new = {"mean": mean.mean(axis=0), "covariance": np.cov(mean.T, bias=True)}
            moments = {name: 0.99 * moments[name] + 0.01 * new[name] for name in new}
        z = mean + std * epsilon
        if on == "label":  # section 4 of Makhzani et al. 2015: the decoder alone sees labels
            z = np.concatenate([z, np.eye(3)[batch.y]], axis=1)
        error = z @ g["kernel"] + g["bias"] - x
        reconstruction = np.sum(error**2, axis=1).mean() / (2 * 0.7**2)
        reconstruction += 4 * np.log(0.7 * np.sqrt(2 * np.pi))
        loss = reconstruction
        d_error = error / 0.7**2 / 8
        d_z = d_output = (d_error @ g["kernel"].T)[:, :2]
        if algorithm == "vae":
            kl = np.sum(mean**2 + std**2 - 1 - log_variance, axis=1).mean() / 2
            loss += 0.3 * kl
            d_mean = d_z + 0.3 * mean / 8
            d_log_variance = d_z * epsilon * std / 2 + 0.3 * (std**2 - 1) / 2 / 8
            d_output = np.concatenate([d_mean, d_log_variance], axis=1)
        state, info = algorithms.train_chunk(spec, hparams, state, data, 1)
        CLOSE(info["loss"], loss)
        descend(e, 0.05, x, d_output)
        descend(g, 0.05, z, d_error)
        if algorithm == "vae":
            CLOSE(info["reconstruction"], reconstruction)
            CLOSE(info["kl"], kl)
        if algorithm == "aae":
            d = params["discriminator"]
            real, codes = np.float64(real), x @ e["kernel"] + e["bias"]
            on_real, on_codes = (z @ d["kernel"] + d["bias"] for z in (real, codes))
            CLOSE(info["d_loss"], np.mean(np.log1p(np.exp(-on_real)) + np.log1p(np.exp(on_codes))))
            CLOSE(info["d_prior"], np.mean(sigmoid(on_real)))
            CLOSE(info["d_codes"], np.mean(sigmoid(on_codes)))
            both = np.concatenate([-sigmoid(-on_real), sigmoid(on_codes)]) / 8
            descend(d, 0.1, np.concatenate([real, codes]), both)
            on_codes = codes @ d["kernel"] + d["bias"]
            CLOSE(info["g_loss"], np.mean(np.log1p(np.exp(-on_codes))))
            descend(e, 0.2, x, -sigmoid(-on_codes) / 8 @ d["kernel"].T)
    for name, layer in params.items():
        jax.tree.map(CLOSE, state.players[name].params["Dense_0"], layer)
    if algorithm == "autoencoder":
        jax.tree.map(CLOSE, state.averages["codes"], moments)
    assert info.keys() == {"step", *algorithms.ALGORITHMS[algorithm].info_names(spec)}


def test_autoencoder_samples_have_moments_of_codes():
    spec, hparams = linear("autoencoder")
    state = algorithms.init(spec, hparams, 0, DATA)
    mean, covariance = np.array([1.0, -2]), np.array([[2, 0.9], [0.9, 0.5]])
    moments = {"mean": jnp.float32(mean), "covariance": jnp.float32(covariance)}
    state = state._replace(averages={"codes": moments})
    z = noise(spec, jax.random.key(0), n := 50_000)
    samples = algorithms.generate(spec, state, z)
    g = state.players["generator"].params["Dense_0"]
    kernel = np.asarray(g["kernel"])
    expected = kernel.T @ covariance @ kernel
    variance = expected.max()
    near = np.testing.assert_allclose  # five standard errors
    bias = np.asarray(g["bias"])
    near(samples.mean(axis=0), mean @ kernel + bias, atol=5 * (variance / n) ** 0.5)
    near(np.cov(samples.T), expected, atol=5 * variance * (2 / n) ** 0.5)


# Inferred classes


def inferring(**changes):
    return linear("aae", num_categories=3, **changes)


def test_encoder_infers_classes():
    """The encoder's first outputs are logits; the decoder sees their softmax as it would labels."""
    spec, _ = inferring()
    state = algorithms.init(spec, inferring()[1], 0, DATA)
    e, g = (state.players[name].params["Dense_0"] for name in ("encoder", "generator"))
    output = np.asarray(DATA.x) @ e["kernel"] + e["bias"]
    y = np.exp(output[:, :3]) / np.exp(output[:, :3]).sum(axis=1, keepdims=True)
    CLOSE(algorithms.classify(spec, state, np.asarray(DATA.x)), y)
    seen = np.concatenate([output[:, 3:], y], axis=1)
    CLOSE(algorithms.reconstruct(spec, state, np.asarray(DATA.x)), seen @ g["kernel"] + g["bias"])
    z = np.zeros((6, 2), np.float32)
    CLOSE(algorithms.generate(spec, state, z), np.asarray(g["kernel"])[[2, 3, 4] * 2] + g["bias"])


def test_steps_of_inferred_classes_follow_numpy():
    spec, hparams = inferring(num_labelled=6)
    data = Batch(DATA.x, jnp.arange(20) % 3)
    state = algorithms.init(spec, hparams, 3, data)
    before = jax.tree.map(np.float64, {n: p.params["Dense_0"] for n, p in state.players.items()})
    after, info = algorithms.train_chunk(spec, hparams, state, data, 1)
    batch, _, real = drawn(spec, state.key, data, 0)
    x = np.float64(batch.x)
    # The reconstruction step moves the encoder; its own test is above. Undo it from the state.
    key = stream_key(state.key, Stream.STEP_G, 0)
    step = jax.jit(autoencoder.reconstruction_step, static_argnums=0)
    middle, _ = step(spec, hparams, state, batch, key)
    e = jax.tree.map(np.float64, middle.players["encoder"].params["Dense_0"])

    def softmax(logits):
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    @jax.jit
    def draw(stream, end):
        return jax.random.randint(stream_key(state.key, stream, 0), (8,), 0, end)

    y = draw(Stream.NOISE_G, 3)
    prior = {
        "discriminator": np.float64(real),
        "category_discriminator": np.eye(3)[y],
    }
    output = x @ e["kernel"] + e["bias"]
    p = softmax(output[:, :3])
    codes = {"discriminator": output[:, 3:], "category_discriminator": p}
    d_loss = g_loss = 0
    slopes = {}
    for name, real in prior.items():
        d = before[name]
        on_real, on_codes = (u @ d["kernel"] + d["bias"] for u in (real, codes[name]))
        d_loss += np.mean(np.log1p(np.exp(-on_real)) + np.log1p(np.exp(on_codes)))
        both = np.concatenate([-sigmoid(-on_real), sigmoid(on_codes)]) / 8
        descend(d, 0.1, np.concatenate([real, codes[name]]), both)
        jax.tree.map(CLOSE, after.players[name].params["Dense_0"], d)
        on_codes = codes[name] @ d["kernel"] + d["bias"]
        g_loss += np.mean(np.log1p(np.exp(-on_codes)))
        slopes[name] = -sigmoid(-on_codes) / 8 @ d["kernel"].T
    CLOSE(info["d_loss"], d_loss)
    CLOSE(info["g_loss"], g_loss)
    s = slopes["category_discriminator"]
    d_logits = p * (s - np.sum(p * s, axis=1, keepdims=True))
    index = draw(Stream.BATCH_G, 6)
    labelled, labels = np.float64(data.x)[index], np.asarray(data.y)[index]
    q = softmax((labelled @ e["kernel"] + e["bias"])[:, :3])
    CLOSE(info["cross_entropy"], -np.mean(np.log(q[np.arange(8), labels])))
    d_labelled = np.concatenate([(q - np.eye(3)[labels]) / 8, np.zeros((8, 2))], axis=1)
    d_output = np.concatenate([d_logits, slopes["discriminator"]], axis=1)
    descend(e, 0.2, np.concatenate([x, labelled]), np.concatenate([d_output, d_labelled]))
    jax.tree.map(CLOSE, after.players["encoder"].params["Dense_0"], e)
    assert info.keys() == {"step", *algorithms.ALGORITHMS["aae"].info_names(spec)}


# Runs


def vae_config(changes=None):
    fixed = {"algorithm": "vae", "prior.name": "normal", "encoder.widths": (6,)}
    return config.replace(tiny_config(), fixed | (changes or {}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("vae") / "run"
    c = vae_config({"kl_weight": 0.0, "schedules": ("kl_weight=linear:1:8",), "metrics_every": 1})
    assert train.run(c, directory, "vae") == 0
    return directory


@pytest.mark.slow
def test_kl_warm_up(trained):
    lines = read_metrics(trained / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 13))
    weights = [(line["loss"] - line["reconstruction"]) / line["kl"] for line in lines]
    np.testing.assert_allclose(weights, [*np.arange(8) / 8, 1, 1, 1, 1], atol=1e-4)


CONVOLUTIONAL = {
    "algorithm": "autoencoder",
    "encoder.name": "dcgan",
    "encoder.widths": (3, 4),
    "generator.name": "dcgan",
    "generator.widths": (4, 3),
    "generator.output": "sigmoid",
}


AAE = {"algorithm": "aae", "prior.name": "mixture", "z_dim": 2, "discriminator.dropout": 0.5}
LABEL = {"algorithm": "aae", "condition.on": "label"}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [AAE, CONVOLUTIONAL], ids=["aae", "dcgan"])
def test_resume_is_bitwise_identical(changes):
    c, dataset = vae_config(changes), data_lib.load("digits")
    expected = train_digests(c, dataset, (3, 5), (9,))
    assert train_digests(c, dataset, (5,), (4, 9)) == expected[1:]


def test_reconstructions(trained, tmp_path, monkeypatch, capsys):
    out = tmp_path / "pairs.npz"
    arguments = [f"--workdir={trained}", f"--out={out}", "--num=6", "--reconstruct"]
    assert call(sample, monkeypatch, *arguments) == 0
    with np.load(out) as arrays:
        shown = arrays["images"]
    test = data_lib.load("digits", "test").images
    chosen = test[np.random.default_rng(0).permutation(len(test))[:3]]
    np.testing.assert_array_equal(shown[::2], chosen)
    spec, state = workdir.load(trained)
    e, g = (state.players[name].params for name in ("encoder", "generator"))

    def layers(params, x):
        first, last = params["Dense_0"], params["Dense_1"]
        return np.maximum(x @ first["kernel"] + first["bias"], 0) @ last["kernel"] + last["bias"]

    mean = layers(e, chosen.reshape(3, -1) / 255)[:, : spec.z_dim]
    expected = 255 / (1 + np.exp(-layers(g, mean)))
    np.testing.assert_allclose(shown[1::2].reshape(3, -1), expected, atol=0.51)
    arguments[1] = f"--out={tmp_path / 'pairs.png'}"
    assert call(sample, monkeypatch, *arguments) == 0
    assert open_image(tmp_path / "pairs.png").width > 0


@pytest.mark.parametrize("how", ["concat", pytest.param("batch_norm", marks=pytest.mark.slow)])
def test_labels_reach_the_decoder_alone(how, tmp_path, monkeypatch, capsys):
    changes = {"condition.generator": how, "generator.batch_norm": how == "batch_norm"}
    untrained(vae_config(LABEL | changes), tmp_path / "run")
    spec, state = workdir.load(tmp_path / "run")
    z = np.ones((10, spec.z_dim), np.float32)
    digits = np.arange(10)
    means = algorithms.generate(spec, state, z, digits)
    assert len(np.unique(means, axis=0)) == 10  # labels matter
    for player, inputs in (("encoder", 64), ("discriminator", spec.z_dim)):
        assert state.players[player].params["Dense_0"]["kernel"].shape[0] == inputs
    with pytest.raises(InputError, match="samples of a conditional run need labels"):
        algorithms.generate(spec, state, z)

    test, order = data_lib.load("digits", "test"), np.random.default_rng(0).permutation(297)[:3]
    out = tmp_path / "pairs.npz"
    arguments = [f"--workdir={tmp_path / 'run'}", f"--out={out}", "--num=6", "--reconstruct"]
    assert call(sample, monkeypatch, *arguments) == 0
    x, y = test.images[order], test.labels[order]
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["labels"], y.repeat(2))
        np.testing.assert_array_equal(arrays["images"][::2], x)
        expected = algorithms.reconstruct(spec, state, x, y)
        np.testing.assert_allclose(arrays["images"][1::2], 255 * expected, atol=0.51)
        other = algorithms.reconstruct(spec, state, x, (y + 1) % 10)
        assert np.abs(other - expected).max() > 1e-3
    capsys.readouterr()
    out.unlink()
    assert call(sample, monkeypatch, *arguments, "--label=3") == 2
    assert_one_line_error(capsys.readouterr().err, "leave out --label")


def test_labelled_examples_are_balanced():
    c, dataset = (
        vae_config({"algorithm": "aae", "num_categories": 10, "num_labelled": 40}),
        data_lib.load("digits"),
    )
    data = population.create([c], dataset).data
    counts = np.bincount(np.asarray(data.y)[:40])
    np.testing.assert_array_equal(counts, [4] * 10)
    first = np.flatnonzero(dataset.labels == 3)[:4]
    images = np.asarray(data.x)
    np.testing.assert_array_equal(images[12:16], dataset.images[first])
    assert sorted(x.tobytes() for x in images) == sorted(x.tobytes() for x in dataset.images)


@pytest.mark.parametrize("labelled", [50, 0])
def test_classification_error(labelled, tmp_path, monkeypatch, capsys):
    number = {"num_categories": 10 if labelled else 12, "num_labelled": labelled}
    directory = untrained(vae_config({"algorithm": "aae"} | number), tmp_path / "run")
    arguments = [f"--workdir={directory}", "--metrics=parzen", "--num=30"]
    assert call(evaluate, monkeypatch, *arguments) == 0
    found = json.loads((directory / "evaluation.json").read_text())["classification"]
    assert found["low"] < found["value"] < found["high"]
    spec, state = workdir.load(directory)
    test = data_lib.load("digits", "test")
    chosen = algorithms.classify(spec, state, test.images).argmax(axis=1)
    if not labelled:
        train_set = data_lib.load("digits", "train")  # also that of validation
        p = algorithms.classify(spec, state, train_set.images)
        names = train_set.labels[p.argmax(axis=0)]  # of the surest example of each cluster
        chosen = names[chosen]
    np.testing.assert_allclose(found["value"], np.mean(chosen != test.labels))
    used = len(set(algorithms.classify(spec, state, test.images).argmax(axis=1)))
    assert (found["categories_used"], found["categories"]) == (used, number["num_categories"])
    out = capsys.readouterr().out
    assert "classification error on test: " in out
    assert (f"{used} of 12 clusters in use, labelled by train" in out) != bool(labelled)


def test_clusters_have_no_names(tmp_path):
    write_json(tmp_path / "run.json", {"dataset": {"class_names": ["cat", "dog", "7"]}})
    clusters, _ = inferring()
    assert workdir.class_number(tmp_path, clusters, "2") == 2
    for label in ("cat", "7"):
        with pytest.raises(InputError, match=f"--label={label}: expected 0 to 2$"):
            workdir.class_number(tmp_path, clusters, label)
    classes = clusters._replace(num_labelled=3)
    assert workdir.class_number(tmp_path, classes, "7") == 2


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([-1, 0, 1, 2], "config.num_labelled is 3, but digits has the label -1: expected classes"),
        ([0, 1, 2, 10**9], "config.num_categories is 3, but digits has 1000000001 classes"),
        (None, "config.num_categories is 3, but digits has 0 classes of labels"),
        ([0, 1, 1, 1], "config.num_categories is 3, but digits has 2 classes of labels"),
        ([0, 0, 2, 2], "config.num_labelled is 3: expected a multiple of 3 up to 0"),
    ],
)
def test_labels_that_cannot_be_learned(labels, words):
    c = vae_config({"algorithm": "aae", "num_categories": 3, "num_labelled": 3, "batch_size": 2})
    numbers = None if labels is None else np.array(labels, np.int32)
    dataset = data_lib.from_arrays(np.zeros((4, 8, 8, 1), np.uint8), numbers)
    with pytest.raises(InputError, match=re.escape(words)):
        train.check(c, dataset)


def test_evaluation_without_labels(tmp_path, monkeypatch):
    file = tmp_path / "x.npz"
    np.savez(file, images=data_lib.load("digits").images[:100])
    changes = {"algorithm": "aae", "num_categories": 3, "dataset": f"npz:{file}"}
    changes |= {"test_split": "train", "num_steps": 2, "batch_size": 10}
    untrained(vae_config(changes), tmp_path / "run")
    arguments = [f"--workdir={tmp_path / 'run'}", "--metrics=parzen", "--num=30"]
    assert call(evaluate, monkeypatch, *arguments) == 0
    assert "classification" not in json.loads((tmp_path / "run" / "evaluation.json").read_text())


def test_evaluation_states_bounds(trained, monkeypatch, capsys):
    arguments = [f"--workdir={trained}", "--num=30", "--metrics=parzen"]
    assert call(evaluate, monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    found = json.loads((trained / "evaluation.json").read_text())["log_likelihood"]
    assert found["elbo"]["value"] < found["importance_weighted"]["value"] < 0
    for bound in found.values():
        assert f"{bound['value']:.2f} ± {bound['standard_error']:.2f} nats" in printed


def test_requests_that_need_another_algorithm(finished, trained, tmp_path, monkeypatch, capsys):
    out = f"--out={tmp_path / 'x.png'}"
    assert call(spectrum, monkeypatch, f"--workdir={trained}", out) == 2
    assert_one_line_error(capsys.readouterr().err, "is of algorithm vae, not of a game")
    assert call(sample, monkeypatch, f"--workdir={finished}", out, "--reconstruct") == 2
    assert_one_line_error(capsys.readouterr().err, "is of algorithm gan")
