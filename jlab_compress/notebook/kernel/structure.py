"""Size and shape of a model, read off its parameters without running or importing anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LARGE_MODULES, LARGE_BYTES = 150, 200_000_000
_NONE: dict[str, Any] = {}


@dataclass(frozen=True)
class Structure:
    """Size and shape of one model; `key` changes whenever they do. `bytes` are those of buffers too."""

    parameters: int
    bytes: int
    modules: int
    devices: frozenset[Any]
    dtypes: frozenset[Any]
    training: bool
    lazy: bool
    key: int

    @property
    def large(self) -> bool:
        """Whether a search for blocks, which runs copies of the model, has to be asked for."""
        return self.modules > LARGE_MODULES or self.bytes > LARGE_BYTES


def read_structure(model: Any, key: int) -> Structure:
    """Read sizes, devices and kinds of numbers of a module tree; shared parameters count once."""
    tensors = list({id(t): t for m in model.modules() for t in own_parameters(m)}.values())
    lazy = [tensor for tensor in tensors if is_lazy(tensor)]
    real = [tensor for tensor in tensors if not is_lazy(tensor)]
    buffers = list({id(t): t for m in model.modules() for t in own_buffers(m)}.values())
    return Structure(
        parameters=sum(t.numel() for t in real),
        bytes=sum(t.numel() * t.element_size() for t in (*real, *buffers) if not is_lazy(t)),
        modules=sum(1 for _ in model.modules()),
        devices=frozenset(t.device for t in real),
        dtypes=frozenset(t.dtype for t in real),
        training=bool(model.__dict__.get("training", False)),
        lazy=bool(lazy),
        key=key,
    )


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


def own_buffers(module: Any) -> list[Any]:
    """Return a module's own buffers, without those of its children."""
    found = module.__dict__.get("_buffers")
    return [tensor for tensor in found.values() if tensor is not None] if found else []


def is_lazy(tensor: Any) -> bool:
    """Whether a parameter gets its shape at the first forward pass."""
    return type(tensor).__name__.startswith("Uninitialized")
