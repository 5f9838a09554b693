"""The errors that a caller can act on (every other fault is a ValueError or TypeError), and their wording."""

from __future__ import annotations


class UnsupportedBlockError(ValueError):
    """A block that was asked for cannot be compressed; the message says which and why."""


class RecombinationError(RuntimeError):
    """A reduced cloud does not keep the moments of the original one.

    Parameters
    ----------
    message : str
        What was reduced, what was expected and what to do next.
    residual : float
        The scaled moment residual that was reached, relative to the original moments.
    """

    def __init__(self, message: str, residual: float) -> None:
        super().__init__(message)
        self.residual = residual


class ExportMismatchError(RuntimeError):
    """An exported file is not what was promised (opset, names, axes, operators or parity)."""


def in_words(error: BaseException) -> str:
    """Return what someone else's error says, in one line of at most 200 characters.

    Examples
    --------
    >>> in_words(RuntimeError("shapes differ"))
    'RuntimeError: shapes differ'
    """
    first = next(iter(str(error).strip().splitlines()), "")
    text = f"{type(error).__name__}: {first}"
    return text if len(text) <= 200 else f"{text[:197]}..."
