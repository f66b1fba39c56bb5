import os
import subprocess

import pytest

from gan_jax import provenance


def test_cores_available_to_xla(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    allowed = os.sched_getaffinity(0)
    assert provenance.cores() == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})  # as taskset does
        assert provenance.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    monkeypatch.setenv("NPROC", "7")
    assert provenance.cores() == 7


def test_recorded_environment_variables(monkeypatch):
    before = provenance.provenance()
    for name, value in {
        "JAX_ENABLE_X64": "1",  # pinned
        "JAX_PLATFORMS": "cpu",  # recorded as the device
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",  # by config.deterministic
    }.items():
        monkeypatch.setenv(name, value)
    assert not provenance.differences(before, provenance.provenance())
    monkeypatch.setenv("XLA_FLAGS", "--b=2 --xla_gpu_deterministic_ops=true --a=1")
    monkeypatch.setenv("JAX_UNKNOWN", "1")
    assert provenance.differences(before, provenance.provenance()) == [
        "environment.JAX_UNKNOWN unknown -> 1",
        "environment.XLA_FLAGS unknown -> --a=1 --b=2",
    ]


def test_differences():
    old = {"cores": 2, "versions": {"jax": "1", "numpy": "2"}, "status": "running"}
    new = {"cores": 1, "versions": {"jax": "1", "numpy": "3"}, "status": "finished"}
    assert provenance.differences(old, new) == ["versions.numpy 2 -> 3", "cores 2 -> 1"]
    assert not provenance.differences(old, old)
    moved = {"dataset": {"name": "a", "sha256": "1"}}, {"dataset": {"name": "b", "sha256": "1"}}
    assert not provenance.differences(*moved)
    a = {"git_commit": "a", "source_sha256": "1"}
    b = {"git_commit": "b", "source_sha256": "1"}  # the commit matters only if the code differs
    assert not provenance.differences(a, b)
    c = b | {"source_sha256": "2"}
    assert provenance.differences(a, c) == ["source_sha256 1 -> 2", "git_commit a -> b"]
    del a["source_sha256"], b["source_sha256"]
    assert provenance.differences(a, b) == ["git_commit a -> b"]
    whole, sharded = (provenance.provenance(2, shard_state) for shard_state in (False, True))
    assert provenance.differences(whole, sharded) == ["shard_state False -> True"]
    del whole["shard_state"]  # by an earlier version
    assert provenance.differences(whole, sharded) == ["shard_state False -> True"]


def test_source_sha256_of_code_only(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_PACKAGE", tmp_path)
    hashes = []
    for name in ("a.py", "b/a.py", "b/weights.npz", "b/c.txt", "configs/mnist.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        hashes.append(provenance.source_sha256())
    assert len(set(hashes)) == 3
    assert {len(x) for x in hashes} == {16}
    assert hashes[2] == hashes[4]
    (tmp_path / "a.py").write_text("changed")
    assert provenance.source_sha256() not in hashes


def test_enclosing_repositories_are_ignored(tmp_path, monkeypatch):
    """For example that of a project whose virtual environment contains gan_jax."""
    commit = ["-c", "user.name=a", "-c", "user.email=a", "commit", "--allow-empty", "-m", "a"]
    for arguments in (["init"], commit):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "installed.py").touch()
    monkeypatch.setattr(provenance, "_PACKAGE", tmp_path)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "installed.py"))
    assert provenance.provenance()["git_commit"] is None
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert len(provenance.provenance()["git_commit"]) == 40


SEGMENTS = [{"cores": 1, "until": 4}, {"cores": 2, "until": 8}]
OLD = {"status": "interrupted", "cores": 3, "earlier": SEGMENTS}


@pytest.mark.parametrize(
    ("old", "begin", "cores", "warning", "kept"),
    [
        ({}, 4, 1, None, []),
        (OLD, 0, 4, None, []),
        (OLD, 3, 1, None, []),
        (OLD, 4, 1, None, []),
        (OLD, 6, 1, "cores 2 -> 1", [*SEGMENTS[:1], {"cores": 2, "until": 6}]),
        (OLD, 6, 2, None, SEGMENTS[:1]),
        (OLD, 12, 3, None, SEGMENTS),
        (OLD, 12, 4, "cores 3 -> 4", [*SEGMENTS, {"cores": 3, "until": 12}]),
    ],
)
def test_earlier_environments(old, begin, cores, warning, kept, caplog):
    assert provenance.earlier(old, {"cores": cores}, begin) == kept
    expected = f"resuming in another environment: {warning}; the bytes may differ"
    assert caplog.messages == ([expected] if warning else [])
