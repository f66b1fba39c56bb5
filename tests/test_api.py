import itertools
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from gan_jax import api, evaluate, loop, sample, train
from gan_jax import config as config_lib
from gan_jax.errors import InputError
from tests.conftest import ROOT, call, files, open_image, sha


def test_train_is_the_command(tiny, finished, tmp_path, capsys):
    run = api.train(tiny, tmp_path)
    assert run.directory == tmp_path
    assert (run.config, run.record["status"]) == (tiny, "finished")
    assert repr(run) == f"Run('{tmp_path}': finished at iteration 12)"
    assert files(tmp_path) == files(finished)
    assert "12/12" in capsys.readouterr().err  # a bar, although stderr is no terminal
    again = api.train(tiny, str(tmp_path))
    assert again == run == api.load_run(tmp_path)
    assert "already finished" in capsys.readouterr().out


def test_train_takes_names_paths_and_fields(tmp_path):
    fields = {"num_steps": 1, "generator.widths": [5], "batch_size": 8}
    run = api.train("digits", tmp_path / "name", **fields)
    assert run.config == config_lib.replace(config_lib.load("digits"), fields)
    run = api.train(ROOT / "configs/digits.py", tmp_path / "path", **fields)
    assert (run.config.num_steps, run.config.generator.widths) == (1, (5,))
    with pytest.raises(InputError, match=r"did you mean config\.num_steps"):
        api.train("digits", tmp_path / "new", num_step=3)
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="another config"):
        api.train("digits", tmp_path / "name", **fields | {"batch_size": 9})


def test_interrupt_saves_and_resumes(tiny, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_CHUNK_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        iteration = itertools.count(1)

        def interrupt(*_, **__):
            if next(iteration) == 3:
                os.kill(os.getpid(), signal.SIGINT)

        patch.setattr(train.tqdm, "set_postfix", interrupt)
        run = api.train(tiny, tmp_path)
    assert (run.record["status"], run.record["step"]) == ("interrupted", 3)
    assert [line["step"] for line in run.metrics()] == [1, 2]
    assert run.curves().size[0] > 500  # of the run so far
    assert len(api.sample(run, 2)) == 2
    api.train(tiny, tmp_path)
    assert sha(tmp_path) == sha(finished)


def test_divergence_raises(tiny, tmp_path, monkeypatch):
    config = config_lib.replace(tiny, {"d_optimizer.learning_rate": 1e30})
    with pytest.raises(RuntimeError, match="diverged at iteration"):
        api.train(config, tmp_path)
    assert api.load_run(tmp_path).record["status"] == "diverged"


def test_sample_is_the_command(finished, tmp_path, monkeypatch):
    out = tmp_path / "samples.npz"
    arguments = [f"--workdir={finished}", f"--out={out}", "--num=5", "--seed=1", "--step=4"]
    assert call(sample, monkeypatch, *arguments) == 0
    images = api.sample(api.load_run(finished), 5, seed=1, step=4)
    assert images.shape == (5, 8, 8, 1)
    assert np.array_equal(np.load(out)["images"], np.round(255 * images))
    with pytest.raises(InputError, match="it has: 4, 8, 12"):
        api.sample(api.load_run(finished), 5, step=3)


def test_sample_of_a_class(tiny, tmp_path):
    run = api.train(tiny, tmp_path, **{"condition.on": "label", "num_steps": 2})
    assert run.record["dataset"]["classes"] == 10
    threes = api.sample(run, 4, label=3)
    assert np.array_equal(threes, api.sample(run, 4, label="3"))
    assert not np.array_equal(threes, api.sample(run, 4, label=4))
    with pytest.raises(InputError, match="or its number, 0 to 9"):
        api.sample(run, 4, label=10)


def test_evaluate_returns_the_file(tiny, tmp_path, monkeypatch, capsys):
    run = api.train(tiny, tmp_path, num_steps=2, checkpoint_every=1)
    other = {"metrics": "parzen", "split": "train[:100]", "step": 1}
    half = api.evaluate(run, 20, **other)
    assert (half["test_examples"], half["step"]) == (100, 1)
    found = api.evaluate(run, 20, metrics=("parzen",))
    assert found["metrics"].keys() == {"parzen"}
    assert math.isfinite(found["metrics"]["parzen"]["value"])
    assert "Parzen" in capsys.readouterr().out
    written = (tmp_path / "evaluation.json").read_bytes()
    command = [f"--workdir={tmp_path}", "--num=20", "--metrics=parzen"]
    assert call(evaluate, monkeypatch, *command) == 0
    assert (tmp_path / "evaluation.json").read_bytes() == written


def test_images_of_a_run(finished):
    run = api.load_run(finished)
    newest = open_image(finished / "samples/step_0000012.png")
    assert run.sample_grid().tobytes() == newest.tobytes()
    assert run.curves().tobytes() == open_image(finished / "curves.png").tobytes()
    assert run.sample_grid()._repr_png_()  # how a notebook shows it


def test_load_run_needs_a_run(tmp_path):
    with pytest.raises(InputError, match="not the directory of a run"):
        api.load_run(tmp_path)


def test_package_import_is_light():
    code = "import gan_jax, sys; assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
