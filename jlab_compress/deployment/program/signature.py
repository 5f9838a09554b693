"""What goes into a model: named tensors, which of their axes may vary, and the same at other sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jlab_compress.deployment.program.axes import BATCH, SEQUENCE, Axes, usual_axes
from jlab_compress.deployment.program.names import named_inputs, named_outputs
from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.calls import Call, mapped
from jlab_compress.execution.inputs import read_call
from jlab_compress.execution.isolation import copy_model, inference, undisturbed
from jlab_compress.execution.models import unwrapped

Arrays = dict[str, NDArray[Any]]
Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Signature:
    """An example call of a model, its tensors by name, and the names of the axes that may vary.

    Parameters
    ----------
    example : Call
        How the tensors are passed: what is no tensor in it is a constant of the graph.
    tensors : mapping of str to Tensor
        The tensors by name, in the order of the call.
    axes : mapping of str to mapping of int to str
        For each tensor, axis number to axis name; axes that are not named are fixed.
    taken : frozenset of str
        Names that outputs must not have: those of the inputs and of the model's own tensors.
    """

    example: Call
    tensors: Mapping[str, Tensor]
    axes: Axes
    taken: frozenset[str] = frozenset()

    @property
    def call(self) -> Call:
        """The inputs as one forward call."""
        return self.called_with(self.tensors.values())

    @property
    def flat(self) -> Signature:
        """The same tensors one after another, as a graph takes them."""
        return replace(self, example=Call(tuple(self.tensors.values())))

    @property
    def sizes(self) -> dict[str, int]:
        """The example's size along each named axis, the batch first."""
        named = [
            (axis, t.shape[i]) for name, t in self.tensors.items() for i, axis in self.axes[name].items()
        ]
        return dict(sorted(named, key=lambda pair: pair[0] != BATCH))

    def called_with(self, values: Iterable[Any]) -> Call:
        """Return the call with other values in the places of its tensors."""
        new = iter(values)
        args, kwargs = mapped((self.example.args, dict(self.example.kwargs)), lambda _: next(new))
        return Call(args, kwargs)

    def outputs(self, value: object) -> dict[str, Tensor]:
        """Return what the model returns as tensors by name; see `named_outputs`."""
        return named_outputs(value, self.taken)

    def feeds(self) -> Arrays:
        """Return the tensors as numpy arrays by name, as an inference runtime takes them."""
        return as_numpy(self.tensors)

    def resized(self, **sizes: int) -> Signature:
        """Return the inputs at other sizes of the named axes, by going round the example's entries."""
        tensors = dict(self.tensors)
        for name, tensor in self.tensors.items():
            for axis, label in self.axes[name].items():
                if label in sizes:
                    entries = torch.arange(sizes[label]) % tensor.shape[axis]
                    tensor = tensor.index_select(axis, entries)
            tensors[name] = tensor
        return replace(self, tensors=tensors)

    def padded(self) -> Signature | None:
        """Return the inputs with the later half of every odd row masked; None without a mask of 0 and 1."""
        tensors = dict(self.tensors)
        for name, tensor in self.tensors.items():
            if "mask" in name and tuple(self.axes[name].values()) == (BATCH, SEQUENCE):
                masked = tensor.clone()
                half = tensor.shape[1] // 2
                masked[1::2, half:] = (tensor[:1, :1] == 0).to(tensor.dtype)
                tensors[name] = masked
        changed = any(tensors[name] is not self.tensors[name] for name in tensors)
        return replace(self, tensors=tensors) if changed else None


def read_signature(model: nn.Module, example_inputs: object, axes: Axes | None = None) -> Signature:
    """Read example inputs into named tensors on the CPU and name the axes that may vary.

    Axis 0 of every tensor is "batch". Axis 1 is "sequence" for matrices of integers or booleans (token ids)
    and for those called a mask, with other tensors that are as long where the model runs so at another
    length; it is fixed where the model runs at no other. `axes` replaces this for the inputs that it names.

    Parameters
    ----------
    model : nn.Module
        Its `forward` names the positional inputs; it stays as it is.
    example_inputs : Tensor, tuple or mapping
        One input, positional inputs, or keyword inputs, each a tensor or tensors nested in tuples, lists,
        mappings and dataclasses; the batch holds at least 2 rows.
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
    model = unwrapped(model)
    call = _read_call(model, example_inputs)
    tensors = _tensors(model, call)
    if not tensors:
        raise TypeError(
            "example_inputs: expected at least one tensor and got none; pass what the model is called on"
        )
    unknown = sorted(set(axes or {}) - set(tensors))
    if unknown:
        raise ValueError(f"axes: no input is called {unknown[0]!r}; expected one of {', '.join(tensors)}")
    given = {name: dict(named) for name, named in (axes or {}).items()}
    signature = Signature(call, tensors, given, _own_names(model) | frozenset(tensors))
    *usual, last = (replace(signature, axes={**axes, **given}) for axes in usual_axes(tensors, given))
    tried = copy_model(model).cpu() if usual else model
    signature = next((each for each in usual if _runs_at_another_length(tried, each)), last)
    _check_axes(signature)
    return signature


def _read_call(model: nn.Module, example: object) -> Call:
    """Return the forward call that an example stands for."""
    try:
        call, cut = read_call(model, example)
    except TypeError as error:
        raise TypeError(f"example_inputs: {error}") from error
    if cut:
        raise ValueError(
            f"example_inputs: expected at most {len(call.args)} positional inputs, as the model's forward "
            "takes, got more; leave the targets out"
        )
    return call


def feeds_of(model: nn.Module, call: Call) -> Arrays:
    """Return the tensors of a call as numpy arrays by name, as `Signature.feeds`, for any number of rows."""
    return as_numpy(_tensors(unwrapped(model), call))


def _tensors(model: nn.Module, call: Call) -> dict[str, Tensor]:
    named = named_inputs(model, call, _own_names(model))
    return {name: tensor.detach().cpu() for name, tensor in named.items()}


def _own_names(model: nn.Module) -> frozenset[str]:
    return frozenset(name for name, _ in (*model.named_parameters(), *model.named_buffers()))


def _runs_at_another_length(model: nn.Module, signature: Signature) -> bool:
    """Return whether a copy of a model runs where what is called a sequence has another length."""
    length = signature.sizes[SEQUENCE]
    sized = signature.resized(**{SEQUENCE: length - 1 if length > 2 else length + 1})
    try:
        with undisturbed(model):
            sized.call(model)
    except Exception as error:
        raise_lack_of_memory(error)
        return False
    return True


def outputs_by_name(model: nn.Module, signature: Signature) -> dict[str, Tensor]:
    """Run a model on the example and return what it gives by name.

    Raises
    ------
    ValueError
        If the model does not run on the example.
    """
    with inference():
        try:
            value = signature.call(model)
        except Exception as error:
            raise_lack_of_memory(error)
            raise ValueError(
                f"example_inputs: expected inputs that the model runs on, it stopped with {in_words(error)}; "
                "pass a batch of the shape, type and names that its forward takes"
            ) from error
    return signature.outputs(value)


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
                    "with 1 the exporter freezes that axis, so pass two rows or more, or name the axes that "
                    "vary with axes="
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
    """Return tensors as numpy arrays under the same names; bfloat16, which numpy lacks, as float32."""
    known = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    return {name: np.asarray(t.float() if t.dtype == torch.bfloat16 else t) for name, t in known.items()}
