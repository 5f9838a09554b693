import pytest
import torch
from torch import nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.outputs import outputs_of, outputs_on, scores_of
from tests.models import rows

X = rows(6, 3)


def test_outputs_are_the_floating_point_tensors():
    assert [t.shape for t in outputs_of((X, torch.ones(2, dtype=torch.long)))] == [X.shape]
    with pytest.raises(ValueError, match="no floating-point tensor but int"):
        outputs_of(3)


def test_scores_are_outputs_without_a_loss_that_came_with_them():
    assert scores_of({"loss": torch.tensor(2.0), "logits": X})[0] is X
    assert len(scores_of({"loss": torch.tensor(2.0), "logits": X})) == 1
    alone = torch.tensor(2.0)
    assert scores_of(alone)[0] is alone
    with pytest.raises(ValueError, match="no floating-point tensor"):
        scores_of({"best": torch.ones(2, dtype=torch.long)})


def test_outputs_on_calls_are_those_of_evaluation():
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2).double()).train()
    found = list(outputs_on(net, [Call((X,)), Call((X[:2],))]))
    assert net.training
    assert torch.equal(found[0], net.eval()(X))
    assert torch.equal(found[1], net(X[:2]))
    assert not any(t.requires_grad for t in found)
