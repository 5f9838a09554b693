"""Which modules hold a parameter, and which recorded calls read it, looked up once for a whole model."""

from __future__ import annotations

from collections import defaultdict

from torch import Tensor, nn

from jlab_compress.graph.trace import Operation, Trace


class Uses:
    """The holders and readers of each parameter of a recorded model.

    Parameters
    ----------
    model : nn.Module
        The model that was recorded, unchanged since then.
    trace : Trace
        Its record.

    Notes
    -----
    Cost: one pass over the modules and one over the record; each question is then one look-up.

    Examples
    --------
    >>> import torch
    >>> from jlab_compress.execution.calls import Call
    >>> from jlab_compress.graph.recorder import record
    >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> uses = Uses(net, record(net, Call((torch.ones(1, 3),))))
    >>> [name for name, _ in uses.holders(net[0].weight)], [o.name for o in uses.readers(net[0].weight)]
    (['0'], ['linear'])
    """

    def __init__(self, model: nn.Module, trace: Trace) -> None:
        self.model = model
        self.trace = trace
        self._holders: dict[int, list[tuple[str, nn.Module]]] = defaultdict(list)
        self._readers: dict[int, list[Operation]] = defaultdict(list)
        for name, module in model.named_modules():
            for parameter in {id(p) for p in module._parameters.values() if p is not None}:
                self._holders[parameter].append((name, module))
        named = dict(model.named_parameters(remove_duplicate=False))
        owned = {value: id(named[name]) for value, name in trace.parameters.items()}
        for operation in trace.operations:
            for parameter in {owned[value] for value in operation.inputs if value in owned}:
                self._readers[parameter].append(operation)

    def holders(self, parameter: Tensor) -> list[tuple[str, nn.Module]]:
        """Return the modules that hold a parameter themselves, with their dotted paths."""
        return self._holders.get(id(parameter), [])

    def readers(self, parameter: Tensor) -> list[Operation]:
        """Return the calls that read a parameter, in the order in which they ran."""
        return self._readers.get(id(parameter), [])
