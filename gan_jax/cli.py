"""What the commands share: flags in, one call out, errors as one line."""

import argparse
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


def run(main: Callable[[], int]) -> NoReturn:
    """Runs a command and exits: its status, or 2 and one line for what the user got wrong."""
    try:
        status = main()
    except InputError as e:
        print("error:", " ".join(str(e).split()), file=sys.stderr)
        status = 2
    sys.exit(status)
