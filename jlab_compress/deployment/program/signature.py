"""What goes into a model: named tensors, which of their axes may vary, and the same at other sizes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jlab_compress.deployment.program.axes import BATCH, SEQUENCE
from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.calls import Call, leaves_in
from jlab_compress.execution.inputs import read_call
from jlab_compress.execution.isolation import inference

Axes = Mapping[str, Mapping[int, str]]
Arrays = dict[str, NDArray[Any]]
Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Signature:
    """Example inputs of a model in the order of its call, with the names of the axes that may vary.

    Parameters
    ----------
    values : mapping of str to Tensor or constant
        Positional inputs first, then keyword inputs; a value that is no tensor is a constant of the graph.
    n_positional : int
        How many of `values` are passed by position.
    axes : mapping of str to mapping of int to str
        For each tensor, axis number to axis name; axes that are not named are fixed.
    """

    values: Mapping[str, Any]
    n_positional: int
    axes: Axes

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional inputs."""
        return tuple(self.values.values())[: self.n_positional]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword inputs."""
        return dict(list(self.values.items())[self.n_positional :])

    @property
    def call(self) -> Call:
        """The inputs as one forward call."""
        return Call(self.args, self.kwargs)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The inputs that are tensors, by name."""
        return {name: value for name, value in self.values.items() if isinstance(value, Tensor)}

    @property
    def sizes(self) -> dict[str, int]:
        """The example's size along each named axis, the batch first."""
        named = [
            (axis, t.shape[i]) for name, t in self.tensors.items() for i, axis in self.axes[name].items()
        ]
        return dict(sorted(named, key=lambda pair: pair[0] != BATCH))

    def feeds(self) -> Arrays:
        """Return the tensors as numpy arrays by name, as an inference runtime takes them."""
        return {name: tensor.numpy() for name, tensor in self.tensors.items()}

    def resized(self, **sizes: int) -> Signature:
        """Return the inputs at other sizes of the named axes, by going round the example's entries."""
        values = dict(self.values)
        for name, tensor in self.tensors.items():
            for axis, label in self.axes[name].items():
                if label in sizes:
                    entries = torch.arange(sizes[label]) % tensor.shape[axis]
                    tensor = tensor.index_select(axis, entries)
            values[name] = tensor
        return replace(self, values=values)

    def padded(self) -> Signature | None:
        """Return the inputs with the later half of every odd row masked; None without a mask of 0 and 1."""
        values = dict(self.values)
        for name, tensor in self.tensors.items():
            if "mask" in name and tuple(self.axes[name].values()) == (BATCH, SEQUENCE):
                masked = tensor.clone()
                half = tensor.shape[1] // 2
                masked[1::2, half:] = (tensor[:1, :1] == 0).to(tensor.dtype)
                values[name] = masked
        changed = any(values[name] is not self.values[name] for name in values)
        return replace(self, values=values) if changed else None


def read_signature(model: nn.Module, example_inputs: object, axes: Axes | None = None) -> Signature:
    """Read example inputs into named tensors on the CPU and name the axes that may vary.

    Axis 0 of every tensor is "batch"; axis 1 of a matrix of integers or booleans (token ids, masks) is
    "sequence". `axes` replaces this for the inputs that it names.

    Parameters
    ----------
    model : nn.Module
        Its `forward` names the positional inputs.
    example_inputs : Tensor, tuple or mapping
        One input, positional inputs, or keyword inputs; the batch holds at least 2 rows.
    axes : mapping of str to mapping of int to str, optional
        For example ``{"image": {0: "batch", 2: "height", 3: "width"}}``.

    Raises
    ------
    TypeError
        If the example is neither tensor, tuple nor mapping, or holds no tensor.
    ValueError
        If names, axes or sizes do not fit; a varying axis must be at least 2 long in the example.

    Examples
    --------
    >>> read_signature(nn.Linear(3, 1), torch.ones(4, 3)).axes
    {'input': {0: 'batch'}}
    """
    values, n_positional = _named_values(model, example_inputs)
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    if not tensors:
        raise TypeError(
            "example_inputs: expected at least one tensor and got none; pass what the model is called on"
        )
    unknown = sorted(set(axes or {}) - set(tensors))
    if unknown:
        raise ValueError(f"axes: no input is called {unknown[0]!r}; expected one of {', '.join(tensors)}")
    named = {name: dict((axes or {}).get(name, _usual_axes(tensor))) for name, tensor in tensors.items()}
    values = {name: value.detach().cpu() if name in tensors else value for name, value in values.items()}
    signature = Signature(values, n_positional, named)
    _check_axes(signature)
    return signature


def outputs_by_name(model: nn.Module, signature: Signature) -> dict[str, Tensor]:
    """Run a model on the example and return what it gives as `named_outputs` does.

    Raises
    ------
    ValueError
        If the model does not run on the example.
    """
    with inference():
        try:
            value = signature.call(model)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise_lack_of_memory(error)
            raise ValueError(
                f"example_inputs: expected inputs that the model runs on, it stopped with {in_words(error)}; "
                "pass a batch of the shape, type and names that its forward takes"
            ) from error
    return named_outputs(value)


def named_outputs(value: object) -> dict[str, Tensor]:
    """Return a model's output as tensors by name: its keys where it has some, else "output" and a number.

    Raises
    ------
    TypeError
        If the output holds something that is neither tensor, tuple, list, mapping nor None.

    Examples
    --------
    >>> list(named_outputs({"logits": torch.zeros(1), "states": (torch.zeros(1), None)}))
    ['logits', 'states_0']
    """
    found: dict[str, Tensor] = {}
    for path, item in leaves_in(value):
        numbered = not path or isinstance(path[0], int)
        name = "_".join(map(str, ("output", *path) if numbered else path))
        if isinstance(item, Tensor):
            found[name] = item
        elif item is not None:
            raise TypeError(
                f"model: output {name} is a {type(item).__name__}, expected tensors in tuples or mappings; "
                "switch it off (for a cache: use_cache=False) or wrap the model"
            )
    if not found:
        raise TypeError("model: its output holds no tensor; export a model that returns at least one")
    return found


def _named_values(model: nn.Module, example: object) -> tuple[dict[str, Any], int]:
    """Return the values of one forward call by name, positional ones first, and how many these are."""
    try:
        call, cut = read_call(model, example)
    except TypeError as error:
        raise TypeError(f"example_inputs: {error}") from error
    if cut:
        raise ValueError(
            f"example_inputs: expected at most {len(call.args)} positional inputs, as the model's forward "
            "takes, got more; leave the targets out"
        )
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in inspect.signature(model.forward).parameters.values() if p.kind in kinds]
    names += [f"input_{i}" for i in range(len(names), len(call.args))]
    named = dict(zip(names, call.args, strict=False))
    return named | {str(name): value for name, value in call.kwargs.items()}, len(call.args)


def _usual_axes(tensor: Tensor) -> dict[int, str]:
    if tensor.dim() == 0:
        return {}
    discrete = not (tensor.is_floating_point() or tensor.is_complex())
    return {0: BATCH, 1: SEQUENCE} if discrete and tensor.dim() == 2 else {0: BATCH}


def _check_axes(signature: Signature) -> None:
    seen: dict[str, tuple[str, int]] = {}
    for name, tensor in signature.tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all() and "mask" not in name:
            raise ValueError(f"example_inputs: {name!r} holds NaN or infinite values; pass finite ones")
        for axis, label in signature.axes[name].items():
            if not 0 <= axis < tensor.dim():
                raise ValueError(
                    f"axes: input {name!r} has {tensor.dim()} axes, got axis {axis}; name one it has"
                )
            if not label.isidentifier():
                raise ValueError(f"axes: {label!r} names no axis; use letters, digits and underscores")
            size = tensor.shape[axis]
            if size < 2:
                raise ValueError(
                    f"example_inputs: axis {axis} ({label}) of {name!r} is {size} long, expected at least 2; "
                    "with 1 the exporter freezes that axis, so pass two rows or more"
                )
            other, before = seen.setdefault(label, (name, size))
            if size != before:
                raise ValueError(
                    f"example_inputs: axis {label!r} is {before} long in {other!r} and {size} in {name!r}; "
                    "pass one size, or give the axes different names with axes="
                )
    if not any(BATCH in named.values() for named in signature.axes.values()):
        raise ValueError('axes: no axis is called "batch"; name the axis along which examples are stacked')


def as_numpy(tensors: Mapping[str, Tensor]) -> Arrays:
    """Return tensors as numpy arrays under the same names."""
    return {name: np.asarray(tensor.detach().cpu()) for name, tensor in tensors.items()}
