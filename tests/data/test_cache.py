import logging
import os
import pwd

import numpy as np
import pytest

from gan_jax import data
from gan_jax.data import cache
from gan_jax.errors import InputError
from tests.data.conftest import assert_same, entries, load_error, start_python


def test_cache_dir(monkeypatch, tmp_path):
    assert data.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("GAN_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data.cache_dir() == tmp_path / "xdg" / "gan_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.cache_dir() == tmp_path / ".cache" / "gan_jax"


def test_unknown_user_without_a_home(monkeypatch):
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # KeyError
    for variable in ("HOME", "XDG_CACHE_HOME", "GAN_JAX_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(InputError, match="set GAN_JAX_CACHE"):
        data.cache_dir()
    for name in ("folder:~/images", "npz:~/x.npz"):
        assert load_error(name).endswith("no home directory found; give the path without ~")
        assert load_error(name).startswith("~/")
    monkeypatch.setenv("GAN_JAX_CACHE", "~/cache")
    with pytest.raises(InputError, match="without ~"):
        data.cache_dir()


def test_cached_data_need_no_decoder():
    expected = data.load("digits", image_size=10)
    code = "from gan_jax import data; d = data.load('digits', image_size=10)\n"
    output, _ = start_python(code + "print(d.sha256, *d.class_names)").communicate()
    assert output.split() == [expected.sha256, *expected.class_names]


def test_decoding_version_invalidates_entries(monkeypatch, cache_dir):
    data.load("digits")
    monkeypatch.setattr(cache, "DECODING_VERSION", cache.DECODING_VERSION + 1)
    data.load("digits")
    assert len(entries(cache_dir)) == 2


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "pickled"])
def test_damaged_entries_are_decoded_again(cache_dir, caplog, damage, suffix):
    expected = data.load("digits")
    (entry,) = entries(cache_dir)
    file = entry.with_suffix(suffix)
    content = bytearray(file.read_bytes())
    if damage == "pickled":
        pickled = np.array([{}] * len(expected.images), object)
        save = np.savez if suffix == ".npz" else np.save
        save(file, pickled)
    else:
        content[-3000] ^= 1
        sizes = {"empty": 0, "truncated": len(content) - 2000, "flipped": len(content)}
        file.write_bytes(content[: sizes[damage]])
    with caplog.at_level(logging.WARNING):
        assert_same(data.load("digits"), expected)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "\n" not in caplog.text.strip()
    caplog.clear()
    assert_same(data.load("digits"), expected)
    assert not caplog.records  # it was replaced


@pytest.mark.parametrize("fault", ["Not a directory", "No space left"])
def test_unwritable_cache_is_no_error(cache_dir, caplog, monkeypatch, fault):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if fault == "No space left":
        monkeypatch.setattr(os, "replace", full)
    else:
        cache_dir.write_text("a file in the cache's place")
    with caplog.at_level(logging.WARNING):
        assert len(data.load("digits").images) == 1500
    (record,) = caplog.records
    assert "not cached" in record.getMessage()
    assert fault in record.getMessage()
    assert not entries(cache_dir)


def test_concurrent_writers(cache_dir):
    code = """
import numpy as np
from gan_jax.data import cache, from_arrays
images = np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8, 1)
entry = cache.entries_dir() / "mnist" / "3.0.1" / "train-0.npz"
for _ in range(100):
    cache.write(entry, from_arrays(images))
    read = cache.read(entry)
    assert read and np.array_equal(read.images, images)
print("done")
"""
    writers = [start_python(code) for _ in range(2)]
    assert [w.communicate()[0] for w in writers] == ["done\n"] * 2
    assert len(entries(cache_dir)) == 1
    assert data.load("mnist").images.shape == (40, 8, 8, 1)
