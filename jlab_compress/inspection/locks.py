"""Why the units of a layer cannot be replaced, as far as the record of one run tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.execution.closeness import difference, tolerance
from jlab_compress.execution.models import is_plain
from jlab_compress.graph.op_names import ADDITIONS, AFFINE, FACTORS, PASSED
from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.graph.paths import Candidate
from jlab_compress.graph.pointwise import Pointwise, mixing_problem
from jlab_compress.graph.trace import Operation, Trace
from jlab_compress.graph.weights import input_value, owner_of
from jlab_compress.inspection.block import Block
from jlab_compress.slim.layers import is_linear, read_layer
from jlab_compress.slim.operators import NORMS, STATISTICS
from jlab_compress.slim.weighted import CONVOLUTIONS, is_conv


def lock_of(uses: Uses, group: Sequence[Candidate], incoming: tuple[str, ...], outgoing: str) -> str | None:
    """Return why the units of a candidate cannot be replaced, or None as far as the record tells.

    Parameters
    ----------
    uses : Uses
        The model that was recorded, with its record.
    group : sequence of Candidate
        All ways from the same units to another layer; more than one is a reason.
    incoming, outgoing : tuple of str, str
        The layers of the first way.
    """
    trace, candidate = uses.trace, group[0]
    for name in (*incoming, outgoing):
        problem = layer_problem(uses, name)
        if problem is not None:
            return problem
    if any(c.path.problem for c in group):
        return next(c.path.problem for c in group if c.path.problem)
    if len(group) > 1:
        names = ", ".join(dict.fromkeys(owner_of(trace, c.sink) for c in group))
        return f"its units are read by more than one layer ({names})"
    if len(set(incoming)) < len(incoming):
        return "the layer makes its units more than once"
    treating = treating_layers(trace, candidate)
    problem = next(filter(None, (_treating_problem(uses, name) for name in treating)), None)
    return problem or _escape(trace, candidate) or _adapter_problem(trace, candidate)


def _adapter_problem(trace: Trace, candidate: Candidate) -> str | None:
    """Return why the rank of an adapter such as LoRA's, two layers beside another one, is no width."""
    if any(trace.operations[step].name not in PASSED for step in candidate.steps):
        return None
    read = _unscaled(trace, input_value(trace.operations[candidate.sources[0]]))
    value, consumers = trace.operations[candidate.sink].outputs[0], trace.consumers
    while len(consumers.get(value, [])) == 1:
        operation = trace.operations[consumers[value][0]]
        if not operation.outputs:
            return None
        if operation.name in ADDITIONS:
            others = [trace.makers.get(_unscaled(trace, v)) for v in operation.inputs if v != value]
            beside = [i for i in others if i is not None and trace.operations[i].name in AFFINE]
            for index in beside:
                if _unscaled(trace, input_value(trace.operations[index])) == read:
                    base = owner_of(trace, index)
                    return (
                        f"its units are the rank of an adapter beside {base}, no width; merge it into {base}"
                    )
        elif not _scales(trace, operation):
            return None
        value = operation.outputs[0]
    return None


def _scales(trace: Trace, operation: Operation) -> bool:
    """Tell whether a call leaves a value as it is but for its shape, a dropout or one factor."""
    tensors = [v for v in operation.inputs if v not in trace.constants]
    return operation.name in PASSED or (operation.name in FACTORS and len(tensors) == 1)


def _unscaled(trace: Trace, value: int) -> int:
    """Return the value that another one is, but for what `_scales` tells."""
    while (index := trace.makers.get(value)) is not None and _scales(trace, trace.operations[index]):
        value = next(v for v in trace.operations[index].inputs if v not in trace.constants)
    return value


def treating_layers(trace: Trace, candidate: Candidate) -> tuple[str, ...]:
    """Return the dotted paths of the layers in between that have numbers of their own for each unit."""
    norm = () if candidate.path.norm is None else (candidate.path.norm,)
    return tuple(_holder(trace, index) for index in (*norm, *candidate.path.chain))


def _holder(trace: Trace, index: int) -> str:
    operation = trace.operations[index]
    owned = [trace.parameters[v] for v in operation.inputs if v in trace.parameters]
    return owned[0].rpartition(".")[0] if owned else operation.module


def _treating_problem(uses: Uses, name: str) -> str | None:
    module: Any = uses.model.get_submodule(name)
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return _norm_problem(uses, name)
    if type(module) not in CONVOLUTIONS or _computed(module) or module.padding_mode != "zeros":
        return foreign(name, module)
    used = uses.readers(module.weight)
    return None if len(used) == 1 else f"the depthwise convolution {name} is used more than once"


def _norm_problem(uses: Uses, name: str) -> str | None:
    norm: Any = uses.model.get_submodule(name)
    if type(norm) not in NORMS:
        return f"{name} is a {type(norm).__name__}, not a plain batch norm"
    if any(getattr(norm, name) is None for name in STATISTICS):
        return f"the batch norm {name} lacks a scale, a shift or running statistics"
    return None if len(uses.readers(norm.weight)) == 1 else f"the batch norm {name} is used more than once"


def layer_problem(uses: Uses, name: str) -> str | None:
    """Return why a layer's neurons cannot be replaced, or None; the name may be that of a bare parameter."""
    bare = bare_parameter(uses.model, name)
    if bare is not None:
        return _bare_problem(name, bare)
    module = uses.model.get_submodule(name)
    if not (is_linear(module) or is_conv(module)) or _computed(module):
        return foreign(name, module)
    if getattr(module, "input_multiplicities", None) is not None or hasattr(module, "output_multiplicities"):
        return f"{name} is already slim; compress the original model instead"
    weight: Any = module.weight
    if not is_plain(weight):
        kind = type(weight.data).__name__
        return f"{name} holds its weight as a {kind}; compress first, quantise or shard afterwards"
    for other, sibling in uses.holders(weight):
        if sibling is not module:
            return f"{name} shares its weight with {other}"
    calls = uses.readers(weight)
    if len(calls) > 1 and all(o.module == calls[0].module and o.name == calls[0].name for o in calls):
        return f"{name} runs {len(calls)} times in one forward call"
    if len(calls) != 1 or uses.model.get_submodule(calls[0].module) is not module:
        return f"the weight of {name} is also read outside its own forward"
    return None


def bare_parameter(model: nn.Module, name: str) -> Tensor | None:
    """Return the parameter of that dotted name, or None where it is the name of a module."""
    holder, _, key = name.rpartition(".")
    return model.get_submodule(holder)._parameters.get(key)


def _bare_problem(name: str, parameter: Tensor) -> str:
    if parameter.dim() > 2:
        return (
            f"{name} holds the weights of {parameter.shape[0]} experts or groups in one parameter, not in "
            "layers of their own, so its units cannot be replaced"
        )
    return f"{name} is a bare parameter, not the weight of an nn.Linear, so its units cannot be replaced"


def _computed(module: nn.Module) -> bool:
    """Return whether a layer's weight is computed from other parameters before each run."""
    names = ("weight_g", "weight_orig")
    return torch.nn.utils.parametrize.is_parametrized(module) or any(hasattr(module, n) for n in names)


def is_quantised(module: nn.Module) -> bool:
    """Return whether a module is a quantised linear or convolution layer of torch."""
    kind = type(module)
    return "quantized" in kind.__module__ and ("Linear" in kind.__name__ or "Conv" in kind.__name__)


def foreign(name: str, module: nn.Module) -> str:
    """Return why the neurons of a layer of another kind cannot be replaced."""
    kind = type(module).__name__
    if _computed(module):
        return f"the weight of {name} is computed by a parametrization (such as weight_norm); remove it first"
    if "quant" in type(module).__module__ or "bit" in kind.lower():
        return f"{name} is quantised; compress first, quantise afterwards"
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return f"{name} is recurrent: its units read one another at the next step, so they cannot be replaced"
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return f"{name} is a transposed convolution, whose channels cannot be replaced yet"
    if isinstance(module, nn.modules.conv._ConvNd):
        return f"{name} is a {kind} in groups or with a padding other than numbers of zeros"
    if not hasattr(module, "weight"):
        return f"{name or kind} computes a weight while it runs, so its units cannot be replaced"
    return f"{name} is a {kind}, not a plain nn.Linear, so its neurons cannot be told apart safely"


def _escape(trace: Trace, candidate: Candidate) -> str | None:
    inside = {*candidate.steps, candidate.sink}
    made = {v for s in (*candidate.sources, *candidate.steps) for v in trace.operations[s].outputs}
    for value in made:
        for index in trace.consumers.get(value, []):
            if index not in inside:
                return f"its hidden units are also read by `{trace.operations[index].name}`"
    return "its hidden units are among the model's outputs" if made & trace.results else None


def replay_problem(uses: Uses, candidate: Candidate, block: Block, between: Pointwise) -> str | None:
    """Return why what happens between a block's layers is not understood, or None where it is.

    It must treat each unit on its own; and where the block is a function of single rows, that function must
    give what the run gave. A run in training mode is not repeated: it draws, and it normalises by the batch.
    """
    trace = uses.trace
    if trace.training:
        return None
    source, sink = trace.operations[candidate.sources[0]], trace.operations[candidate.sink]
    problem = mixing_problem(between, block.width)
    if problem is not None or block.kind == "conv" or block.activation_only:
        return problem
    inputs, outputs = trace.snapshots[input_value(source)], trace.snapshots[sink.outputs[0]]
    expected = outputs.reshape(-1, outputs.shape[-1]).double()
    got = read_layer(uses.model, block, between)(inputs.reshape(-1, inputs.shape[-1]).double())
    if got.shape != expected.shape or difference([got], [expected]) > tolerance(outputs.dtype):
        return "what happens between its two layers could not be repeated from the recorded calls"
    return None
