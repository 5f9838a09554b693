"""What is taken for a model, what is refused and why, and where it is."""

import pytest
import torch
from torch import nn

from jlab_compress.execution.models import check_model, check_weights, device_of, unwrapped


def test_wrappers_are_taken_off():
    net = nn.Linear(2, 2)
    assert unwrapped(net) is net
    assert unwrapped(nn.DataParallel(nn.DataParallel(net))) is net
    compiled = nn.Tanh()  # torch.compile keeps the module under this name
    compiled._orig_mod = nn.DataParallel(net)
    assert unwrapped(compiled) is net


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        ("net", TypeError, r"expected a torch.nn.Module, got str; pass the network itself"),
        (nn.DataParallel(nn.Linear(2, 2)), TypeError, "this DataParallel wraps another module"),
        (nn.LazyLinear(2), ValueError, "it has lazy layers without sizes"),
    ],
)
def test_what_is_no_plain_module_is_refused(model, kind, words):
    with pytest.raises(kind, match=words):
        check_model(model)
    check_model(nn.Linear(2, 2))


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_the_first_parameter_that_is_not_finite_is_named(wrong):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    check_weights(net)
    with torch.no_grad():
        net[1].weight[0, 0] = wrong
    with pytest.raises(ValueError, match="weight holds NaN or infinite values"):
        check_weights(net)


def test_the_device_is_that_of_the_first_tensor():
    assert device_of(nn.Linear(2, 2, device="meta")) == torch.device("meta")
    assert device_of(nn.BatchNorm1d(2, affine=False, device="meta")) == torch.device("meta")
    assert device_of(nn.Tanh()) == torch.device("cpu")
