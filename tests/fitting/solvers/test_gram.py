import pytest
import torch

from jlab_compress.fitting.solvers.gram import FeatureGram, HeldGram, OutputGram
from tests.fitting.problems import draw

HIDDEN, OUTGOING = draw(30, 8), draw(8, 3, seed=1)
OUTPUTS = (HIDDEN[:, :, None] * OUTGOING).permute(1, 0, 2).flatten(1)  # one neuron's outputs a row
EVERY = {
    "held": (HeldGram(HIDDEN.T @ HIDDEN), HIDDEN.T @ HIDDEN),
    "features": (FeatureGram(HIDDEN), HIDDEN.T @ HIDDEN),
    "outputs": (OutputGram(HIDDEN, OUTGOING), OUTPUTS @ OUTPUTS.T),
}


@pytest.mark.parametrize("kind", EVERY)
def test_columns_and_diagonal_are_those_of_the_whole_matrix(kind):
    gram, whole = EVERY[kind]
    some = torch.tensor([5, 0, 2])
    torch.testing.assert_close(gram.columns(some), whole[:, some])
    torch.testing.assert_close(gram.diagonal(), whole.diagonal())
    assert not torch.allclose(gram.columns(some), whole[:, some.flip(0)])


def test_products_with_targets_are_those_of_the_outputs():
    targets = draw(30, 3, seed=2)
    torch.testing.assert_close(OutputGram(HIDDEN, OUTGOING).products(targets), OUTPUTS @ targets.flatten())
