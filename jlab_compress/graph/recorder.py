"""Record what a model computes while it runs once: each torch call, its values and its module.

Works for any user code, since nothing is parsed or traced symbolically.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jlab_compress.execution.calls import Call, tensors_in
from jlab_compress.execution.capture import module_stack
from jlab_compress.graph.costs import mac_counter, macs_of
from jlab_compress.graph.op_names import AFFINE, VALUE_READS
from jlab_compress.graph.trace import Operation, Slot, Trace


class _Recorder(TorchFunctionMode):
    def __init__(self, model: nn.Module, stack: list[str]) -> None:
        super().__init__()
        self.counter = mac_counter()
        self.stack = stack
        self.operations: list[Operation] = []
        self.shapes: dict[int, torch.Size] = {}
        self.parameters: dict[int, str] = {}
        self.constants: dict[int, Tensor] = {}
        self.snapshots: dict[int, Tensor] = {}
        self._numbers: dict[int, int] = {}
        self._alive: list[Tensor] = []
        self._varying: set[int] = set()
        self._names = {id(p): name for name, p in reversed(list(model.named_parameters()))}

    def number(self, tensor: Tensor, *, new: bool = False, varying: bool = False) -> int:
        """Return the tensor's value number, assigning one where it is new.

        A varying value depends on the model's inputs.
        """
        if new or id(tensor) not in self._numbers:
            value = len(self.shapes)
            self._numbers[id(tensor)] = value
            self._alive.append(tensor)
            self.shapes[value] = tensor.shape
            if id(tensor) in self._names:
                self.parameters[value] = self._names[id(tensor)]
            elif varying:
                self._varying.add(value)
            if value not in self._varying and tensor.numel() == 1:
                self.constants[value] = tensor.detach().clone()
        return self._numbers[id(tensor)]

    def _slots(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return Slot(self.number(value))
        if isinstance(value, tuple | list):
            return tuple(self._slots(item) for item in value)
        if isinstance(value, dict):
            return {key: self._slots(item) for key, item in value.items()}
        return value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", type(func).__name__)
        slots, keywords = self._slots(tuple(args)), self._slots(dict(kwargs))
        given = tensors_in((tuple(args), dict(kwargs)))
        inputs = tuple(self.number(t) for t in given)
        affine = name in AFFINE
        if affine and inputs:
            for value, tensor in zip(inputs, given, strict=True):
                if value not in self.parameters:
                    self.snapshots.setdefault(value, tensor.detach().clone())
        before = macs_of(self.counter)
        out = func(*args, **kwargs)
        macs = macs_of(self.counter) - before
        made = [args[0]] if name == "__setitem__" else tensors_in(out)
        if not made and name not in VALUE_READS:
            return out
        in_place = any(t is given_one for t in made for given_one in given)
        varying = any(v in self._varying for v in inputs)
        outputs = tuple(self.number(t, new=True, varying=varying) for t in made)
        if affine:
            for value, tensor in zip(outputs, made, strict=True):
                self.snapshots[value] = tensor.detach().clone()
        self.operations.append(
            Operation(func, name, self.stack[-1], slots, keywords, inputs, outputs, in_place, macs)
        )
        return out


def record(model: nn.Module, call: Call, *, training: bool = False) -> Trace:
    """Run a model once and return what it computed.

    Parameters
    ----------
    model : nn.Module
        Pass a copy: hooks are put on its modules and removed afterwards. Being recorded keeps
        `nn.TransformerEncoderLayer` off its fast path, so all its layers show.
    call : Call
        The arguments of the run; a few rows are enough, since every tensor is kept until the end.
    training : bool
        Whether the model is in training mode, as the caller has set it.

    Returns
    -------
    Trace
        The calls in order, with the module in which each ran.
    """
    own = call.copied()
    with module_stack(model) as stack:
        recorder = _Recorder(model, stack)
        for tensor in own.tensors:
            recorder.number(tensor, varying=True)
        with torch.no_grad(), recorder.counter, recorder:
            result = own.hand_to(model)
    results = frozenset(recorder.number(t) for t in tensors_in(result))
    return Trace(
        operations=tuple(recorder.operations),
        shapes=recorder.shapes,
        parameters=recorder.parameters,
        constants=recorder.constants,
        snapshots=recorder.snapshots,
        results=results,
        rows=call.rows,
        training=training,
    )
