"""One copy of a weight, c times of which a slim layer computes with, and what others see of it.

Tools that merge adapters, fuse, quantise or rebuild layers take `layer.weight` for what the layer computes
with, and write it back; so that is what they read, and what they write is refused instead of being lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._pytree import tree_leaves

# What one copy of a layer's weight is called in its state dict.
ONE = "weight_of_one"
# Weights further apart than a cast to bfloat16 makes them are not the same.
_SAME = 5e-3

_LIVING: WeakSet[nn.Module] = WeakSet()
# Calls about the parameter rather than its values, those that give what they are called on, and operators.
_OWN = {"requires_grad_", "register_hook", "register_post_accumulate_grad_hook"}
_OWN_ATTRIBUTES = ("grad.", "requires_grad.", "is_leaf.")
_ALIASES = {"detach", "data.__get__"}
_OPERATORS = {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__"}
_OPERATORS |= {"__ipow__", "__iand__", "__ior__", "__ixor__"}


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
    if counts is None:
        return None
    return on_mesh(counts.view([-1 if a == axis else 1 for a in range(like.dim())]), like)


def is_sharded(value: Tensor) -> bool:
    """Return whether a tensor is in parts, as after `torch.distributed.fsdp.fully_shard`."""
    return type(value).__name__ == "DTensor"


def whole(value: Tensor) -> Tensor:
    """Return a tensor in one piece."""
    return cast(Any, value).full_tensor() if is_sharded(value) else value


def parted(value: Tensor, like: Tensor) -> Tensor:
    """Return a tensor in parts where another one is."""
    if not is_sharded(like) or is_sharded(value):
        return value
    from torch.distributed.tensor import distribute_tensor  # slow to import

    layout: Any = like
    return distribute_tensor(value, layout.device_mesh, layout.placements)


def on_mesh(numbers: Tensor, value: Tensor) -> Tensor:
    """Return numbers in the form in which they can be multiplied with a tensor, also with a sharded one."""
    if not is_sharded(value):
        return numbers
    from torch.distributed.tensor import DTensor, Replicate  # slow to import

    mesh: Any = cast(Any, value).device_mesh
    return DTensor.from_local(numbers, mesh, [Replicate()] * mesh.ndim, run_check=False)


def remember(layer: nn.Module) -> None:
    """Count a layer among the living slim ones; parameters find their multiplicities through these."""
    _LIVING.add(layer)


def living_layers() -> list[nn.Module]:
    """Return all slim layers that exist now, in no order, and some that have been folded since."""
    return list(_LIVING)


def refusal(what: str) -> ValueError:
    """Return the error for a tool that would treat a slim layer as if it were a stock one."""
    return ValueError(
        f"slim layer: {what}, since it computes with multiplicities; call jlab_compress.fold(model) first "
        "and work on the folded model. (What is trained, one copy of each weight, is its `weight_of_one`, as "
        "in model.parameters().)"
    )


def untraced(value: Tensor) -> Tensor:
    """Return what a layer is called with, unless that is a placeholder of `torch.fx`."""
    if isinstance(value, torch.fx.Proxy):
        raise refusal("it cannot be traced by torch.fx")
    return value


class ReadWeight(Tensor):
    """The weight that a slim layer computes with, to be read.

    Its values are c times the parameter's, without a graph. What is about the parameter instead (gradient,
    `requires_grad`, hooks, attributes of its own) goes through to it. Writing into the values is refused,
    since the next reader would not see it, and so is a graph through them, whose gradients would not be those
    of one copy. An optimizer that is given it trains the parameter.
    """

    @classmethod
    def of(cls, values: Tensor, parameter: Tensor | None, refused: Callable[[], None]) -> ReadWeight:
        """Return values that were computed from a parameter, and what to call before a refusal.

        Without a parameter they are a part or another form of such values.
        """
        made = values.detach().as_subclass(cls)
        vars(made).update(parameter=parameter, refused=refused)
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Pass on what asks for the parameter, refuse what writes or trains, compute the rest."""
        kwargs = kwargs or {}
        target = next(iter((*args, *kwargs.values())), None)
        name, own = func.__name__, _parameter_of(target)
        if name in ("__get__", "__set__", "__delete__"):
            name = f"{func.__self__.__name__}.{name}"
        if own is not None and isinstance(target, cls) and (name in _OWN or name.startswith(_OWN_ATTRIBUTES)):
            return func(own, *args[1:], **kwargs)
        if own is not None and name in ("eq", "__eq__") and own is _parameter_of(args[1]):
            return True  # as keys of an optimizer's state
        if written := _read_in((target if _writes(name) else None, kwargs.get("out"))):
            _refuse(written, "nothing can be written into its `weight`")
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
        if not isinstance(found, Tensor) or name.endswith("_like") or name.startswith("new_"):
            return found
        given = _read_in((args, kwargs))
        if name not in _ALIASES and torch.is_grad_enabled() and any(map(_trained, given)):
            _refuse(given, "its `weight` cannot be differentiated")
        alias = name in _ALIASES or found._is_view()
        return cls.of(found, None, vars(given[0])["refused"]) if alias else found

    def __hash__(self) -> int:
        """Return the hash of the parameter, as which an optimizer may be given this."""
        return id(_parameter_of(self) if _parameter_of(self) is not None else self)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute that somebody has given the parameter."""
        return getattr(_parameter_of(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Give the parameter an attribute, unless it is one of those that all tensors have."""
        if hasattr(Tensor, name) or _parameter_of(self) is None:
            super().__setattr__(name, value)
        else:
            setattr(_parameter_of(self), name, value)


def _refuse(reads: list[ReadWeight], what: str) -> None:
    for read in reads:
        vars(read)["refused"]()
    raise refusal(what)


def _parameter_of(value: Any) -> Tensor | None:
    if isinstance(value, ReadWeight):
        parameter: Tensor | None = vars(value).get("parameter")
        return parameter
    return value if isinstance(value, nn.Parameter) else None


def _trained(read: ReadWeight) -> bool:
    parameter = _parameter_of(read)
    return parameter is not None and parameter.requires_grad


def _writes(name: str) -> bool:
    in_place = name.endswith("_") and not name.endswith("__")
    return in_place or name.endswith(".__set__") or name in _OPERATORS


def _read_in(value: Any) -> list[ReadWeight]:
    return [tensor for tensor in tree_leaves(value) if isinstance(tensor, ReadWeight)]


def of_one_copy(
    state_dict: Mapping[str, Any], prefix: str, like: Tensor, counts: Tensor | None, *, written_before: bool
) -> Mapping[str, Any]:
    """Return a state dict that has one copy of each weight for a layer's weight.

    Parameters
    ----------
    state_dict, prefix : mapping, str
        As `nn.Module._load_from_state_dict` has them.
    like : Tensor
        The parameter that will take it.
    counts : Tensor
        Multiplicities, broadcastable to the weight.
    written_before : bool
        Whether an earlier version wrote it, whose weight is one copy.

    Raises
    ------
    ValueError
        If it has the weight only, which may be either, or both and they do not belong together.
    """
    weight, one = state_dict.get(prefix + "weight"), state_dict.get(prefix + ONE)
    if one is None and (weight is None or written_before):
        return state_dict
    if one is None:
        raise ValueError(
            f"{prefix}weight comes without {prefix}{ONE}, so whether multiplicities are in it is not told; "
            "load the whole state_dict() of a slim model, or load this one into jlab_compress.fold(model)"
        )
    if weight is not None and not _alike(weight, one, counts):
        raise ValueError(
            f"{prefix}weight was changed and {prefix}{ONE} was not; change the state_dict() of "
            "jlab_compress.fold(model) instead and load it into the folded model"
        )
    others = {key: value for key, value in state_dict.items() if key != prefix + ONE}
    return others | {prefix + "weight": parted(one, like)}


def _alike(weight: Tensor, one: Tensor, counts: Tensor | None) -> bool:
    """Tell whether a weight is c times one copy, as far as their shapes let it be told."""
    if counts is None or weight.shape != one.shape or max(counts.shape) not in one.shape:
        return True
    weight, one, counts = (whole(tensor).double() for tensor in (weight, one, counts))
    expected = one * counts.to(one)
    return not bool((weight.to(one) - expected).norm() > _SAME * expected.norm())


def stored_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state dict with one copy of each weight of slim layers as their weight."""
    state: dict[str, Tensor] = dict(model.state_dict())
    for name in [key for key in state if key.rpartition(".")[2] == ONE]:
        state[name.removesuffix(ONE) + "weight"] = state.pop(name)
    return state


def _give_parameters(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    """Put parameters in the place of weights that an optimizer was given, before it steps."""
    for group in optimizer.param_groups:
        for number, given in enumerate(group["params"]):
            parameter = _parameter_of(given)
            if parameter is not None and parameter is not given:
                group["params"][number] = parameter
                if given in optimizer.state:
                    optimizer.state[parameter] = optimizer.state.pop(given)


register_optimizer_step_pre_hook(_give_parameters)
