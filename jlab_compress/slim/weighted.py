"""Layers that keep one neuron in place of c equal ones.

They compute with c times the outgoing weight and divide the gradients that reach a neuron's weights by c,
so each parameter moves as each of the c copies would have moved, under any optimizer and without any
change of the training loop (Wang, Luo, Poggio, Chuang, Ziyin 2026, section on learning dynamics).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jlab_compress.slim.copies import (
    ONE,
    ReadWeight,
    along,
    is_sharded,
    of_one_copy,
    refusal,
    remember,
    untraced,
    weigh,
)


class WeightedLayer(nn.Module):
    """What slim layers share: two buffers of multiplicities and the weights they give.

    The buffers are `input_multiplicities`, (in,) or None, for the neurons that the layer reads, and
    `output_multiplicities`, (out,) or None, for the neurons that it makes. They are constant, saved in the
    state dict and move with `.to`; a layer between two slimmed blocks has both.

    The parameter, `weight_of_one`, is one copy of each weight. It is called "weight" among the parameters of
    the model, as in the original, since it trains like the original's. Where the layer reads neurons with
    multiplicities, the attribute `weight` and the state dict have the weight that it computes with, for all
    tools that take it for that; the state dict has one copy beside it, under "weight_of_one", and
    loading takes that.
    """

    bias: Any
    input_multiplicities: Tensor | None
    output_multiplicities: Tensor | None
    # The axes of the weight that run over the units made and read.
    axes: ClassVar[tuple[int, int]] = (0, 1)
    _version = 2

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Remember the layer while it lives, also where it is copied or unpickled."""
        layer = super().__new__(cls)
        remember(layer)
        return layer

    @property
    def weight_of_one(self) -> Any:
        """One copy of each weight: the parameter, which is trained."""
        if "weight" not in self._parameters:
            raise AttributeError(f"{type(self).__name__} has no parameter weight")
        return self._parameters["weight"]

    @property
    def reads_copies(self) -> bool:
        """Whether the layer computes with another weight than one copy."""
        return (
            self._buffers.get("input_multiplicities") is not None
            and self._parameters.get("weight") is not None
        )

    def _read_weight(self) -> Any:
        one = self.weight_of_one
        if one is None:
            return None
        # FSDP finds the parameters that it shards by their names.
        values = self.weighted_weight() if self.reads_copies and not is_sharded(one) else one
        if torch.compiler.is_compiling():
            return values
        _LAST_READ[self] = ref(one)
        return values if values is one else ReadWeight.of(values, one, self._put_back)

    weight: Any = property(_read_weight)

    def weighted_weight(self) -> Tensor:
        """Return the weight to compute with."""
        one: Tensor = self.weight_of_one
        made, read = self.axes
        rows, columns = self.output_multiplicities, self.input_multiplicities
        return weigh(one, along(columns, read, one), along(rows, made, one))

    def weighted_bias(self) -> Tensor | None:
        """Return the bias to compute with."""
        if self.bias is None or self.output_multiplicities is None:
            return cast("Tensor | None", self.bias)
        return weigh(self.bias, None, self.output_multiplicities)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register a parameter, unless it would replace what the layer computes with."""
        own = [key for key in ("weight", "bias") if name.startswith(f"{key}_")]
        if own and "output_multiplicities" in self._buffers:
            self._put_back()
            raise refusal(f"its {own[0]} cannot be pruned, normalised or computed in another way")
        if name == "weight" and self.reads_copies and not vars(self).get("_loads"):
            raise refusal("its `weight` cannot be replaced")
        super().register_parameter(name, param)

    def _put_back(self) -> None:
        """Undo what `nn.utils.weight_norm` does before it registers anything: it deletes the weight."""
        last = _LAST_READ.get(self)
        one = None if last is None else last()
        if one is not None and "weight" not in self._parameters:
            others = dict(self._parameters)
            self._parameters.clear()
            self._parameters.update({"weight": cast(nn.Parameter, one), **others})

    def __delattr__(self, name: str) -> None:
        """Delete an attribute, unless the layer computes with it."""
        if name in self._parameters and "output_multiplicities" in self._buffers:
            raise refusal(f"its {name} cannot be computed in another way")
        super().__delattr__(name)

    @property
    def qconfig(self) -> Any:
        """Torch's quantisation sets this on the layers that it goes through, and passes by slim ones."""
        raise AttributeError("qconfig")

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        raise refusal("it cannot be quantised")

    def __prepare_scriptable__(self) -> Self:
        """Refuse `torch.jit.script`, which asks each module for a form that it can read."""
        raise refusal("it cannot be scripted")

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.reads_copies:
            values = self.weighted_weight()
            destination[prefix + ONE] = destination[prefix + "weight"]
            destination[prefix + "weight"] = values if keep_vars else values.detach()

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        if self.reads_copies:
            counts = state_dict.get(prefix + "input_multiplicities")
            before = counts is not None and local_metadata.get("version") == 1
            counts = self.input_multiplicities if counts is None else counts
            try:
                one = self.weight_of_one
                times = along(counts, self.axes[1], one)
                state_dict = of_one_copy(state_dict, prefix, one, times, written_before=before)
            except ValueError as error:
                error_msgs.append(str(error))
                return
        vars(self)["_loads"] = True
        try:
            rest = (local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
            super()._load_from_state_dict(state_dict, prefix, *rest)
        finally:
            del vars(self)["_loads"]


# The parameter that was read last from a layer.
_LAST_READ: WeakKeyDictionary[nn.Module, ref[Tensor]] = WeakKeyDictionary()


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
    >>> _ = nn.init.ones_(layer.weight_of_one)
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
        return F.linear(untraced(input), self.weighted_weight(), self.weighted_bias())


class WeightedConv1D(WeightedLayer):
    """The same for the layer of GPT-2 that stores its weight as (in, out).

    It is never built by hand: a `Conv1D` of a slim model's copy becomes one, keeping its attributes.
    """

    nf: int
    axes = (1, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's outputs, (..., nf)."""
        return F.linear(untraced(x), self.weighted_weight().T, self.weighted_bias())


class _WeightedConv(nn.modules.conv._ConvNd, WeightedLayer):
    """The same for channels: a convolution of a slim model's copy becomes one, keeping its attributes.

    A depthwise one makes its channels and reads them one by one, so it has output multiplicities only.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's outputs, (batch, out_channels, *positions)."""
        convolve: Any = self._conv_forward
        return cast(Tensor, convolve(untraced(input), self.weighted_weight(), self.weighted_bias()))


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
        self._check_input_dim(untraced(input))  # type: ignore[no-untyped-call]
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / float(self.num_batches_tracked)
        scale = self.weight_of_one
        running = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if running else None,
            self.running_var if running else None,
            None if scale is None else weigh(scale, None, self.output_multiplicities),
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
