"""The one exception that means: what came from outside is wrong, and here is the way out."""


class InputError(ValueError):
    """Bad input from outside, said in one line that names the file, the value and the way out.

    The command line prints it without a traceback and exits with status 2.
    """


class UnavailableError(InputError):
    """A part that cannot be had here (weights that are not on this machine, images too small for a measure)."""
