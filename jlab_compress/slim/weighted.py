"""Layers that keep one neuron in place of c equal ones.

They compute with c times the outgoing weight and divide the gradients that reach a neuron's weights by c,
so each parameter moves as each of the c copies would have moved, under any optimizer and without any
change of the training loop (Wang, Luo, Poggio, Chuang, Ziyin 2026, section on learning dynamics).
"""

from __future__ import annotations

from typing import Any, Self, cast
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Weigh(torch.autograd.Function):
    """Multiply columns by their multiplicities; divide row gradients by theirs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, columns: Tensor | None, rows: Tensor | None) -> Tensor:
        return weight.clone() if columns is None else weight * columns

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | None, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        return (gradients[0] if rows is None else gradients[0] / rows), None, None


def weigh(weight: Tensor, columns: Tensor | None, rows: Tensor | None) -> Tensor:
    """Return the weight that a slim layer computes with.

    The gradient that arrives belongs to c equal incoming columns at once, in the mean form that each copy
    sees, and to the sum over c equal rows; so it passes the columns as it is and is divided for the rows.

    Parameters
    ----------
    weight : Tensor, (out, in) or (out,)
        One copy of each weight.
    columns : Tensor (in,) or None
        Multiplicities of the neurons that the layer reads; multiplied in forward.
    rows : Tensor, broadcastable to `weight`, or None
        Multiplicities of the neurons that the layer makes; divide the gradient in backward.

    Examples
    --------
    >>> w = torch.ones(2, 2, requires_grad=True)
    >>> weigh(w, torch.tensor([3.0, 1.0]), torch.tensor([[2.0], [1.0]])).sum().backward()
    >>> w.grad.tolist()
    [[0.5, 0.5], [1.0, 1.0]]
    """
    return cast(Tensor, _Weigh.apply(weight, columns, rows))  # type: ignore[no-untyped-call]


def along(counts: Tensor | None, axis: int, like: Tensor) -> Tensor | None:
    """Return multiplicities shaped so that they run along one axis of a tensor."""
    return None if counts is None else counts.view([-1 if a == axis else 1 for a in range(like.dim())])


class WeightedLayer(nn.Module):
    """What slim layers share: two buffers of multiplicities and the weights they give.

    The buffers are `input_multiplicities`, (in,) or None, for the neurons that the layer reads, and
    `output_multiplicities`, (out,) or None, for the neurons that it makes. They are constant, saved in the
    state dict and move with `.to`; a layer between two slimmed blocks has both.
    """

    weight: Any
    bias: Any
    input_multiplicities: Tensor | None
    output_multiplicities: Tensor | None

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Remember the layer while it lives, also where it is copied or unpickled."""
        layer = super().__new__(cls)
        remember(layer)
        return layer

    def weighted_weight(self) -> Tensor:
        """Return the weight to compute with, for a weight stored as (out, in, ...)."""
        return weigh(
            self.weight,
            along(self.input_multiplicities, 1, self.weight),
            along(self.output_multiplicities, 0, self.weight),
        )

    def weighted_bias(self) -> Tensor | None:
        """Return the bias to compute with."""
        if self.bias is None or self.output_multiplicities is None:
            return cast("Tensor | None", self.bias)
        return weigh(self.bias, None, self.output_multiplicities)


_LIVING: WeakSet[nn.Module] = WeakSet()


def remember(layer: nn.Module) -> None:
    """Count a layer among the living slim ones; parameters find their multiplicities through these."""
    _LIVING.add(layer)


def living_layers() -> list[nn.Module]:
    """Return all slim layers that exist now, in no order, and some that have been folded since."""
    return list(_LIVING)


class WeightedLinear(nn.Linear, WeightedLayer):
    """A linear layer that reads or makes neurons with multiplicities.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of kept neurons, not of the copies they stand for.
    bias : bool
        Whether there is one.
    input_multiplicities : Tensor (in_features,) or None
        c > 0 of the neurons read.
    output_multiplicities : Tensor (out_features,) or None
        c > 0 of the neurons made.

    Examples
    --------
    >>> layer = WeightedLinear(2, 1, bias=False, input_multiplicities=torch.tensor([3.0, 1.0]))
    >>> _ = nn.init.ones_(layer.weight)
    >>> layer(torch.ones(1, 2)).item()
    4.0
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        input_multiplicities: Tensor | None = None,
        output_multiplicities: Tensor | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.register_buffer("input_multiplicities", input_multiplicities)
        self.register_buffer("output_multiplicities", output_multiplicities)

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's outputs, (..., out_features)."""
        return F.linear(input, self.weighted_weight(), self.weighted_bias())


class WeightedConv1D(WeightedLayer):
    """The same for the layer of GPT-2 that stores its weight as (in, out).

    It is never built by hand: a `Conv1D` of a slim model's copy becomes one, keeping its attributes.
    """

    nf: int

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's outputs, (..., nf)."""
        weight = weigh(
            self.weight,
            along(self.input_multiplicities, 0, self.weight),
            along(self.output_multiplicities, 1, self.weight),
        )
        return F.linear(x, weight.T, self.weighted_bias())


class _WeightedConv(nn.modules.conv._ConvNd, WeightedLayer):
    """The same for channels: a convolution of a slim model's copy becomes one, keeping its attributes.

    A depthwise one makes its channels and reads them one by one, so it has output multiplicities only.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's outputs, (batch, out_channels, *positions)."""
        convolve: Any = self._conv_forward
        return cast(Tensor, convolve(input, self.weighted_weight(), self.weighted_bias()))


class WeightedConv1d(_WeightedConv, nn.Conv1d):
    """See `_WeightedConv`."""


class WeightedConv2d(_WeightedConv, nn.Conv2d):
    """See `_WeightedConv`."""


class WeightedConv3d(_WeightedConv, nn.Conv3d):
    """See `_WeightedConv`."""


class _WeightedBatchNorm(nn.modules.batchnorm._BatchNorm, WeightedLayer):
    """A batch norm over units with multiplicities.

    Every unit has its own statistics, so only the gradients of scale and shift are divided. Which statistics
    are used and moved is decided as in the stock class, at every call.
    """

    @property
    def qconfig(self) -> Any:
        """Refuse tools that build another layer of this one's parameters, all of which ask for this first.

        `SyncBatchNorm.convert_sync_batchnorm` and torch's quantisation do; in the layer that they put in the
        place of this one gradients would not be divided.
        """
        raise ValueError(
            "slim batch norm: it cannot become a SyncBatchNorm or be quantised, since gradients of its scale "
            "and shift are divided by multiplicities; convert the result of jlab_compress.fold(model), which "
            "computes the same but trains otherwise"
        )

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        _ = self.qconfig

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised units, of the shape of the input."""
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / float(self.num_batches_tracked)
        running = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if running else None,
            self.running_var if running else None,
            None if self.weight is None else weigh(self.weight, None, self.output_multiplicities),
            self.weighted_bias(),
            self.training or (self.running_mean is None and self.running_var is None),
            factor,
            self.eps,
        )


class WeightedBatchNorm1d(_WeightedBatchNorm, nn.BatchNorm1d):
    """See `_WeightedBatchNorm`; a `BatchNorm1d` of a slim model's copy becomes one."""


class WeightedBatchNorm2d(_WeightedBatchNorm, nn.BatchNorm2d):
    """See `_WeightedBatchNorm`; a `BatchNorm2d` of a slim model's copy becomes one."""


class WeightedBatchNorm3d(_WeightedBatchNorm, nn.BatchNorm3d):
    """See `_WeightedBatchNorm`; a `BatchNorm3d` of a slim model's copy becomes one."""


CONVOLUTIONS = {nn.Conv1d: WeightedConv1d, nn.Conv2d: WeightedConv2d, nn.Conv3d: WeightedConv3d}


def is_conv(module: nn.Module) -> bool:
    """Return whether a module is a convolution whose channels can be read and replaced."""
    conv: Any = module
    if type(module) not in CONVOLUTIONS and not isinstance(module, tuple(CONVOLUTIONS.values())):
        return False
    return bool(conv.groups == 1 and conv.padding_mode == "zeros" and isinstance(conv.padding, tuple))
