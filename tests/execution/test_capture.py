"""What is seen of a running model, what is replaced in it, and who may set hooks at all."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.capture import Tap, capture, module_stack, watching
from tests.models import rows

PACKAGE = Path(__file__).parents[2] / "jlab_compress"
HOOKS = re.compile(
    r"register_(forward_hook|forward_pre_hook|full_backward_hook|full_backward_pre_hook|backward_hook|hook)\b"
    r"|register_module_\w+_hook|\._(forward|forward_pre|backward|backward_pre)_hooks\b"
)
X = rows(5, 3)


def net(*, inplace=False):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace), nn.Linear(4, 2), nn.Tanh()).double()


class Named(nn.Module):
    """Calls a layer with its input by name, and another one never."""

    def __init__(self):
        super().__init__()
        self.layer, self.never = nn.Linear(3, 2).double(), nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(input=x)


def test_values_are_those_that_enter_and_leave(fingerprint):
    model = net()
    before = fingerprint(model)
    found = capture(model, Call((X,)), {"into": Tap("2", "input"), "behind": Tap("0")})
    assert fingerprint(model) == before
    assert torch.equal(found.values["behind"], model[0](X))
    assert torch.equal(found.values["into"], model[:2](X))
    assert found.result is None
    assert not found.values["into"].requires_grad


def test_a_run_ends_once_all_taps_are_reached_unless_it_shall_not():
    ended = []
    model = net()
    model[3].register_forward_hook(lambda *seen: ended.append(True))
    capture(model, Call((X,)), {"at": Tap("2")})
    assert not ended
    found = capture(model, Call((X,)), {"at": Tap("2")}, to_the_end=True)
    assert ended
    assert torch.equal(found.result, model(X))
    assert torch.equal(capture(model, Call((X,)), {}).result, model(X))


def test_values_are_copies_that_later_operations_in_place_leave_alone():
    plain, changing = net(), net(inplace=True)
    one, other = (capture(m, Call((X,)), {"at": Tap("0")}, to_the_end=True) for m in (plain, changing))
    assert torch.equal(one.values["at"], other.values["at"])
    assert bool((other.values["at"] < 0).any())


def test_values_with_gradients_belong_to_the_run():
    model = net()
    found = capture(model, Call((X,)), {"at": Tap("0")}, gradients=True, to_the_end=True)
    (sent,) = torch.autograd.grad(found.result.sum(), found.values["at"])
    hidden = model[0](X).detach().requires_grad_()
    (by_hand,) = torch.autograd.grad(model[1:](hidden).sum(), hidden)
    assert torch.equal(sent, by_hand)


def test_replaced_outputs_are_what_later_modules_and_taps_see():
    model = net()
    found = capture(
        model, Call((X,)), {"at": Tap("1"), "into": Tap("2", "input")}, changes={"1": lambda h: 2 * h}
    )
    assert torch.equal(found.values["at"], 2 * model[:2](X))
    assert torch.equal(found.values["into"], found.values["at"])
    end = capture(model, Call((X,)), {}, changes={"3": torch.zeros_like}).result
    assert not end.any()


def test_inputs_by_name_are_seen_and_modules_that_do_not_run_are_missing():
    found = capture(Named(), Call((X,)), {"into": Tap("layer", "input"), "not": Tap("never")})
    assert torch.equal(found.values["into"], X)
    assert set(found.values) == {"into"}
    assert found.result is not None


def test_the_first_of_several_runs_of_a_module_counts():
    twice = nn.Linear(3, 3).double()
    model = nn.Sequential(twice, twice, nn.Tanh())
    found = capture(model, Call((X,)), {"into": Tap("0", "input"), "behind": Tap("2")})
    assert torch.equal(found.values["into"], X)


def test_users_hooks_come_first_and_stay():
    model = net()
    kept = model[0].register_forward_hook(lambda module, args, output: output + 1.0)
    found = capture(model, Call((X,)), {"at": Tap("0")})
    assert torch.equal(found.values["at"], model[0](X))
    assert list(model[0]._forward_hooks) == [kept.id]
    assert torch.equal(found.values["at"], nn.functional.linear(X, model[0].weight, model[0].bias) + 1.0)


def test_hooks_are_gone_after_an_error():
    model, wrong = net(), Call((X[:, :2],))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        capture(model, wrong, {"at": Tap("0"), "into": Tap("1", "input")})
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), module_stack(model):
        wrong(model)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_begin_and_end_of_modules_are_told_in_order():
    model, seen = net(), []
    with watching(
        model,
        ["0", "2"],
        enter=lambda name, given: seen.append(("in", name, given.shape[1])),
        leave=lambda name, output: seen.append(("out", name, output.shape[1])),
    ):
        model(X)
    model(X)
    assert seen == [("in", "0", 3), ("out", "0", 4), ("in", "2", 4), ("out", "2", 2)]


class Caught(nn.Module):
    """Goes on after a part has failed."""

    def __init__(self):
        super().__init__()
        self.wrong, self.right = nn.Linear(7, 2), nn.Tanh()

    def forward(self, x):
        try:
            return self.wrong(x)
        except RuntimeError:
            return self.right(x)


def test_the_stack_holds_what_runs_also_after_a_part_has_failed():
    model, seen = Caught(), []
    model.right.register_forward_pre_hook(lambda *given: seen.append(list(stack)))
    with module_stack(model) as stack:
        model(X)
        assert stack == [""]
    assert seen == [["", "", "right"]]


def hook_lines(source):
    """Lines that set or read hooks, not those that only speak of them in quotes."""
    lines = (line.strip() for line in source.splitlines())
    return [line for line in lines if HOOKS.search(re.sub(r'"[^"]*"', "", line))]


def test_only_one_file_hooks_into_a_running_model():
    found = {
        path.relative_to(PACKAGE).as_posix(): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := hook_lines(path.read_text()))
    }
    assert set(found) == {"execution/capture.py"}
    assert len(found["execution/capture.py"]) == 4


@pytest.mark.parametrize(
    "line",
    [
        "module.register_forward_hook(keep)",
        "handle = model.get_submodule(name).register_forward_pre_hook(keep, with_kwargs=True)",
        "tensor.register_hook(lambda g: g)",
        "layer.register_full_backward_hook(keep)",
        "torch.nn.modules.module.register_module_forward_hook(keep)",
        "model._forward_hooks.clear()",
    ],
)
def test_a_hook_elsewhere_would_be_found(line):
    assert hook_lines(f"import torch\n{line}\n") == [line]
    assert not hook_lines("model.register_buffer('x', y)\nfrom execution.capture import watching")
