"""A kind of block that the package does not know, as another package would add it: waves of a sine layer."""

import torch
from torch import nn

from jlab_compress.inspection.block import Block
from jlab_compress.inspection.kinds import Kind
from jlab_compress.slim.operators import units_of
from jlab_compress.slim.units import Operator, tensor_of
from jlab_compress.slim.weighted import WeightedLayer, weigh


class Sines(nn.Module):
    """sin(x F + p), with frequencies and a phase for every wave."""

    def __init__(self, n_in, waves):
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(n_in, waves))
        self.phases, self.waves = nn.Parameter(torch.rand(waves)), waves

    def forward(self, x):
        return torch.sin(x @ self.frequencies + self.phases)


class WeightedSines(WeightedLayer, Sines):
    """The same for waves with multiplicities."""

    def forward(self, x):
        counts = self.output_multiplicities
        return torch.sin(x @ weigh(self.frequencies, None, counts) + weigh(self.phases, None, counts))


def sizes(sines):
    return {"waves": len(sines.phases)}


SINES = Operator(Sines, WeightedSines, makes={"frequencies": 1, "phases": 0}, sizes=sizes)


def find_waves(uses, taken):
    """Return each sine layer, with the linear layer behind it."""
    found, run = {}, uses.trace.operations
    for index, operation in enumerate(run):
        name, module = operation.module, uses.model.get_submodule(operation.module)
        if operation.name == "sin" and isinstance(module, Sines):
            reader = next(later.module for later in run[index:] if later.name == "linear")
            units = units_of(uses.model, (name,), reader, module.waves, more=(SINES,))
            size = sum(tensor_of(uses.model, unit).numel() for unit in units)
            sizes = module.waves, size // module.waves, size
            found[index] = Block(name, "waves", units, *sizes, None, noun="waves", activation_only=True)
    return found


WAVES = Kind(find_waves, (SINES,))
