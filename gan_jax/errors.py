"""Errors that commands report as one line."""

import difflib
import os
import textwrap
from collections.abc import Iterable


class InputError(ValueError):
    """Invalid user input. The message is one line: cause and remedy. Commands exit with 2."""


def did_you_mean(
    name: str, known: Iterable[str], prefix: str = "", suffix: str = "", cutoff: float = 0.6
) -> str:
    """The end of a message, with the known name that is most like an unknown one; or nothing."""
    near = difflib.get_close_matches(name, list(known), 1, cutoff)
    return f"; did you mean {prefix}{near[0]}{suffix}?" if near else ""


def check_utf8(path: str | os.PathLike[str]) -> None:
    """Raises an InputError for a path that is not UTF-8, which JAX and TensorStore cannot take."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{os.fspath(path)!a} is not valid UTF-8: rename it") from None


def brief(error: BaseException) -> str:
    """A library's error as one line of bounded length."""
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {textwrap.shorten(first, 300)}"
