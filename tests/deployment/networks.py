"""Small networks that several tests export and serve."""

import torch
from torch import nn

from jlab_compress.slim.conversion import attach_plan
from jlab_compress.slim.operators import units_of
from jlab_compress.slim.plan import BlockPlan, Plan
from jlab_compress.slim.weighted import WeightedLinear

IDS = torch.arange(15).reshape(3, 5)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mlp(width=32, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Dropout(), nn.Linear(width, 4))


def slim_mlp():
    """Return a network with multiplicities, and the wide network that they stand for."""
    narrow = mlp(6)
    counts = torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0, 1.0])
    slim = nn.Sequential(
        WeightedLinear(8, 6, output_multiplicities=counts),
        nn.ReLU(),
        nn.Dropout(),
        WeightedLinear(6, 4, input_multiplicities=counts),
    )
    with torch.no_grad():
        for one, value in zip(slim.parameters(), narrow.parameters(), strict=True):
            one.copy_(value)
    copies = torch.repeat_interleave(torch.arange(6), counts.long())
    wide = mlp(10)
    with torch.no_grad():
        wide[0].weight.copy_(narrow[0].weight[copies])
        wide[0].bias.copy_(narrow[0].bias[copies])
        wide[3].weight.copy_(narrow[3].weight[:, copies])
        wide[3].bias.copy_(narrow[3].bias)
    block = BlockPlan("0", "mlp", units_of(wide, ("0",), "3", 10), 10, 6, "exact duplicates", "weighted")
    attach_plan(slim, Plan((block,)))
    return slim, wide


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU())
        self.head = nn.Linear(8, 2)

    def forward(self, image):
        return self.head(self.features(image).mean((2, 3)))


class DepthwiseNet(nn.Module):
    """One channel of the middle layer to one channel of the first."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        first = (nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU())
        middle = (nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU())
        self.features = nn.Sequential(*first, *middle, nn.Conv2d(8, 4, 1))
        self.head = nn.Linear(4, 2)

    def forward(self, image):
        return self.head(self.features(image).mean((2, 3)))


class Encoder(nn.Module):
    def __init__(self, heads=2, layers=1):
        super().__init__()
        torch.manual_seed(2)
        self.embedding = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, heads, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, ids, mask):
        hidden = self.encoder(self.embedding(ids), src_key_padding_mask=mask == 0)
        return {"hidden": hidden, "logits": self.head(hidden[:, 0])}


class Score(nn.Module):
    """One number per row, so an output without a second axis."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.linear = nn.Linear(8, 1)

    def forward(self, x):
        return self.linear(x).squeeze(1)


def bert(layers=1):
    from transformers import BertConfig, BertModel

    torch.manual_seed(3)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    return BertModel(BertConfig(vocab_size=60, max_position_embeddings=40, **sizes))


MODELS = {
    "mlp": (mlp, normal(3, 8), None),
    "conv": (ConvNet, normal(2, 3, 9, 8), {"image": {0: "batch", 2: "height", 3: "width"}}),
    "encoder": (Encoder, {"ids": IDS, "mask": torch.ones_like(IDS)}, None),
    "bert": (bert, {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}, None),
}
