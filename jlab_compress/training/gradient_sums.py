"""Sums over a slim model's parameters as the original would have them, every copy counted.

A parameter of a slim layer stands for c equal ones and its gradient is that of one copy. What a
training loop adds up over all parameters must therefore count each entry c times (Wang, Luo, Poggio,
Chuang, Ziyin 2026, section on learning dynamics). In the plain gauge and outside of slim layers c is 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from jlab_compress.execution.models import unwrapped
from jlab_compress.slim.copies import living_layers, on_mesh, whole
from jlab_compress.slim.operators import operator_of
from jlab_compress.slim.units import UnitAxis
from jlab_compress.surroundings import shielded


def copies_of(slim: nn.Module) -> dict[str, Tensor]:
    """Return, for each parameter of a slim layer, how many original entries each of its entries stands for.

    Parameters
    ----------
    slim : nn.Module
        Any model; wrappers such as DataParallel are looked through.

    Returns
    -------
    dict of str to Tensor
        By parameter name, broadcastable to the parameter; parameters that stand for themselves are left out.

    Examples
    --------
    >>> from jlab_compress.slim.weighted import WeightedLinear
    >>> net = nn.Sequential(WeightedLinear(1, 2, output_multiplicities=torch.tensor([3.0, 1.0])))
    >>> {name: c.flatten().tolist() for name, c in copies_of(net).items()}
    {'0.weight': [3.0, 1.0], '0.bias': [3.0, 1.0]}
    """
    found: dict[str, Tensor] = {}
    for path, module in unwrapped(slim).named_modules():
        found |= {f"{path}.{name}" if path else name: c for name, c in _layer_copies(module)}
    return found


def _layer_copies(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield each parameter of a slim layer that stands for more, with the copies of its entries."""
    made = getattr(layer, "output_multiplicities", None)
    read = getattr(layer, "input_multiplicities", None)
    operator = None if made is None and read is None else operator_of(layer)
    if operator is None:
        return
    sides = ({**operator.makes, **operator.treats}, made), (operator.reads, read)
    for name, value in layer._parameters.items():
        sections = operator.sections.get(name, 1)
        factors = [
            _spread(counts, value, axes[name], sections)
            for axes, counts in sides
            if value is not None and counts is not None and name in axes
        ]
        if factors:
            yield name, math.prod(factors[1:], start=factors[0])


def _spread(counts: Tensor, value: Tensor, axis: int, sections: int) -> Tensor:
    """Return multiplicities of units, or of the entries of an axis, broadcastable to a parameter."""
    each = value.shape[axis] // (sections * len(counts))
    return UnitAxis("", "", axis, sections=sections, each=each).broadcast(counts, value)


Parameters = nn.Module | Tensor | Iterable[Tensor]


def _with_copies(parameters: Parameters) -> list[tuple[Tensor, Tensor | None]]:
    """Return each parameter with its copies; one without its module is looked up in the living layers."""
    if isinstance(parameters, nn.Module):
        copies = copies_of(parameters)
        return [(p, copies.get(name)) for name, p in unwrapped(parameters).named_parameters()]
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for value in given:
        if not isinstance(value, Tensor):
            raise TypeError(
                f"parameters: expected a model or parameters, got {type(value).__name__}; "
                "pass the slim model or slim.parameters()"
            )
    found = {id(m._parameters[name]): c for m in living_layers() for name, c in _layer_copies(m)}
    return [(p, found.get(id(p))) for p in given]


@shielded()
def clip_grad_norm_(
    parameters: Parameters, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Clip a slim model's gradients as `torch.nn.utils.clip_grad_norm_` would clip the original's.

    It takes the same arguments, so that changing the import is all that a loop needs. The norm is
    (sum_j c_j |g_j|^p)^(1/p) with g_j the gradient of one copy; the scaling is the same.
    In a loop that you do not write, switch its clipping off and call this from a function (that returns
    nothing) given to ``optimizer.register_step_pre_hook``.

    Parameters
    ----------
    parameters : nn.Module, or (iterable of) Tensor
        The slim model, wrapped or not, or some of its parameters, which find the multiplicities of the
        layer that they belong to; where nothing is slim the result is torch's.
    max_norm : float
        The largest norm to leave.
    norm_type : float
        p; may be infinite.
    error_if_nonfinite : bool
        Raise where the norm is NaN or infinite.

    Returns
    -------
    Tensor
        The norm before clipping, of the original's gradients.

    Raises
    ------
    TypeError
        If `parameters` are neither a module nor tensors.
    RuntimeError
        If the norm is not finite and `error_if_nonfinite` is set.

    Examples
    --------
    >>> from jlab_compress.slim.weighted import WeightedLinear
    >>> net = WeightedLinear(1, 2, bias=False, output_multiplicities=torch.tensor([9.0, 16.0]))
    >>> net.weight.grad = torch.ones(2, 1)
    >>> clip_grad_norm_(net.parameters(), 1.0), net.weight.grad.flatten()
    (tensor(5.), tensor([0.2000, 0.2000]))
    """
    pairs = [(p.grad, c) for p, c in _with_copies(parameters) if p.grad is not None]
    if not pairs:
        return torch.tensor(0.0)
    if math.isinf(norm_type):
        parts = [g.detach().abs().max() for g, _ in pairs]
    else:
        powers = [g.detach().abs() ** norm_type for g, _ in pairs]
        parts = [(x if c is None else x * c).sum() for x, (_, c) in zip(powers, pairs, strict=True)]
    parts = [whole(part) for part in parts]
    stacked = torch.stack([part.to(parts[0].device) for part in parts])
    norm = stacked.max() if math.isinf(norm_type) else stacked.sum() ** (1 / norm_type)
    if error_if_nonfinite and not bool(torch.isfinite(norm)):
        raise RuntimeError(f"parameters: the gradients' norm is {norm.item()}; look for NaN in the loss")
    scale = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    for gradient, _ in pairs:
        gradient.detach().mul_(scale.to(gradient.device))
    return norm


def squared_norm(parameters: Parameters) -> Tensor:
    """Return sum_j c_j ||theta_j||^2, the original's L2 term, to be added to the loss.

    Its value counts every copy; its gradient is that of one copy, 2 theta_j, like all gradients of a
    slim model. (Written by hand without c, the gradient is right and the value too low; written with
    c, the value is right and neurons decay c times too fast.)

    Parameters
    ----------
    parameters : nn.Module, or (iterable of) Tensor
        The slim model or some of its parameters; those that require no gradient count too.

    Examples
    --------
    >>> from jlab_compress.slim.weighted import WeightedLinear
    >>> net = WeightedLinear(1, 1, bias=False, output_multiplicities=torch.tensor([3.0]))
    >>> _ = nn.init.constant_(net.weight, 2.0)
    >>> (term := squared_norm(net)).backward()
    >>> term.item(), net.weight.grad.item()
    (12.0, 4.0)
    """
    pairs = _with_copies(parameters)
    single = torch.stack([whole(p.square().sum()) for p, _ in pairs]).sum()
    counted = torch.stack(
        [whole((p.square() if c is None else p.square() * c).sum().detach()) for p, c in pairs]
    )
    return single + (counted.sum() - single.detach())


@shielded(draws=True)
def add_gradient_noise_(parameters: Parameters, std: float, generator: torch.Generator | None = None) -> None:
    """Add Gaussian noise to the gradients as the mean of the c copies of each neuron would feel it.

    Independent noise of standard deviation `std` on each of c copies has a mean of `std / sqrt(c)`; that
    is what a slim neuron gets. So sum_j c_j theta_j has the original's noise; the copies' spread around
    their mean is lost, and with it terms of second order in the noise.

    Parameters
    ----------
    parameters : nn.Module, or (iterable of) Tensor
        The slim model or some of its parameters; call it after backward.
    std : float
        The standard deviation for one entry of the original.
    generator : torch.Generator, optional
        On the parameters' device.
    """
    for parameter, copies in _with_copies(parameters):
        if parameter.grad is not None:
            shape, like = parameter.shape, parameter.grad
            noise = torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype) * std
            noise = on_mesh(noise, like)
            parameter.grad.add_(noise if copies is None else noise / copies.sqrt())
