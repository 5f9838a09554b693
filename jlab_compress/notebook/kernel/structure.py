"""Size and shape of a model, read off its parameters without running or importing anything.

What a class of the user defines is not asked: a model is walked by what torch keeps in each module, classes
are told apart by identity, and a tensor is read as torch itself would read it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

LARGE_MODULES, LARGE_BYTES = 150, 200_000_000
class_name = type.__dict__["__name__"].__get__  # a metaclass cannot put its own code in between


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
    modules = modules_of(model)
    tensors = list({id(t): t for m in modules for t in own_parameters(m)}.values())
    lazy = [tensor for tensor in tensors if is_lazy(tensor)]
    real = [tensor for tensor in tensors if not is_lazy(tensor)]
    buffers = list({id(t): t for m in modules for t in own_buffers(m)}.values())
    plain = _plain_tensor()
    return Structure(
        parameters=sum(plain.numel(t) for t in real),
        bytes=sum(plain.numel(t) * plain.element_size(t) for t in (*real, *buffers) if not is_lazy(t)),
        modules=len(modules),
        devices=frozenset(plain.device.__get__(t) for t in real),
        dtypes=frozenset(plain.dtype.__get__(t) for t in real),
        training=attributes_of(model).get("training") is True,
        lazy=bool(lazy),
        key=key,
    )


def as_torch() -> Any:
    """Return a context in which no subclass of tensors is asked."""
    return sys.modules["torch"]._C.DisableTorchFunctionSubclass()


def shape_key(model: Any) -> int:
    """Return a number that changes with the tree's classes, names, parameters, shapes, dtype and device.

    Dtype and device are read off one parameter of each module, which is what `.to(...)` changes.
    """
    torch = sys.modules["torch"]
    attributes = torch.nn.Module.__dict__["__dict__"].__get__
    plain = torch._C.TensorBase
    shape, dtype, device = plain.shape.__get__, plain.dtype.__get__, plain.device.__get__
    facts: list[Any] = [attributes(model).get("training") is True]
    tell = facts.append
    seen: set[int] = set()
    stack = [model]
    while stack:
        module = stack.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        tell(id(type(module)))
        found = attributes(module)
        tensor = None
        for tensor in _values(found.get("_parameters")):
            tell(id(type(tensor)))
            tell(shape(tensor))
        if tensor is not None:
            tell(dtype(tensor))
            tell(device(tensor))
        children = found.get("_modules")
        if children:
            facts.extend(children)
            stack.extend(_values(children))
    return hash(tuple(facts))


def modules_of(model: Any) -> list[Any]:
    """Return each module of a tree once."""
    found: dict[int, Any] = {}
    stack = [model]
    while stack:
        module = stack.pop()
        if id(module) not in found:
            found[id(module)] = module
            stack.extend(_values(attributes_of(module).get("_modules")))
    return list(found.values())


def module_at(model: Any, path: str) -> Any | None:
    """Return the module of a dotted path, or None."""
    for name in path.split(".") if path else ():
        children: Any = attributes_of(model).get("_modules")
        model = dict.get(children, name) if issubclass(type(children), dict) else None
        if model is None:
            break
    return model


def own_parameters(module: Any) -> list[Any]:
    """Return a module's own parameters, without those of its children."""
    return _values(attributes_of(module).get("_parameters"))


def own_buffers(module: Any) -> list[Any]:
    """Return a module's own buffers, without those of its children."""
    return _values(attributes_of(module).get("_buffers"))


def is_lazy(tensor: Any) -> bool:
    """Whether a parameter gets its shape at the first forward pass."""
    return str(class_name(type(tensor))).startswith("Uninitialized")


def _values(kept: Any) -> list[Any]:
    """Return what torch keeps in a dictionary of a module, without what is None."""
    known = type(kept) is dict or issubclass(type(kept), dict)
    return [value for value in dict.values(kept) if value is not None] if known else []


def attributes_of(module: Any) -> dict[str, Any]:
    """Return a module's attributes, past a `__dict__` or `__getattribute__` of its class."""
    found: dict[str, Any] = sys.modules["torch"].nn.Module.__dict__["__dict__"].__get__(module)
    return found


def _plain_tensor() -> Any:
    """Return the class whose members read a tensor past what a subclass makes of them, under `as_torch`."""
    return sys.modules["torch"]._C.TensorBase
