"""What the commands share: flags in, one call out, errors as one line."""

import argparse
import logging
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


def run(main: Callable[[], int]) -> NoReturn:
    """Runs a command and exits: its status, or 2 and one line for what the user got wrong."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # for a log or a pipe
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        status = main()
    except InputError as e:
        print("error:", " ".join(str(e).split()), file=sys.stderr)
        status = 2
    sys.exit(status)
