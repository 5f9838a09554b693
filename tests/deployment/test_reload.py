"""A slim model comes back: as a torch program, and as a Hugging Face model whose config says the width."""

import copy

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.deployment.huggingface import save_pretrained
from jlab_compress.deployment.onnx.export import export_onnx
from jlab_compress.deployment.torch_program import export_program
from jlab_compress.errors import ExportMismatchError
from jlab_compress.slim.storage import load, save
from tests.deployment.networks import IDS, MODELS, Encoder, bert, normal, slim_mlp

TOKENS = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}


def test_program_runs_without_the_model(tmp_path):
    slim, wide = slim_mlp()
    path = export_program(slim, tmp_path / "m.pt2", normal(3, 8))
    x = normal(11, 8, seed=1)
    torch.testing.assert_close(torch.export.load(path).module()(x), wide.eval()(x))
    assert [p.name for p in tmp_path.iterdir()] == ["m.pt2"]
    with pytest.raises(FileExistsError, match="is there already"):
        export_program(slim, path, normal(3, 8))
    with pytest.raises(ValueError, match=r"ends in \.pt2"):
        export_program(slim, tmp_path / "m.onnx", normal(3, 8))


def test_program_takes_other_lengths(tmp_path):
    path = export_program(Encoder(), tmp_path / "m.pt2", MODELS["encoder"][1])
    ids = torch.arange(28).reshape(4, 7)
    found = torch.export.load(path).module()(ids=ids, mask=torch.ones_like(ids))
    torch.testing.assert_close(found["logits"], Encoder().eval()(ids, torch.ones_like(ids))["logits"])


def test_a_wrong_program_is_not_left(tmp_path, monkeypatch):
    other = nn.Linear(8, 4)
    monkeypatch.setattr("jlab_compress.deployment.onnx.export.folded_of", lambda slim: other)
    with pytest.raises(ExportMismatchError, match=r"of the outputs' norm and .* off, expected at most 1e-05"):
        export_program(slim_mlp()[0], tmp_path / "m.pt2", normal(3, 8))
    assert list(tmp_path.iterdir()) == []


def test_hugging_face_model_with_one_width_comes_back(tmp_path):
    model = bert()
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
    slim = compress_baseline(bert(), widths, calibration=TOKENS, method="magnitude").model
    with pytest.raises(ValueError, match="from_pretrained would not give this model back"):
        save_pretrained(slim, tmp_path / "slim")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_other_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is no transformers model"):
        save_pretrained(slim_mlp()[0], tmp_path / "slim")
    with pytest.raises(ValueError, match="has no compression plan"):
        save_pretrained(bert(), tmp_path / "slim")


def test_a_reloaded_model_gives_the_same_file(tmp_path):
    example = MODELS["encoder"][1]
    widths = {"encoder.layers.0.linear1": 8, "encoder.layers.0.self_attn": 1}
    slim = compress_baseline(Encoder().eval(), widths, calibration=example, method="magnitude").model
    save(slim, tmp_path / "slim.safetensors")
    back = load(tmp_path / "slim.safetensors", Encoder().eval())
    files = [
        export_onnx(model, tmp_path / name, example).sha256
        for model, name in ((slim, "a.onnx"), (back, "b.onnx"))
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.bfloat16, 3e-2), (torch.float16, 3e-3), (torch.float64, 1e-6)]
)
def test_a_model_comes_back_in_another_precision(dtype, bound, tmp_path):
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    slim = compress_baseline(model, 16, calibration=normal(64, 8), method="interpolative").model
    save(slim, tmp_path / "slim.safetensors")
    back = load(tmp_path / "slim.safetensors", copy.deepcopy(model).to(dtype))
    assert {parameter.dtype for parameter in back.parameters()} == {dtype}
    x = normal(5, 8)
    found, right = back(x.to(dtype)).float(), slim(x)
    assert 0 < (found - right).norm() < bound * right.norm()
