"""Writes a self-contained HTML page about a run or a sweep, finished or in progress.

python -m gan_jax.report --workdir=DIR [--out=FILE.html] [--watch]

The page holds the config, state, samples, curves, scores, nearest training images and provenance of
a run, or the ranking, curves, samples and members of a sweep. It loads nothing from elsewhere. FILE
is DIR/report.html by default, and is replaced. With --watch, it is written again whenever the run
has new results, until that ends, and reloads itself in the browser.
"""

import importlib.util
import pathlib
import time

from gan_jax import cli
from gan_jax.errors import InputError

_PACKAGES = ("jinja2", "vl_convert")  # of the extra
_POLL_SECONDS = 2


def _stamp(directory: pathlib.Path) -> list[tuple[str, int]]:
    """Names and modification times of the files that a report of an unfinished run reads."""
    names = ("run.json", "metrics.jsonl", "samples/*.png", "evaluation*.json", "units/*/result.npz")
    paths = sorted(path for name in names for path in directory.glob(name))
    return [(str(path), path.stat().st_mtime_ns) for path in paths]


def report(directory: pathlib.Path, out: pathlib.Path, watch: bool = False) -> None:
    """Writes the report of a run or a sweep.

    Args:
      directory: of the run or sweep.
      out: the file to write or replace.
      watch: write it again whenever there are new results, until the run ends.

    Raises:
      InputError: not a run or a sweep, a damaged file, or `out` cannot be such a file.
    """
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise InputError(f"a report needs {missing[0]}: pip install 'gan_jax[report]'")
    if not directory.is_dir():
        raise InputError(f"--workdir={directory} is not a directory")
    if out.suffix != ".html" or out.is_dir():
        raise InputError(f"--out={out} must be a file that ends in .html")
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out={out}: there is no directory {out.parent}")
    from gan_jax.reports import page, run, sweep
    from gan_jax.writers import write_whole

    make = sweep.report if (directory / "sweep.json").exists() else run.report
    written = None
    while True:
        if (stamp := _stamp(directory)) != written:
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
