import json

import pytest

from gan_jax import writers
from gan_jax.errors import InputError


def test_failed_write_keeps_old_content(tmp_path, monkeypatch):
    path = tmp_path / "a"
    writers.write_whole(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(writers.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        writers.write_whole(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"


def test_json_null_for_non_finite_values(tmp_path):
    writers.write_json(tmp_path / "a.json", {"a": [1.5, float("nan")], "b": {"c": -float("inf")}})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1.5, None], "b": {"c": None}}


def test_metrics_need_only_a_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "e_loss": 0.5}\n{"step": 3, "e_lo')
    assert writers.read_metrics(path) == [{"step": 1}, {"step": 2, "e_loss": 0.5}]
    for damaged in ("", "(", "[1]", "3", '{"e_loss": 1}', '{"step": "1"}', 9_999 * "["):
        path.write_text(f'{{"step": 1}}\n{damaged}\n')
        with pytest.raises(InputError, match="damaged in line 2"):
            writers.read_metrics(path)
    with pytest.raises(InputError, match="No such file"):
        writers.read_metrics(tmp_path / "nowhere")


@pytest.mark.parametrize(("keep_begin", "kept"), [(False, [1]), (True, [1, 2])])
def test_metrics_after_the_step_are_dropped(keep_begin, kept, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    files = writers.Files(tmp_path, 2, keep_begin)
    files.scalars(4, {"step": 4})
    files.flush()
    files.close()
    lines = writers.read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [*kept, 4]


def test_flush_notices_removed_metrics(tmp_path):
    files = writers.Files(tmp_path, 0, keep_begin=False)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(FileNotFoundError):
        files.flush()
    files.close()
