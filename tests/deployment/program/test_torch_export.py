"""A program of torch.export: axes vary or the export says why not; the exporter says nothing itself."""

import logging
import sys
import warnings

import pytest
import torch
from torch import nn

from jlab_compress.deployment.program.signature import read_signature
from jlab_compress.deployment.program.torch_export import cause_of, exported, quiet_exporter


class Flat(nn.Module):
    def forward(self, x):
        return x.reshape(3, 4)


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("no\nway")


def test_the_batch_varies():
    net = nn.Linear(4, 2).eval()
    program = exported(net, read_signature(net, torch.ones(3, 4))).module()
    x = torch.randn(7, 4)
    torch.testing.assert_close(program(x), net(x))


def test_an_axis_that_the_code_fixes_is_said_in_words():
    with pytest.raises(ValueError, match="its code fixes axis batch to 3; let it take any") as caught:
        exported(Flat(), read_signature(Flat(), torch.ones(3, 4)))
    assert "\n" not in str(caught.value)


def test_the_cause_names_the_innermost_submodule():
    net = nn.Sequential(nn.Identity(), nn.Sequential(Failing()))
    with pytest.raises(RuntimeError) as caught:
        net(torch.ones(1))
    assert cause_of(net, caught.value) == (
        "model: submodule '1.0' (Failing) cannot be exported: RuntimeError: no"
    )
    assert cause_of(net, ValueError("far")) == "model: the model cannot be exported: ValueError: far"


def test_what_the_exporter_prints_logs_warns_and_draws_is_held_back(capsys, caplog):
    state = torch.get_rng_state()
    with quiet_exporter():
        print("noise", file=sys.stderr)
        logging.getLogger("torch.onnx").error("noise")
        warnings.warn("noise", stacklevel=1)
        torch.randn(3)
    assert capsys.readouterr() == ("", "")
    assert caplog.records == []
    assert torch.equal(torch.get_rng_state(), state)
    logging.getLogger("torch.onnx").error("heard again")
    assert [record.message for record in caplog.records] == ["heard again"]
