"""Tangent kernels against ones written out by hand, and between exact and broken slim models."""

import pytest
import torch
from torch import nn

from jlab_compress.execution.isolation import copy_model
from jlab_compress.validation.measures.tangent_kernels import compare_kernels, tangent_kernel


def test_a_linear_model_has_the_kernel_of_its_inputs():
    torch.manual_seed(0)
    net, x = nn.Linear(4, 1).double(), torch.randn(6, 4).double()
    directions = torch.randn(6, 1, generator=torch.Generator().manual_seed(0)).double()
    expected = (x @ x.T + 1) * (directions @ directions.T)
    torch.testing.assert_close(tangent_kernel(net, x, rows=6), expected)


def test_copies_have_the_kernel_of_their_slim_model(make_pair, batches):
    wide, slim = make_pair()
    match = compare_kernels(wide, slim, batches[0][0])
    assert match.error < 1e-12
    assert match.alignment == pytest.approx(1.0, abs=1e-12)


def test_a_slim_model_without_multiplicities_has_another(make_pair, batches):
    wide, slim = make_pair()
    broken = copy_model(slim)
    broken[0].output_multiplicities.fill_(1.0)
    assert compare_kernels(wide, broken, batches[0][0]).error > 0.05


def test_scale_changes_the_error_and_not_the_alignment(batches):
    net = nn.Linear(3, 2).double()
    doubled = nn.Sequential(copy_model(net), Double())
    match = compare_kernels(net, doubled, batches[0][0])
    assert match.alignment == pytest.approx(1.0, abs=1e-12)
    assert match.error == pytest.approx(3.0, rel=1e-9)  # gradients twice, kernel four times as large


def test_frozen_parameters_do_not_count(batches):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    half = copy_model(net)
    half[0].requires_grad_(False)
    whole, part = (tangent_kernel(m, batches[0][0], rows=5) for m in (net, half))
    assert part.trace() < whole.trace()
    match = compare_kernels(half, half.requires_grad_(False), batches[0][0])
    assert (match.alignment, match.error) == (1.0, 0.0)


def test_outputs_that_carry_no_gradient_do_not_count(batches):
    net, x = nn.Linear(3, 2).double(), batches[0][0]
    torch.testing.assert_close(tangent_kernel(WithLoss(net), x, rows=5), tangent_kernel(net, x, rows=5))
    assert tangent_kernel(WithLoss(net, detach=True), x, rows=5).count_nonzero() == 0


class WithLoss(nn.Module):
    """Returns a loss and whole numbers with its scores."""

    def __init__(self, net, *, detach=False):
        super().__init__()
        self.net, self.detach = net, detach

    def forward(self, x):
        scores = self.net(x)
        return {
            "loss": scores.mean(),
            "best": scores.argmax(1),
            "scores": scores.detach() if self.detach else scores,
        }


class Double(nn.Module):
    def forward(self, x):
        return 2 * x
