"""Tests of the joint embedding of captions and images."""

import numpy as np
import pytest

from gan_jax import data
from gan_jax.errors import InputError
from gan_jax.evaluation import efficientnet, text_encoder
from gan_jax.evaluation.text_encoder import TextEncoder

COLOURS = ("red", "green", "blue")


def pairs() -> tuple[np.ndarray, data.Captions]:
    """Features of images of three colours, and captions that name them."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(3, dtype=np.int32), 8)
    features = 0.3 * rng.normal(size=(24, efficientnet.FEATURES)).astype(np.float32)
    features[np.arange(24), groups] += 20
    texts = tuple(f"a {colour} flower, number {i}" for colour in COLOURS for i in range(6))
    return features, data.Captions(texts, np.arange(0, 19, 6, dtype=np.int32), groups, "")


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoder, "_STEPS", 60)
        return text_encoder.train(*pairs())


def test_training_pairs_captions_with_images(encoder):
    features, captions = pairs()
    texts = text_encoder.encode(encoder, [f"some {colour} petals" for colour in COLOURS])
    images = np.asarray(text_encoder.apply_image(encoder.params, features))
    np.testing.assert_array_equal((images @ texts.T).argmax(axis=1), captions.groups)
    np.testing.assert_allclose(np.mean(texts**2, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-5)


def test_words_of_a_text(encoder, caplog):
    assert text_encoder.words("A Red-edged flower?") == ["a", "red", "edged", "flower"]
    assert set(encoder.vocabulary) == {"a", "flower", "number", *COLOURS}  # digits are too rare

    def vectors(*texts):
        return text_encoder.encode(encoder, texts)

    plain, unknown = vectors("a red flower", "a qwerty RED; flower")
    np.testing.assert_array_equal(plain, unknown)
    one, other = vectors("red flower green", "green flower red")
    assert np.abs(one - other).max() > 0.1  # order matters
    assert not caplog.records
    assert np.isfinite(vectors("qwerty", "")).all()
    assert "without a known word, such as 'qwerty'" in caplog.text
    long = vectors("red " * 64, "red " * 64 + "green " * 1000)
    np.testing.assert_array_equal(*long)


def test_image_map_includes_standardisation():
    features, captions = pairs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoder, "_STEPS", 1)
        patch.setattr(text_encoder, "_LEARNING_RATE", 0.0)
        raw, scaled = (text_encoder.train(x, captions) for x in (features, 3 * features + 7))
    one = text_encoder.apply_image(raw.params, features)
    other = text_encoder.apply_image(scaled.params, 3 * features + 7)
    np.testing.assert_allclose(one, other, atol=2e-3)


def test_file_round_trip(encoder, tmp_path):
    file = tmp_path / "encoder.npz"
    file.write_bytes(text_encoder._pack(encoder))
    loaded = text_encoder.load(str(file))
    assert loaded.vocabulary == encoder.vocabulary
    assert text_encoder._pack(loaded) == file.read_bytes()
    for name, x in encoder.params.items():
        np.testing.assert_allclose(loaded.params[name], x, rtol=1e-3, atol=1e-4)


def test_unusable_files(encoder, tmp_path, monkeypatch):
    file, whole = tmp_path / "encoder.npz", text_encoder._pack(encoder)
    smaller = encoder._replace(params=encoder.params | {"text/bias": np.zeros(3)})
    for content, words in (
        (None, "No such file"),
        (b"", "EOF"),
        (whole[: len(whole) // 2], "not a zip"),
        (text_encoder._pack(smaller), "unexpected arrays"),
    ):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InputError, match=words) as error:
            text_encoder.load(str(file))
        assert "\n" not in str(error.value)
    monkeypatch.setattr(text_encoder, "RECIPE", 0)
    file.write_bytes(whole)
    with pytest.raises(InputError, match="of recipe 1, not 0"):
        text_encoder.load(str(file))


def test_packaged_encoder(monkeypatch):
    encoder = text_encoder.load(text_encoder.PACKAGED)
    texts = ["this flower has pink petals", "a rose-pink blossom", "the petals are yellow"]
    pink, rose, yellow = text_encoder.encode(encoder, texts)
    assert pink @ rose > pink @ yellow
    monkeypatch.setattr(text_encoder, "SHA256", "0" * 64)
    with pytest.raises(InputError, match="not 0000"):
        text_encoder.load(text_encoder.PACKAGED)


def test_too_few_captions():
    features, captions = pairs()
    one = captions._replace(groups=np.zeros_like(captions.groups))
    with pytest.raises(InputError, match="at least two classes or images"):
        text_encoder.train(features, one)
    rare = captions._replace(texts=tuple(map(str, range(len(captions.texts)))))
    with pytest.raises(InputError, match="occur in 5 captions or more"):
        text_encoder.train(features, rare)
