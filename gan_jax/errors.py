"""The one error that is the user's to mend."""


class InputError(ValueError):
    """A mistake in what the user gave: commands print it as one line and exit with status 2."""
