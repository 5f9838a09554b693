"""A Hugging Face model whose config says the width comes back by `from_pretrained`; others are refused."""

import pytest
import torch

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.deployment.program.huggingface import save_pretrained
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
