"""What is alive in a namespace: models, values that a cell can name, results.

Runs after every cell while the panel is open, so it only reads attributes that cost nothing: no
`repr`, no `str`, no `len` of a foreign object, no forward pass. Two surveys with equal `key` need
not be told twice.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from jlab_compress.notebook.kernel.block_cache import structure_of
from jlab_compress.notebook.kernel.structure import Structure
from jlab_compress.report import Reported

HIDDEN = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open"})
WIDTHS = "_widths"
# Classes are compared by identity: the class of a class may say for itself what it is equal to.
PLAIN = frozenset(map(id, (int, float, complex, bool, str, bytes, type(None), type, type(sys))))


@dataclass(frozen=True)
class Value:
    """A named thing that a cell can be given: calibration data, batches, a loss, a function."""

    kind: str
    shape: tuple[int, ...] = ()
    dtype: str = ""


@dataclass(frozen=True)
class Survey:
    """What one pass over a namespace found; `complete` is False where a name was left out."""

    torch: bool
    models: tuple[tuple[str, Any, Structure], ...] = ()
    values: tuple[tuple[str, Value], ...] = ()
    results: tuple[tuple[str, str, Any], ...] = ()
    widths: tuple[tuple[str, dict[str, int]], ...] = ()
    complete: bool = True

    @property
    def key(self) -> int:
        """Equal for two surveys of the same objects in the same shapes, within one process."""
        models = tuple((name, id(model), structure.key) for name, model, structure in self.models)
        results = tuple((name, id(value)) for name, _, value in self.results)
        widths = tuple((name, *plan.items()) for name, plan in self.widths)
        return hash((self.torch, models, self.values, results, widths, self.complete))


def survey(namespace: Mapping[str, Any], *, seconds: float = 0.05, rows: int = 5000) -> Survey:
    """Look once over the user's names, for at most `seconds` and `rows` names of interest.

    Parameters
    ----------
    namespace : mapping
        The user's names; those with a leading underscore and IPython's own are left out.
    seconds : float
        Time of this thread after which the rest is left unread and `complete` is False.
    rows : int
        Greatest number of models, values and results together.

    Returns
    -------
    Survey
        In the order of the namespace, without a name that cannot be read; then `complete` is False. A module
        without parameters is no model; a loss module is a value.

    Examples
    --------
    >>> import torch
    >>> found = survey({"net": torch.nn.Linear(2, 3), "_hidden": torch.nn.Linear(2, 3)})
    >>> [(name, structure.parameters) for name, _, structure in found.models]
    [('net', 9)]
    """
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "nn") or not hasattr(torch.nn, "Module"):
        return Survey(torch=False)
    deadline = time.thread_time() + seconds
    models: list[tuple[str, Any, Structure]] = []
    values: list[tuple[str, Value]] = []
    results: list[tuple[str, str, Any]] = []
    widths: list[tuple[str, dict[str, int]]] = []
    complete = True
    for name, thing in _items(namespace):
        cls = type(thing)
        if len(models) + len(values) + len(results) >= rows or time.thread_time() > deadline:
            complete = False
            break
        try:
            if issubclass(cls, torch.nn.Module):
                structure = structure_of(thing)
                if structure.parameters or structure.lazy:
                    models.append((name, thing, structure))
                elif issubclass(cls, torch.nn.modules.loss._Loss):  # torch has no public name for its losses
                    values.append((name, Value("loss")))
            elif issubclass(cls, Reported):
                results.append((name, str(cls.kind), thing))
            elif (value := value_of(thing, torch)) is not None:
                values.append((name, value))
            elif name.endswith(WIDTHS) and is_widths(thing):
                widths.append((name, dict(thing)))
        except Exception:  # an object that is not what its class says; the other names are read all the same
            complete = False
    return Survey(True, tuple(models), tuple(values), tuple(results), tuple(widths), complete)


def _items(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for _ in range(3):
        try:
            found = list(namespace.items())
            break
        except RuntimeError:  # another thread changed the dict while it was copied
            continue
    else:
        return
    for name, thing in found:
        if id(type(thing)) not in PLAIN and is_offered(name):
            yield name, thing


def is_offered(name: Any) -> bool:
    """Whether a name of the namespace is the user's own and not hidden, so that a panel may mean it."""
    return type(name) is str and not name.startswith("_") and name not in HIDDEN and name.isidentifier()


def is_widths(thing: Any) -> bool:
    """Whether a value is a plain dict of widths by block name, as `allocate_widths` returns it."""
    return type(thing) is dict and all(type(k) is str and type(v) is int for k, v in list(thing.items()))


def value_of(thing: Any, torch: Any) -> Value | None:
    """Say what a value may serve as, or None; only exact built-in containers are looked into."""
    cls = type(thing)
    if cls is torch.Tensor:
        return Value("tensor", tuple(thing.shape), _plain(thing.dtype))
    loader = sys.modules.get("torch.utils.data")
    if loader is not None and issubclass(cls, loader.DataLoader):
        return Value("batches")
    if cls is list and thing:
        first = thing[0][0] if type(thing[0]) is tuple and thing[0] else thing[0]
        tensors = type(first) is torch.Tensor or type(first) is dict
        return Value("batches", (len(thing),)) if tensors else None
    if cls is tuple and thing and all(type(item) is torch.Tensor for item in thing[:8]):
        return Value("tuple", (len(thing),))
    if cls is dict and thing and len(thing) <= 64 and all(type(v) is torch.Tensor for v in thing.values()):
        return Value("mapping", (len(thing),))
    return Value("function") if cls is FunctionType else None


def _plain(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
