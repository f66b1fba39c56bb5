"""The host's side of a run: chunk, log, sample, checkpoint."""

import contextlib
import functools
import math
import pathlib
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import psutil
from ml_collections import ConfigDict
from tqdm import tqdm

from gan_jax import algorithm, checkpoint, data, device, plots, workdir
from gan_jax import config as config_lib
from gan_jax.algorithm import Game, Role, State
from gan_jax.errors import InputError
from gan_jax.writers import MetricsWriter, TensorBoard, read_metrics, write_whole

_SHOWN = {"D_loss": "d_loss", "G_loss": "g_loss", "D(x)": "d_real", "D(G(z))": "d_fake"}
_CHUNK_SECONDS = 1.0  # a longer chunk would leave the progress bar, or a signal, waiting


def run(config: ConfigDict, directory: pathlib.Path | None, name: str) -> int:
    """Trains what a config says, from the start or from the directory's last checkpoint.

    Args:
      config: validated.
      directory: the run's; None makes runs/<name>/<n>.
      name: of the config.

    Returns:
      The exit status: 0 finished, 1 diverged, 128 + signal interrupted.

    Raises:
      InputError: data, device, config or directory do not fit; nothing was written.
    """
    if directory is not None and workdir.holds_finished(directory, config):
        print(f"{directory} holds this run, finished: nothing to do")
        return 0
    device.setup(config.accelerator, config.deterministic, data.cache_dir() / "xla")
    dataset = data.load(config.dataset, config.split, config.image_size)
    if directory is not None:
        workdir.check_data(directory, dataset.sha256)
    n, *shape = dataset.images.shape
    if n < config.batch_size:
        raise InputError(
            f"config.batch_size is {config.batch_size}, but {config.dataset} {config.split} has "
            f"only {n} examples"
        )
    game = config_lib.game(config, tuple(shape))
    directory = directory or workdir.next_run(name)
    with workdir.lock(directory), _signals() as received:
        print(directory, flush=True)
        try:
            workdir.save_config(directory, config)
            return _train(config, game, dataset, directory, received)
        except OSError as e:
            raise OSError(
                f"{e} (what was saved is whole: once this is mended, the same --workdir goes on)"
            ) from e


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that fills with the first SIGINT or SIGTERM; a second one ends the process at once."""
    received: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)

    def handler(number: int, _: Any) -> None:
        received.append(number)
        for kind in kinds:
            signal.signal(kind, signal.SIG_DFL)

    before = {kind: signal.signal(kind, handler) for kind in kinds}
    try:
        yield received
    finally:
        for kind, old in before.items():
            signal.signal(kind, old)


def _due(step: int, every: int, config: ConfigDict) -> bool:
    return step % every == 0 or step == config.num_steps


def _next_stop(step: int, config: ConfigDict) -> int:
    """The next iteration after which the host has something to do."""
    if step == 0:
        return 1  # the first iteration is logged, and tells how long compiling took
    every = config.log_every, config.metrics_every, config.sample_every, config.checkpoint_every
    return min(config.num_steps, *((step // n + 1) * n for n in every))


def _chunks(
    config: ConfigDict, game: Game, state: State, images: jax.Array
) -> Iterator[tuple[State, dict[str, Any]]]:
    """Trains to the end of the run, and yields at every stop and about once a second."""
    hparams = config_lib.hparams(config)
    step, longest = int(state.step), 1
    while step < config.num_steps:
        length = min(_next_stop(step, config) - step, longest)
        begun = time.perf_counter()
        state, info = algorithm.train_chunk(game, hparams, state, images, length)
        info = {name: value.item() for name, value in jax.device_get(info).items()}
        # At most doubled, as the time of a first chunk is mostly that of compiling.
        seconds = time.perf_counter() - begun
        longest = max(1, min(2 * longest, round(length * _CHUNK_SECONDS / seconds)))
        step += length
        yield state, info


def _not_finite(info: dict[str, float]) -> str | None:
    """The first quantity of a step that is infinite or not a number, if any."""
    return next((name for name, value in info.items() if not math.isfinite(value)), None)


def _train(
    config: ConfigDict,
    game: Game,
    dataset: data.Dataset,
    directory: pathlib.Path,
    received: list[int],
) -> int:
    init = jax.jit(functools.partial(algorithm.init, game, config_lib.hparams(config)))
    seed = np.uint32(config.seed)
    saved = checkpoint.restore_newest(directory / "checkpoints", jax.eval_shape(init, seed))
    state = init(seed) if saved is None else jax.device_put(saved)
    step = begin = int(state.step)
    record: dict[str, Any] = {
        "status": "running",
        "seed": config.seed,
        **workdir.provenance(),
        "dataset": {
            "name": config.dataset,
            "split": config.split,
            "shape": dataset.images.shape,
            "sha256": dataset.sha256,
        },
        "resumed_from": begin,
    }
    workdir.save_run(directory, record)
    board = TensorBoard(directory / "tensorboard", begin) if config.tensorboard else None
    key = algorithm.role_key(state.key, Role.NOISE_SAMPLE)
    noise = algorithm.sample_noise(game, key, math.prod(config.sample_grid))

    def write_samples() -> None:
        samples = np.asarray(algorithm.generate(game, state.g.params, noise))
        picture = plots.sample_picture(samples, *config.sample_grid)
        write_whole(directory / "samples" / f"step_{step:07}.png", plots.png(picture))
        if board:
            board.picture(step, picture)

    (directory / "samples").mkdir(exist_ok=True)
    if begin == 0:
        write_samples()
    metrics = MetricsWriter(
        directory / "metrics.jsonl",
        keep=lambda s: s <= begin and (s == 1 or _due(s, config.metrics_every, config)),
    )
    saver = checkpoint.Writer(directory / "checkpoints", config.keep_checkpoints)
    bar = tqdm(total=config.num_steps, initial=begin, unit="it", disable=None, dynamic_ncols=True)
    clock: list[tuple[float, int]] = []  # (time, step) at the end of the first and the last chunk
    with contextlib.closing(metrics), contextlib.closing(saver), contextlib.closing(bar):
        chunks = _chunks(config, game, state, jax.device_put(dataset.images))
        for state, info in chunks:
            step = info["step"]
            clock = [*clock[:1], (time.time(), step)]
            if quantity := _not_finite(info):
                record |= {"status": "diverged", "diverged": {"step": step, "in": quantity}}
                break
            bar.update(step - bar.n)
            bar.set_postfix({name: f"{info[key]:.3g}" for name, key in _SHOWN.items()})
            if step == 1 or _due(step, config.metrics_every, config):
                metrics.write(info)
                if board:
                    board.scalars(step, info)
            if step == 1 or _due(step, config.log_every, config):
                bar.write(f"Iter: {step} D_loss: {info['d_loss']:.4}, G_loss: {info['g_loss']:.4}")
            if _due(step, config.sample_every, config):
                write_samples()
            if received or _due(step, config.checkpoint_every, config):
                metrics.flush()
                saver.save(step, state, info.get(config.keep_best))
            if received:
                break
    if record["status"] == "running":
        record["status"] = "finished" if step == config.num_steps else "interrupted"
    players = {"d": state.d.params, "g": state.g.params}
    record |= {"step": step, "params_sha256": checkpoint.sha256(players)}
    if clock:
        (t0, s0), (t1, s1) = clock[0], clock[-1]
        record["seconds_to_first_step"] = round(t0 - psutil.Process().create_time(), 2)
        record["steps_per_second"] = round((s1 - s0) / (t1 - t0), 1) if s1 > s0 else None
    workdir.save_run(directory, record)
    return _close(config, directory, record, received)


def _close(
    config: ConfigDict, directory: pathlib.Path, record: dict[str, Any], received: list[int]
) -> int:
    """Draws the pictures of the whole run, says where things are, and returns the exit status."""
    step = record["step"]
    if record["status"] == "interrupted":
        print(f"Interrupted after iteration {step}, saved; the same --workdir goes on from there")
        return 128 + received[0]
    frames = sorted((directory / "samples").glob("step_*.png"))
    write_whole(directory / "samples.gif", plots.gif(frames))
    lines = read_metrics(directory / "metrics.jsonl")
    write_whole(directory / "curves.png", plots.curves(lines, f"{config.dataset}, {config.loss}"))
    if record["status"] == "diverged":
        at = record["diverged"]
        print(
            f"error: {at['in']} is not finite at iteration {at['step']}; the last checkpoint is "
            f"that of {max(checkpoint.steps(directory / 'checkpoints'), default=0)}",
            file=sys.stderr,
        )
        return 1
    speed = record.get("steps_per_second")
    print(f"Finished {step} iterations" + (f" at {speed} a second" if speed else ""))
    for name, path in (
        ("samples", frames[-1]),
        ("animation", directory / "samples.gif"),
        ("curves", directory / "curves.png"),
    ):
        print(f"  {name:<10} {path}")
    return 0
