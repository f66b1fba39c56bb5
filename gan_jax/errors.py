"""The one error that is the user's to mend."""

import textwrap


class InputError(ValueError):
    """A mistake in what the user gave: commands print it as one line and exit with status 2."""


def brief(error: BaseException) -> str:
    """An error of a library as one line of bounded length."""
    first = (str(error).strip() or "no reason given").splitlines()[0]
    return f"{type(error).__name__}: {textwrap.shorten(first, 300)}"
