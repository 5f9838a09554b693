"""Models of the transformers library, built from tiny configurations with random weights."""

import copy

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.execution.inputs import read_call
from jlab_compress.execution.outputs import outputs_of
from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim.conversion import fold
from jlab_compress.slim.storage import load, save
from tests.models import rows, seeded

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TOKENS = torch.randint(3, 50, (24, 9), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(9) < torch.arange(24)[:, None] % 6 + 4).long()
BUILDERS = {
    "bert": (lambda: BertModel(BertConfig(vocab_size=50, **SIZES)), "intermediate_size"),
    "gpt2": (
        lambda: GPT2LMHeadModel(
            GPT2Config(
                vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_inner=32, bos_token_id=1, eos_token_id=2
            )
        ),
        "n_inner",
    ),
    "vit": (lambda: ViTModel(ViTConfig(image_size=8, patch_size=4, **SIZES)), "intermediate_size"),
    "t5": (
        lambda: T5Model(
            T5Config(
                vocab_size=50,
                d_model=16,
                d_kv=8,
                d_ff=32,
                num_layers=2,
                num_heads=2,
                feed_forward_proj="gated-gelu",
            )
        ),
        "d_ff",
    ),
    "t5-relu": (
        lambda: T5Model(T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)),
        "d_ff",
    ),
    "llama": (
        lambda: LlamaForCausalLM(LlamaConfig(vocab_size=50, num_key_value_heads=1, **SIZES)),
        "intermediate_size",
    ),
}
N_BLOCKS = {"bert": 2, "gpt2": 2, "vit": 2, "t5": 4, "t5-relu": 2, "llama": 2}


def build(name):
    return seeded(BUILDERS[name][0]).eval()


def batch(name):
    if name == "vit":
        return {"pixel_values": rows(24, 3, 8, 8, dtype=torch.float32)}
    if name.startswith("t5"):
        return {"input_ids": TOKENS, "attention_mask": MASK, "decoder_input_ids": TOKENS.flip(1)}
    return {"input_ids": TOKENS, "attention_mask": MASK}


def outputs(model, name):
    with torch.no_grad():
        return outputs_of(read_call(model, batch(name))[0](model))[0]


@pytest.mark.parametrize("name", BUILDERS)
def test_every_feed_forward_block_is_found_with_and_without_inputs(name):
    blocks = find_blocks(build(name), batch(name))
    kind = "gated-mlp" if name in {"t5", "llama"} else "mlp"
    assert [(b.kind, b.width) for b in blocks.by_default] == [(kind, 32)] * N_BLOCKS[name]
    assert all("residual stream" in b.locked for b in blocks if b.locked and b.kind != "attention")
    heads = {1} if name == "llama" else {2}  # heads with common keys and values count as one
    assert {b.width for b in blocks if b.kind == "attention"} == heads
    assert [b.name for b in find_blocks(build(name)).by_default] == [b.name for b in blocks.by_default]


@pytest.mark.parametrize("name", BUILDERS)
def test_slim_folded_and_reloaded_models_agree(name, tmp_path):
    model = build(name)
    state = copy.deepcopy(model.state_dict())
    slim = compress_baseline(model, 8, calibration=batch(name), method="k-means").model
    expected = outputs(slim, name)
    assert 1e-6 < (expected - outputs(model, name)).norm() / expected.norm() < 1
    folded = fold(slim)
    assert torch.allclose(outputs(folded, name), expected, atol=1e-5)
    assert {type(m) for m in folded.modules()} == {type(m) for m in model.modules()}
    save(slim, tmp_path / "slim")
    assert torch.equal(outputs(load(tmp_path / "slim", build(name)), name), expected)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in state.items())


@pytest.mark.parametrize("name", BUILDERS)
def test_the_configuration_follows_a_common_width(name):
    model, field = build(name), BUILDERS[name][1]
    slim = compress_baseline(model, 8, calibration=batch(name), method="random").model
    assert getattr(slim.config, field) == 8
    assert getattr(model.config, field) == 32
    first = find_blocks(model, batch(name)).by_default[0].name
    mixed = compress_baseline(model, {first: 8}, calibration=batch(name), method="random").model
    assert getattr(mixed.config, field) == 32


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_folded_model_of_one_width_goes_through_save_pretrained(name, tmp_path):
    model = build(name)
    folded = fold(compress_baseline(model, 8, calibration=batch(name), method="k-means").model)
    folded.save_pretrained(tmp_path)
    back = type(model).from_pretrained(tmp_path).eval()
    assert torch.allclose(outputs(back, name), outputs(folded, name), atol=1e-6)


@pytest.mark.parametrize("method", ["greedy", "interpolative", "k-means", "nnls", "function", "dynamics"])
def test_layers_without_a_bias_stay_without(method, tmp_path):
    model, how = build("llama"), {"calibration": batch("llama")}
    if method in ("function", "dynamics"):
        result = compress(model, 8, preserve=method, progress=False, **how)
    else:
        result = compress_baseline(model, 8, method=method, **how)
    assert not any("bias" in name for name, _ in result.model.named_parameters())
    assert not any("bias" in note for note in result.report.notes)
    fold(result.model).save_pretrained(tmp_path)
    back = type(model).from_pretrained(tmp_path).eval()
    assert torch.allclose(outputs(back, "llama"), outputs(fold(result.model), "llama"), atol=1e-6)


def test_padded_positions_are_left_out_of_the_calibration():
    model = build("bert")
    full = compress_baseline(model, 8, calibration=batch("bert"), method="greedy")
    other = TOKENS.where(MASK.bool(), (TOKENS + 7) % 50)
    again = compress_baseline(model, 8, calibration={**batch("bert"), "input_ids": other}, method="greedy")
    assert [b.indices for b in full.plan.blocks] == [b.indices for b in again.plan.blocks]
    name = full.plan.blocks[0].outgoing
    assert torch.allclose(
        full.model.get_submodule(name).weight, again.model.get_submodule(name).weight, atol=1e-4
    )


@pytest.mark.parametrize("nested", [False, True])
def test_torch_encoders_do_not_pass_by_the_slim_layers(nested):
    def make():
        layer = nn.TransformerEncoderLayer(8, 2, 24, batch_first=True)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)

    model = seeded(make).eval()
    x, padding = rows(20, 5, 8, dtype=torch.float32), torch.zeros(20, 5, dtype=torch.bool)
    padding[:, 4] = True
    call = {"src": x, "src_key_padding_mask": padding}
    slim = compress_baseline(model, 6, calibration=call, method="random").model
    assert len(find_blocks(model, call).by_default) == 2
    with torch.no_grad():
        quick = slim(**call)
    slow = slim(**call)
    folded = fold(slim)
    assert torch.allclose(quick[:, :4], slow[:, :4], atol=1e-6)
    assert torch.allclose(folded(**call)[:, :4], slow[:, :4], atol=1e-5)


def test_torch_decoder_layers_are_blocks():
    model = seeded(nn.TransformerDecoderLayer, 8, 2, 24, batch_first=True).eval()
    blocks = find_blocks(model)
    assert [b.name for b in blocks.by_default] == ["linear1"]
    x = rows(20, 5, 8, dtype=torch.float32)
    slim = compress_baseline(model, 6, calibration=(x, x.flip(0)), method="k-means").model
    assert slim.linear1.out_features == slim.linear2.in_features == 6


def test_the_field_of_the_configuration_rules_its_own_blocks_only(tmp_path):
    """The pooler is a block too, of another width, to which one width for all may leave its neurons."""

    def make():
        return seeded(lambda: BertForSequenceClassification(BertConfig(vocab_size=50, **SIZES))).eval()

    slim = compress_baseline(make(), 16, calibration=batch("bert"), method="k-means").model
    assert slim.bert.pooler.dense.out_features == 16
    assert slim.config.intermediate_size == 16
    save(slim, tmp_path / "slim")
    assert load(tmp_path / "slim", make()).config.intermediate_size == 16
    folded = fold(slim)
    folded.save_pretrained(tmp_path)
    back = type(slim).from_pretrained(tmp_path).eval()
    assert torch.allclose(outputs(back, "bert"), outputs(folded, "bert"), atol=1e-6)


def test_the_configuration_of_mixed_widths_stays_through_save_and_load(tmp_path):
    model = build("bert")
    first = find_blocks(model, batch("bert")).by_default[0].name
    save(
        compress_baseline(model, {first: 8}, calibration=batch("bert"), method="random").model, tmp_path / "s"
    )
    assert load(tmp_path / "s", build("bert")).config.intermediate_size == 32
