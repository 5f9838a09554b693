"""A slim model comes back: as a torch program, and as a Hugging Face model whose config says the width."""

import pytest
import torch
from torch import nn

from jlab_compress.deployment.pretrained import save_pretrained
from jlab_compress.deployment.program import export_program
from jlab_compress.errors import ExportMismatchError
from jlab_compress.network.compression import compress_baseline
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
    monkeypatch.setattr("jlab_compress.deployment.onnx.folded_of", lambda slim: other)
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
