"""What the commands share: flags in, one call out, errors as one line."""

import argparse
import logging
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from gan_jax.errors import InputError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (--help lists what there is)")


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose errors are InputErrors, with a module's docstring as its help."""
    return _Parser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def at_least(low: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to 2^32 - 1."""

    def integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value < 2**32:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} up")
        return value

    return integer


def add_step(parser: argparse.ArgumentParser) -> None:
    """Adds --step=N, or --step=best."""
    number = at_least(0)
    parser.add_argument(
        "--step",
        type=lambda text: text if text == "best" else number(text),
        help="of the checkpoint: a number, or best (by the config's keep_best); default: newest",
    )


def run(main: Callable[[], int]) -> NoReturn:
    """Runs a command and exits.

    The status is the command's own; 2, with one line, for what the user got wrong; 1, with one
    line, where the machine failed it (a full disk, a removed directory); 128 + signal.
    """
    # To raise from a handler while extension modules are being imported can crash them; until
    # there is something to save, a signal simply ends the process.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.stdout is not None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # for a log or pipe
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        status = main()
    except InputError as e:
        status = _fail(e, 2)
    except OSError as e:
        status = _fail(e, 1)
    finally:
        signal.signal(signal.SIGINT, before)
    sys.exit(status)


def _fail(error: Exception, status: int) -> int:
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    return status
