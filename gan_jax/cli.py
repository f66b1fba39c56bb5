"""Command-line interface: argument parsing, exit statuses, one-line errors."""

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from gan_jax.errors import InputError, brief, check_utf8


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see --help)")


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser that raises InputError and has a module's docstring as its help."""
    return _Parser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def at_least(low: int) -> Callable[[str], int]:
    """An argparse type: an integer in [low, 2^32)."""

    def integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value < 2**32:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least {low}")
        return value

    return integer


def add_step(parser: argparse.ArgumentParser) -> None:
    """Adds --step=N or --step=best."""
    number = at_least(0)
    parser.add_argument(
        "--step",
        type=lambda text: text if text == "best" else number(text),
        help="checkpoint to use: an iteration, or best (by config.keep_best); default: newest",
    )


def run(main: Callable[[], int]) -> NoReturn:
    """Runs a command and exits.

    The status is the command's own; 2 for an InputError; 1 for an OSError (full disk, removed
    directory, broken pipe) or exhausted memory, each reported as one line; 128 + signal.
    """
    # A Python handler that raises while extension modules are imported can crash them. Until there
    # is something to save, a signal simply ends the process.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_streams()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("gan_jax").setLevel(logging.INFO)
    os.environ["MPLBACKEND"] = "agg"  # figures go to files; an unknown backend fails on import
    try:
        for text in (*sys.argv[1:], os.getcwd()):
            check_utf8(text)
        status = main()
    except InputError as e:
        status = _fail(str(e), 2)
    except OSError as e:
        status = _fail(str(e), 1)
    except (MemoryError, RuntimeError) as e:
        if isinstance(e, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(e):
            raise
        status = _fail(f"out of memory: {brief(e)}", 1)
    finally:
        signal.signal(signal.SIGINT, before)
    sys.exit(status)


def _fail(message: str, status: int) -> int:
    with contextlib.suppress(OSError):
        print("error:", " ".join(message.split()), file=sys.stderr)
    return status


def _open_streams() -> None:
    """Makes stdout and stderr accept any text, even if they were closed (`2>&-`)."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:  # or the next file that is opened becomes stderr
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "r+", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
