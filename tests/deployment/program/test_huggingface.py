"""A Hugging Face model whose config says the width comes back by `from_pretrained`; others are refused."""

import re

import pytest
import torch

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.deployment.program.huggingface import save_pretrained
from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim.conversion import fold
from tests.deployment.networks import IDS, bert, slim_mlp

TOKENS = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}


def test_hugging_face_model_with_one_width_comes_back(tmp_path):
    model = bert(layers=2)
    slim = compress_baseline(model, 8, calibration=TOKENS, method="magnitude").model.eval()
    save_pretrained(slim, tmp_path / "slim")
    reloaded = type(model).from_pretrained(tmp_path / "slim").eval()
    assert reloaded.config.intermediate_size == 8
    assert model.config.intermediate_size == 32
    with torch.no_grad():
        found, right = reloaded(**TOKENS), slim(**TOKENS)
    torch.testing.assert_close(found.last_hidden_state, right.last_hidden_state)
    with pytest.raises(FileExistsError, match="is there already"):
        save_pretrained(slim, tmp_path / "slim")


@pytest.mark.parametrize(
    "widths",
    [
        {"encoder.layer.0.intermediate.dense": 8},
        {"encoder.layer.0.intermediate.dense": 8, "encoder.layer.1.intermediate.dense": 9},
    ],
)
def test_widths_that_a_config_cannot_say_are_refused(widths, tmp_path, capsys):
    slim = compress_baseline(bert(layers=2), widths, calibration=TOKENS, method="magnitude").model
    with pytest.raises(ValueError, match="from_pretrained would not give this model back"):
        save_pretrained(slim, tmp_path / "slim")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_other_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is no transformers model"):
        save_pretrained(slim_mlp()[0], tmp_path / "slim")
    with pytest.raises(ValueError, match="has no compression plan"):
        save_pretrained(bert(), tmp_path / "slim")


def llama():
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(5)
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
    return LlamaModel(LlamaConfig(vocab_size=60, max_position_embeddings=40, **heads, **sizes))


def gpt2():
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(6)
    special = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2Model(GPT2Config(vocab_size=60, n_positions=40, n_embd=16, n_layer=2, n_head=4, **special))


HIDDEN, HEADS = r"intermediate\.dense$|gate_proj$|c_fc$", r"attention\.self$|self_attn$|attn$"
SAID = {
    "BERT": (lambda: bert(layers=2), HIDDEN, 8, {"intermediate_size": 8, "num_attention_heads": 2}),
    "LLaMA": (llama, HIDDEN, 8, {"intermediate_size": 8, "num_attention_heads": 8}),
    "GPT-2": (gpt2, HIDDEN, 8, {"n_inner": 8, "n_head": 4}),
    "heads of LLaMA": (llama, HEADS, 2, {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 2}),
}


def narrowed(build, pattern, width):
    """Return a model and its slim form, of another number of the units that a pattern names."""
    model = build().eval()
    names = [block.name for block in find_blocks(model, TOKENS) if re.search(pattern, block.name)]
    widths = dict.fromkeys(names, width)
    return model, compress_baseline(model, widths, calibration=TOKENS, method="random")


@pytest.mark.parametrize("name", SAID)
def test_a_stock_save_of_a_slim_or_folded_model_gives_the_effective_weights(name, tmp_path):
    build, pattern, width, fields = SAID[name]
    model, made = narrowed(build, pattern, width)
    assert any(key.endswith("input_multiplicities") for key in made.model.state_dict())
    with torch.no_grad():
        right = made.model(**TOKENS).last_hidden_state
        for number, saved in enumerate((made.model, fold(made.model))):
            saved.save_pretrained(tmp_path / str(number))
            back = type(model).from_pretrained(tmp_path / str(number)).eval()
            torch.testing.assert_close(back(**TOKENS).last_hidden_state, right)
            assert {field: getattr(back.config, field) for field in fields} == fields
    assert not any("from_pretrained" in note for note in made.report.notes)


@pytest.mark.parametrize("build", [lambda: bert(layers=2), gpt2], ids=["BERT", "GPT-2"])
def test_heads_that_a_config_cannot_say_are_named_and_do_not_load(build, tmp_path):
    model, made = narrowed(build, HEADS, 1)
    note = next(note for note in made.report.notes if "from_pretrained" in note)
    assert all(block.name in note for block in made.plan.blocks)
    assert made.model.config.num_attention_heads == model.config.num_attention_heads
    made.model.save_pretrained(tmp_path / "slim")
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        type(model).from_pretrained(tmp_path / "slim")
    with pytest.raises(ValueError, match="from_pretrained would not give this model back"):
        save_pretrained(made.model, tmp_path / "other")
