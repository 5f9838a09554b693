"""The cache of a generating model is left out of a written one; models without stay as they are."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from jlab_compress.deployment.program.caches import switch_off_caches
from jlab_compress.deployment.program.folding import NO_CACHE, ready
from jlab_compress.execution.calls import Call
from tests.deployment.networks import IDS, bert, mlp


def generating(**options):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
    return GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, **sizes, **options)).eval()


CALL = Call((), {"input_ids": IDS})


class Bare(nn.Linear):
    """A cache in a tuple of tensors, ruled by a configuration inside the configuration."""

    def __init__(self):
        super().__init__(8, 2)
        self.config = SimpleNamespace(use_cache=None, text=SimpleNamespace(use_cache=True))

    def forward(self, x):
        return (super().forward(x), *([x] if self.config.text.use_cache else []))


def test_a_cache_of_tensors_is_left_out_too():
    model = Bare()
    assert switch_off_caches(model, Call((torch.ones(2, 8),))) is True
    assert (model.config.use_cache, model.config.text.use_cache) == (None, False)


def test_a_cache_is_left_out_of_copies_and_the_model_keeps_its_own():
    model = generating()
    made = ready(model, CALL)
    assert made.notes == (NO_CACHE,)
    assert NO_CACHE in made.told
    assert model.config.use_cache is True
    assert made.reference.config.use_cache is made.folded.config.use_cache is False
    with torch.no_grad():
        right, found = model(IDS)[0], CALL(made.folded)[0]
    assert torch.equal(found, right)
    assert len(CALL(made.folded)) == 1


@pytest.mark.parametrize("build", [bert, mlp, lambda: generating(use_cache=False)])
def test_a_model_without_a_cache_keeps_its_configuration(build):
    model = build()
    before = copy.deepcopy(getattr(model, "config", None))
    call = Call((torch.ones(2, 8),)) if build is mlp else CALL
    assert switch_off_caches(model, call) is False
    assert getattr(model, "config", None) == before or before.to_dict() == model.config.to_dict()


def test_a_cache_that_is_asked_for_is_refused():
    with pytest.raises(TypeError, match=r"output past_key_values is a .*use_cache=False"):
        ready(generating(), {"input_ids": IDS, "use_cache": True})
