import copy
import random
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from jlab_compress.execution.isolation import (
    copy_model,
    give_back_hooks,
    inference,
    let_hooks_act,
    undisturbed,
    working_copy,
)
from tests.models import rows


class Noisy(nn.Module):
    """Draws from all three generators, in evaluation too."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.layer.eval()

    def forward(self, x):
        return self.layer(x) + torch.rand(3) + float(np.random.rand()) + random.random()


def test_runs_are_repeatable_and_leave_flags_and_random_states(fingerprint):
    net, x = Noisy(), rows(4, 3).float()
    before = fingerprint(net)
    with undisturbed(net, seed=1):
        first = net(x)
        assert not net.training
        assert not first.requires_grad
    with undisturbed(net, seed=1):
        assert torch.equal(net(x), first)
    with undisturbed(net, seed=2):
        assert not torch.allclose(net(x), first)
    with pytest.raises(ValueError, match="stopped"), undisturbed(net):
        raise ValueError("stopped")
    assert fingerprint(net) == before
    assert (net.training, net.layer.training) == (True, False)


def test_encoders_are_kept_off_their_fused_path():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    parts = []
    layer.linear1.forward = lambda x: parts.append(x) or nn.functional.linear(x, layer.linear1.weight)
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        layer(x)
    assert parts == []
    with undisturbed(layer):
        layer(x)
    with inference():
        assert not layer(x).requires_grad
    assert len(parts) == 2


def test_models_with_computed_tensors_are_copied():
    net = nn.Linear(3, 2)
    net.extra = net.weight * 2.0
    with pytest.raises(RuntimeError, match="deepcopy protocol"):
        copy.deepcopy(net)
    twin = copy_model(net)
    assert torch.equal(twin.extra, net.extra)
    assert twin.extra is not net.extra
    assert twin.bias is not net.bias


def test_what_cannot_be_copied_is_named():
    net = nn.Linear(3, 2)
    net.lines = (line for line in ())
    with pytest.raises(ValueError, match="generator"):
        copy_model(net)


HEARD = []


def hooked(seen):
    """Return a net with hooks of all sorts that only read; each would leave something in `seen`."""

    class Counter:
        def __init__(self):
            self.count = 0

        def __call__(self, module, *_):
            self.count += 1

    net, counter, lock = (
        nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)),
        Counter(),
        threading.Lock(),
    )

    def note(kind):
        seen.append(kind)

    def guarded(module, args):
        with lock:
            note("pre")

    net[0].register_forward_pre_hook(guarded)
    net[1].register_forward_hook(lambda module, args, out: seen.append(out.mean().item()))
    net[1].register_forward_hook(lambda module, args, out: HEARD.append(out.shape))
    net[1].register_forward_hook(counter.__call__)
    net[2].register_forward_hook(counter, always_call=True)
    net[2].register_forward_pre_hook(lambda module, args, kwargs: seen.append("kwargs"), with_kwargs=True)
    net[2].register_full_backward_hook(lambda module, grads, _: seen.append("backward"))
    net[0].register_full_backward_pre_hook(lambda module, grads: seen.append("backward pre"))
    net[1].register_forward_hook(lambda module, args, out: print("seen", out.shape))
    return net, counter


def outcome(net, x):
    return lambda: [net(x)]


def test_hooks_that_only_read_do_not_run_on_a_working_copy(capsys):
    seen = []
    net, counter = hooked(seen)
    made, x = working_copy(net), rows(4, 3).float()
    let_hooks_act(made, outcome(made, x))
    made(x).sum().backward()
    assert (seen, HEARD, counter.count, capsys.readouterr().out) == ([], [], 0, "")
    give_back_hooks(made)
    made(x).sum().backward()
    assert {kind for kind in seen if isinstance(kind, str)} == {"pre", "kwargs", "backward", "backward pre"}
    assert len(HEARD) == 1
    HEARD.clear()


def test_hooks_that_change_the_outputs_are_stood_in_for_and_others_stay_still():
    seen, scale = [], nn.Linear(1, 1)
    net, x = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)), rows(4, 3).float()

    def scaled(module, args, out):
        seen.append("scaled")
        return out * scale.weight

    net[1].register_forward_hook(scaled)
    net[1].register_forward_hook(lambda *_: seen.append("read"))
    expected = net(x)
    seen.clear()
    made = working_copy(net)
    assert not torch.allclose(made(x), expected)
    let_hooks_act(made, outcome(made, x))
    assert torch.equal(made(x), expected)
    assert seen == []
    assert [hook.stand_in is None for hook in made[1]._forward_hooks.values()] == [False, True]
    assert list(made[1]._forward_hooks) == list(net[1]._forward_hooks)


def test_hooks_of_torchs_own_stay():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 2)))
    made, x = working_copy(net), rows(4, 3).float()
    with torch.no_grad():
        made[0].weight_g.mul_(2)
    assert torch.allclose(made(x) - made[0].bias, 2 * (net(x) - net[0].bias), rtol=1e-5)


def test_copied_parameters_keep_what_somebody_has_given_them():
    net = nn.Linear(3, 2)
    net.weight._no_weight_decay, net.weight.shape_of = True, {"n": [3]}
    made = copy_model(net)
    assert made.weight._no_weight_decay
    assert made.weight.shape_of == {"n": [3]}
    assert made.weight.shape_of is not net.weight.shape_of
