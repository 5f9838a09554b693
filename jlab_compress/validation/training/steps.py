"""One training step with the caller's own loss and optimizer, checked where it can go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.calls import Call, tensors_in
from jlab_compress.execution.inputs import read_call
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.execution.models import device_of
from jlab_compress.surroundings import as_called
from jlab_compress.training.adam_rates import SCALE_FREE, gauge_factors, scale_rates
from jlab_compress.validation.training.batches import Batch

Loss = Callable[[Any, Any], Tensor]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
Step = Callable[[nn.Module, Batch, Optimizer], Any]


def default_step(loss_fn: Loss) -> Step:
    """Return the plain step: forward, backward, update; the optimizer gets a closure, as LBFGS needs.

    Parameters
    ----------
    loss_fn : callable
        ``loss_fn(outputs, targets)`` gives one number.

    Returns
    -------
    callable
        ``step(model, batch, optimizer) -> loss``, the loss before the update.
    """

    def step(model: nn.Module, batch: Batch, optimizer: Optimizer) -> Any:

        def closure() -> Any:
            optimizer.zero_grad()
            loss = loss_fn(*answer(model, batch))
            read_number(loss, "loss_fn")
            _check_gradient(loss)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        return optimizer.step(closure)

    return step


def choose_step(step: Step | None, loss_fn: Loss | None) -> Step:
    """Return the caller's own training step, or the plain one of a loss.

    Raises
    ------
    TypeError
        If there is neither, or one is not a function.
    """
    if step is None and loss_fn is None:
        raise TypeError("loss_fn: expected a function of (outputs, targets), got None; or give your own step")
    for name, value in (("step", step), ("loss_fn", loss_fn)):
        if value is not None and not callable(value):
            raise TypeError(f"{name}: expected a function, got {type(value).__name__}")
    return step or default_step(loss_fn)  # type: ignore[arg-type]


def _check_gradient(loss: Any) -> None:
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        found = "a tensor without one" if isinstance(loss, Tensor) else type(loss).__name__
        raise TypeError(
            f"loss_fn: expected a tensor with a gradient, got {found}; compute it from the outputs with "
            "torch alone, without item() or detach()"
        )


def answer(model: nn.Module, batch: Batch) -> tuple[Any, Any]:
    """Return the model's output for a batch's inputs, and its targets on the model's device."""
    device = device_of(model)
    inputs, targets = batch
    return read_call(model, inputs)[0].to(device)(model), Call((targets,)).copied().to(device).args[0]


def check_batches(model: nn.Module, batches: Sequence[Batch], argument: str) -> None:
    """Run the model on one batch of each shape, so that an error names the argument which held it.

    Raises
    ------
    ValueError
        If the model fails on one.
    """
    shapes = [tuple((t.shape[1:], t.dtype) for t in tensors_in(inputs)) for inputs, _ in batches]
    with undisturbed(model):
        for number in sorted({shapes.index(shape) for shape in shapes}):
            try:
                answer(model, batches[number])
            except Exception as error:
                raise_lack_of_memory(error)
                raise ValueError(
                    f"{argument}: the model fails on the inputs of batch {number} ({in_words(error)}); "
                    "yield pairs (inputs, targets) with what its forward takes"
                ) from error


def check_judge(
    model: nn.Module, batches: Sequence[Batch], judge: Callable[[Any, Any], Any], argument: str
) -> None:
    """Call a loss or metric on one batch of each shape, so that an error says what it was given.

    Raises
    ------
    ValueError
        If it fails on one, or does not give one number.
    """
    shapes = [tuple((t.shape[1:], t.dtype) for t in tensors_in(batch)) for batch in batches]
    with undisturbed(model):
        for number in sorted({shapes.index(shape) for shape in shapes}):
            outputs, targets = answer(model, batches[number])
            try:
                with as_called():
                    value = judge(outputs, targets)
            except Exception as error:
                raise_lack_of_memory(error)
                raise ValueError(
                    f"{argument}: it fails on batch {number}, where the model gives {_kinds(outputs)} and "
                    f"the targets are {_kinds(targets)} ({in_words(error)}); yield targets that it takes, or "
                    "wrap it in a function that converts them"
                ) from error
            read_number(value, argument)


def _kinds(value: Any) -> str:
    words = [f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in tensors_in(value)]
    return ", ".join(words[:3]) or type(value).__name__


def read_number(value: Any, argument: str) -> float:
    """Return a loss or metric as a float.

    Raises
    ------
    ValueError
        If it is not one number.

    Examples
    --------
    >>> read_number(0.5, "loss_fn")
    0.5
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value.detach())
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise ValueError(
        f"{argument}: expected one number per batch, got {found}; reduce it with mean() or sum()"
    )


def make_optimizer(factory: OptimizerFactory, model: nn.Module) -> Optimizer:
    """Call the factory on the model's trainable parameters and check what it made.

    A slim model in the plain gauge gets the rate factors of `adam_rate_factors` where they matter.

    Raises
    ------
    TypeError
        If `factory` is not a function, or what it returns is no optimizer.
    ValueError
        If the optimizer holds other parameters than those it was given.
    """
    if isinstance(factory, Optimizer) or not callable(factory):
        raise TypeError(
            "optimizer: expected a function of the parameters such as lambda p: torch.optim.SGD(p, lr=0.1), "
            f"got {type(factory).__name__}; every model needs an optimizer of its own"
        )
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("optimizer: the model has no parameter that requires a gradient; unfreeze some")
    with as_called():
        optimizer = factory(parameters)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer: expected the function to return a torch optimizer, got {type(optimizer).__name__}"
        )
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not owned or not owned <= {id(p) for p in parameters}:
        raise ValueError(
            "optimizer: it does not own the parameters that it was given; build it from the function's "
            "argument, not from the parameters of another model"
        )
    if isinstance(optimizer, SCALE_FREE) and (factors := gauge_factors(model)):
        scale_rates(optimizer, model, factors)
    return optimizer
