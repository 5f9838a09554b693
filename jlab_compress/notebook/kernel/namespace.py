"""What is alive in a namespace: models, values that a cell can name, results.

Runs after every cell while the panel is open, so it only reads attributes that cost nothing: no
`repr`, no `str`, no `len` of a foreign object, no forward pass. Two surveys with equal `key` need
not be told twice.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from jlab_compress.report import Reported

HEAVY_MODULES, HEAVY_BYTES = 150, 200_000_000
HIDDEN = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open"})
WIDTHS = "_widths"
PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None), type, type(sys)})
_known: dict[int, tuple[weakref.ref[Any], Structure]] = {}
_NONE: dict[str, Any] = {}
class_name = type.__dict__["__name__"].__get__  # a metaclass cannot put its own code in between


@dataclass(frozen=True)
class Structure:
    """Size and shape of one model, read off its parameters; `key` changes whenever they do."""

    parameters: int
    bytes: int
    modules: int
    devices: frozenset[Any]
    dtypes: frozenset[Any]
    training: bool
    lazy: bool
    key: int

    @property
    def heavy(self) -> bool:
        """Whether finding blocks, which runs copies of the model, is a cell of its own."""
        return self.modules > HEAVY_MODULES or self.bytes > HEAVY_BYTES


@dataclass(frozen=True)
class Value:
    """A named thing that a cell can be given: calibration data, batches, a loss, a function."""

    kind: str
    shape: tuple[int, ...] = ()
    dtype: str = ""


@dataclass(frozen=True)
class Survey:
    """What one pass over a namespace found; `complete` is False where a cap stopped it."""

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
        In the order of the namespace. A module without parameters is no model; a loss module is a
        value.

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
        if issubclass(cls, torch.nn.Module):
            structure = structure_of(thing)
            if structure.parameters or structure.lazy:
                models.append((name, thing, structure))
            elif issubclass(cls, torch.nn.modules.loss._Loss):
                values.append((name, Value("loss")))
        elif issubclass(cls, Reported):
            results.append((name, cls.kind, thing))
        elif (value := value_of(thing, torch)) is not None:
            values.append((name, value))
        elif name.endswith(WIDTHS) and is_widths(thing):
            widths.append((name, dict(thing)))
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
        if type(thing) in PLAIN:
            continue
        if type(name) is str and not name.startswith("_") and name not in HIDDEN and name.isidentifier():
            yield name, thing


def is_widths(thing: Any) -> bool:
    """Whether a value is a plain dict of widths by block name, as `allocate_widths` returns it."""
    return type(thing) is dict and all(type(k) is str and type(v) is int for k, v in list(thing.items()))


def structure_of(model: Any) -> Structure:
    """Read sizes, devices and shapes of a module tree; shared parameters count once.

    What was read is kept until the tree's `shape_key` changes, so that a cell that changes no model costs
    one walk over names and shapes.
    """
    key = shape_key(model)
    known = _known.get(id(model))
    if known is not None and known[0]() is model and known[1].key == key:
        return known[1]
    tensors = list({id(t): t for m in model.modules() for t in own_parameters(m)}.values())
    lazy = [tensor for tensor in tensors if is_lazy(tensor)]
    real = [tensor for tensor in tensors if not is_lazy(tensor)]
    structure = Structure(
        parameters=sum(t.numel() for t in real),
        bytes=sum(t.numel() * t.element_size() for t in real),
        modules=sum(1 for _ in model.modules()),
        devices=frozenset(t.device for t in real),
        dtypes=frozenset(t.dtype for t in real),
        training=bool(model.__dict__.get("training", False)),
        lazy=bool(lazy),
        key=key,
    )
    for dead in [place for place, entry in _known.items() if entry[0]() is None]:
        del _known[dead]
    _known[id(model)] = (weakref.ref(model), structure)
    return structure


def shape_key(model: Any) -> int:
    """Return a number that changes with the tree's classes, names, parameters, shapes, dtype and device.

    Dtype and device are read off one parameter of each module, which is what `.to(...)` changes.
    """
    seen: set[int] = set()
    facts: list[Any] = [model.__dict__.get("training", False)]
    tell = facts.append
    stack = [model]
    while stack:
        module = stack.pop()
        place = id(module)
        if place in seen:
            continue
        seen.add(place)
        tell(type(module))
        attributes = module.__dict__
        tensor = None
        for tensor in (attributes.get("_parameters") or _NONE).values():
            if tensor is not None:
                try:
                    tell(tensor.shape)
                except RuntimeError:  # a lazy parameter
                    tell(type(tensor))
        if tensor is not None:
            tell(tensor.dtype)
            tell(tensor.device)
        children = attributes.get("_modules")
        if children:
            facts.extend(children)
            stack.extend(child for child in children.values() if child is not None)
    return hash(tuple(facts))


def own_parameters(module: Any) -> list[Any]:
    """Return a module's own parameters, without those of its children."""
    found = module.__dict__.get("_parameters")
    return [tensor for tensor in found.values() if tensor is not None] if found else []


def is_lazy(tensor: Any) -> bool:
    """Whether a parameter gets its shape at the first forward pass."""
    return type(tensor).__name__.startswith("Uninitialized")


def value_of(thing: Any, torch: Any) -> Value | None:
    """Say what a value may serve as, or None; only exact built-in containers are looked into."""
    cls = type(thing)
    if cls is torch.Tensor:
        return Value("tensor", tuple(thing.shape), _plain(thing.dtype))
    loader = sys.modules.get("torch.utils.data")
    if loader is not None and issubclass(cls, loader.DataLoader):
        return Value("batches")
    if cls is list and thing and type(thing[0]) in (torch.Tensor, tuple, dict):
        first = thing[0][0] if type(thing[0]) is tuple and thing[0] else thing[0]
        tensors = type(first) in (torch.Tensor, dict)
        return Value("batches", (len(thing),)) if tensors else None
    if cls is tuple and thing and all(type(item) is torch.Tensor for item in thing[:8]):
        return Value("tuple", (len(thing),))
    if cls is dict and thing and len(thing) <= 64 and all(type(v) is torch.Tensor for v in thing.values()):
        return Value("mapping", (len(thing),))
    return Value("function") if cls is FunctionType else None


def _plain(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
