import contextlib
import json
import os
import pathlib
import signal
import struct

import numpy as np
import pytest
import tensorboardX

from gan_jax import config, data, extras, loop, main, trackers, train
from gan_jax.errors import InputError
from gan_jax.writers import Files, read_metrics
from tests.conftest import assert_one_line_error, call, open_image, sha

SCORES = {"eval_every": 4, "eval_num": 10, "eval_metrics": ("parzen",)}


@pytest.fixture(autouse=True)
def _local(monkeypatch):
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")


def resumed(tiny, name: str, directory: pathlib.Path) -> list[dict]:
    """Lines of a run of 7 iterations that is continued to 12, with a tracker."""
    c = config.replace(tiny, SCORES | {"trackers": (name,)})
    for steps in (7, 12):
        assert train.run(config.replace(c, {"num_steps": steps}), directory, "digits") == 0
    return read_metrics(directory / "metrics.jsonl")


def records(path: pathlib.Path):
    """Records of a .wandb file: chunks in blocks of 32 KiB, as in LevelDB's log."""
    from wandb.proto import wandb_internal_pb2

    content, at, record = path.read_bytes(), 7, b""
    while at < len(content):
        if 2**15 - at % 2**15 < 7:  # no room for a header in this block
            at += 2**15 - at % 2**15
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last chunk
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def test_tensorboard(tiny, tmp_path):
    c = config.replace(tiny, {"trackers": ("tensorboard",), "num_steps": 2})
    train.run(c, tmp_path, "x")
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"d_loss" in events.read_bytes()
    assert b"samples" in events.read_bytes()
    purged = []
    with pytest.MonkeyPatch.context() as patch:
        writer = tensorboardX.SummaryWriter
        patch.setattr(
            tensorboardX,
            "SummaryWriter",
            lambda *a, purge_step: purged.append(purge_step) or writer(*a, purge_step=purge_step),
        )
        train.run(config.replace(c, {"num_steps": 3}), tmp_path, "x")
    assert purged == [3]  # the first entry to hide


def test_failing_trackers_are_dropped(tiny, finished, tmp_path, monkeypatch, caplog):
    c = config.replace(tiny, {"trackers": ("tensorboard",)})
    original = trackers.TensorBoard.scalars

    def scalars(self, step, metrics):
        if step == 6:  # as on a full disk
            worker = self._writer.file_writer.event_writer._worker
            worker.stop()
            worker.join()
        original(self, step, metrics)

    monkeypatch.setattr(trackers.TensorBoard, "scalars", scalars)
    assert train.run(c, tmp_path, "digits") == 0
    assert sha(tmp_path) == sha(finished)
    assert caplog.text.count("tensorboard failed and was dropped: OSError") == 1


def test_nothing_is_sent(tiny, tmp_path, monkeypatch):
    names = ("WANDB_ERROR_REPORTING", "MLFLOW_DISABLE_TELEMETRY", "WANDB_CACHE_DIR")
    for name in names:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr("wandb.init", lambda **_: None)
    trackers.WandB(tmp_path, tiny, 0)
    with pytest.raises(InputError, match="question mark"):
        trackers.start("mlflow", tmp_path / "a?b", tiny, 0)
    assert [os.environ[name] for name in names] == ["false", "true", f"{data.cache_dir()}/wandb"]
    assert os.environ["WANDB_MODE"] == "offline"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "exit_status", "status"),
    [("diverged", 1, "FAILED"), ("signal", 143, "KILLED"), ("full disk", 1, "FAILED")],
)
def test_status(end, exit_status, status, tiny, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    c = config.replace(tiny, {"trackers": ("wandb", "mlflow"), "num_steps": 6})
    original = trackers.MLflow.scalars

    def scalars(self, step, metrics):
        original(self, step, metrics)
        if end == "signal" and step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        if end == "full disk" and step == 2:
            monkeypatch.setattr(Files, "flush", lambda _: os.stat("/nowhere"))

    monkeypatch.setattr(trackers.MLflow, "scalars", scalars)
    if end == "diverged":
        c = config.replace(c, {"d_optimizer.learning_rate": 1e30})
    with contextlib.ExitStack() as stack:
        if end == "full disk":
            stack.enter_context(pytest.raises(OSError, match="nowhere"))
        assert train.run(c, tmp_path, "digits") == exit_status
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert (
        client.get_run(json.loads((tmp_path / "trackers.json").read_text())["mlflow"]).info.status
        == status
    )
    (path,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert [x.exit.exit_code for x in records(path) if x.HasField("exit")] == [exit_status]


def test_wandb(tiny, finished, tmp_path):
    lines = resumed(tiny, "wandb", tmp_path)
    assert sha(tmp_path) == sha(finished)
    runs, exits, found, images = [], [], {}, {}
    for path in sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb")):
        for record in records(path):
            if record.HasField("run"):
                values = {x.key: json.loads(x.value_json) for x in record.run.config.update}
                runs.append((record.run.run_id, values["num_steps"], values["generator"]))
            if record.HasField("exit"):
                exits.append(record.exit.exit_code)
            if record.HasField("history"):
                row = {x.nested_key[0]: x.value_json for x in record.history.item}
                step = int(row["_step"])
                scalars = {n: json.loads(x) for n, x in row.items() if n[0] != "_"}
                if scalars.pop("samples", None):
                    (image,) = path.parent.glob(f"files/media/images/samples_{step}_*.png")
                    images[step] = image
                found[step] = found.get(step, {}) | scalars
    generator = json.loads(json.dumps(tiny.generator.to_dict()))
    id = json.loads((tmp_path / "trackers.json").read_text())["wandb"]
    assert runs == [(id, 7, generator), (id, 12, generator)]
    assert exits == [0, 0]
    assert "parzen" in lines[-1]
    for line in lines:
        assert found[line["step"]] == {n: x for n, x in line.items() if n != "step"}
    assert images.keys() == {0, 6, 7, 12}
    own = open_image(tmp_path / "samples/step_0000006.png")
    np.testing.assert_array_equal(open_image(images[6]), own)


@pytest.mark.slow
def test_mlflow(tiny, tmp_path):
    from mlflow import MlflowClient

    lines = resumed(tiny, "mlflow", tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = (x for x in client.search_experiments() if x.name == "gan_jax")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == json.loads((tmp_path / "trackers.json").read_text())["mlflow"]
    assert run.info.status == "FINISHED"
    assert run.data.params["generator.widths"] == "(5,)"
    assert run.data.params["num_steps"] == "7"  # parameters cannot change
    for name, value in lines[-1].items():
        if name != "step":
            history = {x.step: x.value for x in client.get_metric_history(run.info.run_id, name)}
            assert history[12] == value
            assert {x["step"] for x in lines if name in x} <= history.keys()
    assert "parzen" in run.data.metrics
    image = client.download_artifacts(run.info.run_id, "samples/step_0000012.png", str(tmp_path))
    own = open_image(tmp_path / "samples/step_0000012.png")
    np.testing.assert_array_equal(open_image(pathlib.Path(image)), own)


def test_one_line_errors(tmp_path, monkeypatch, capfd):
    arguments = ["--config=digits", f"--workdir={tmp_path}/run", "--config.trackers=wandb"]
    with monkeypatch.context() as patch:
        patch.setitem(extras.EXTRAS, "wandb", ("no_such_package",))
        assert call(main, monkeypatch, *arguments) == 2
    assert_one_line_error(capfd.readouterr().err, "pip install 'gan_jax[wandb]'")
    assert not (tmp_path / "run").exists()

    class Offline:
        def __init__(self, *_):
            raise RuntimeError("no\ncredentials")

    monkeypatch.setitem(trackers._TRACKERS, "wandb", Offline)
    assert call(main, monkeypatch, *arguments) == 2
    assert_one_line_error(capfd.readouterr().err, "wandb failed to start: RuntimeError: no")
    assert not (tmp_path / "run/run.json").exists()


def test_failed_start_keeps_the_status(tiny, tmp_path, monkeypatch):
    """The run resumes without the tracker, whether it had begun or not."""
    monkeypatch.setitem(trackers._TRACKERS, "wandb", lambda *_: 1 / 0)
    for steps, before in ((2, None), (3, "finished")):
        c = config.replace(tiny, {"num_steps": steps})
        with pytest.raises(InputError, match="wandb failed to start: ZeroDivisionError"):
            train.run(config.replace(c, {"trackers": ("tensorboard", "wandb")}), tmp_path, "x")
        record = tmp_path / "run.json"
        status = json.loads(record.read_bytes())["status"] if record.exists() else None
        assert status == before
        assert train.run(c, tmp_path, "x") == 0


def test_upgrade_tensorboard_field(tiny):
    earlier = {n: x for n, x in config.flatten(tiny).items() if n != "trackers"}
    for value, expected in ((False, ()), (True, ("tensorboard",))):
        assert config.override(earlier | {"tensorboard": value}, []).trackers == expected


def test_every_tracker_is_a_choice(tiny):
    assert trackers._TRACKERS.keys() <= extras.EXTRAS.keys()
    config.replace(tiny, {"trackers": tuple(trackers._TRACKERS)})


def test_trackers_keep_the_name_of_the_run(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "train", lambda *_, **__: iter(()))
    train.run(config.replace(tiny, {"trackers": ("tensorboard",)}), None, "digits")
    assert (tmp_path / "runs/digits/1/config.json").exists()
