"""The errors that a caller can act on (every other fault is a ValueError or TypeError), and their wording."""

from __future__ import annotations

_LACKS = ("can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc", "bad allocation")


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


def lacks_memory(error: BaseException) -> bool:
    """Tell whether memory ran out; torch has a class of its own for GPUs and plain RuntimeErrors elsewhere.

    Examples
    --------
    >>> lacks_memory(MemoryError()), lacks_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    (True, True)
    """
    names, text = {kind.__name__ for kind in type(error).__mro__}, str(error).lower()
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or any(words in text for words in _LACKS)


def raise_lack_of_memory(error: BaseException) -> None:
    """Raise an error again if memory ran out, which says nothing about the model or the call at hand.

    Whoever turns any error into a finding calls this first.

    Examples
    --------
    >>> raise_lack_of_memory(RuntimeError("shapes differ"))
    """
    if lacks_memory(error):
        raise error
