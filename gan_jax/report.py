"""Writes a self-contained HTML report of a run or a sweep, finished or in progress.

python -m gan_jax.report --workdir=DIR [--out=FILE.html] [--watch]

A run's report shows config, samples, curves, scores, nearest training images and provenance; a
sweep's shows ranking, curves, samples and members. It loads no external resources. FILE defaults to
DIR/report.html and is overwritten. With --watch, the report is updated, and reloads in the browser,
until the run ends.
"""

import pathlib
import time

from gan_jax import cli
from gan_jax.errors import InputError
from gan_jax.extras import require

_POLL_SECONDS = 2


def _modified(directory: pathlib.Path) -> list[tuple[str, int]]:
    """Paths and modification times of the files that the report of an unfinished run reads."""
    names = ("run.json", "metrics.jsonl", "samples/*.png", "evaluation*.json", "units/*/result.npz")
    paths = sorted(path for name in names for path in directory.glob(name))
    return [(str(path), path.stat().st_mtime_ns) for path in paths]


def report(directory: pathlib.Path, out: pathlib.Path, watch: bool = False) -> None:
    """Writes the report of a run or a sweep.

    Args:
      directory: of the run or sweep.
      out: the file to write or replace.
      watch: update it whenever there are new results, until the run ends.

    Raises:
      InputError: not a run or a sweep, a damaged file, or an invalid `out`.
    """
    require("gan_jax.report", "report")
    if not directory.is_dir():
        raise InputError(f"--workdir={directory} is not a directory")
    from gan_jax import workdir
    from gan_jax.reports import page, run, sweep
    from gan_jax.writers import check_new, write_whole

    check_new(out, ".html", replace=True)

    make = sweep.report if (directory / "sweep.json").exists() else run.report
    written = None
    while True:
        # A killed run releases its lock without changing a file.
        if (stamp := (workdir.is_locked(directory), _modified(directory))) != written:
            found = make(directory)
            running = found.status == "running"
            write_whole(out, page.html(found, directory, reload=watch and running))
            print(f"{out}: {found.status}, {found.state}", flush=True)
            written = stamp
        if not (watch and running):
            return
        time.sleep(_POLL_SECONDS)


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--workdir", type=pathlib.Path, required=True, help="directory of the run or sweep"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, help="the .html to write; default: report.html in it"
    )
    parser.add_argument("--watch", action="store_true", help="update it until the run ends")
    args = parser.parse_args()
    report(args.workdir, args.out or args.workdir / "report.html", args.watch)
    return 0


if __name__ == "__main__":
    cli.run(main)
