"""`nn.MultiheadAttention` with fewer heads than its stock class can hold, each with a multiplicity."""

from __future__ import annotations

from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jlab_compress.slim.copies import remember, weigh


class SlimMultiheadAttention(nn.MultiheadAttention):
    """Multi-head attention whose heads are narrower together than the embedding, with multiplicities.

    The stock class needs heads that fill the embedding, so a slim one has no stock class to go back to.
    It is never built by hand: a `MultiheadAttention` of a slim model's copy becomes one by
    `open_attention`, keeping its attributes and the names of its parameters.

    The buffer `head_multiplicities`, (s,) or None, weighs the heads in averaged attention weights, and
    divides the gradients of each head's queries, keys and values until the model is folded. The outputs
    are weighed by `out_proj`.
    """

    head_multiplicities: Tensor | None

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Remember the layer while it lives, also where it is copied or unpickled."""
        layer = super().__new__(cls)
        remember(layer)
        return layer

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return outputs and attention weights, arguments and shapes as in the stock class.

        Weights that are not averaged have one entry per kept head.
        """
        if is_causal and attn_mask is None:
            raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
        single = query.dim() == 2
        parts = [x.unsqueeze(0) if single else self._batched(x) for x in (query, key, value)]
        padding = (
            key_padding_mask.unsqueeze(0) if single and key_padding_mask is not None else key_padding_mask
        )
        q, k, v = (self._heads(x, number) for number, x in enumerate(parts))
        outputs, weights = self._attend(q, k, v, self._mask(attn_mask, padding, q), need_weights)
        joined = outputs.transpose(1, 2).flatten(2)
        outputs = self.out_proj(joined.squeeze(0) if single else self._batched(joined))
        if weights is not None and average_attn_weights:
            weights = self._average(weights)
        return outputs, weights.squeeze(0) if single and weights is not None else weights

    @property
    def divides(self) -> bool:
        """Whether gradients are divided by the multiplicities: until `fold` has put these into `out_proj`."""
        return self.head_multiplicities is not None and hasattr(self.out_proj, "input_multiplicities")

    @property
    def output_multiplicities(self) -> Tensor | None:
        """C for each head, by which the gradients of its queries, keys and values are divided, or None."""
        return self.head_multiplicities if self.divides else None

    def row_multiplicities(self) -> Tensor | None:
        """Return c for each row of one projection, or None where gradients are not divided."""
        counts = self.output_multiplicities
        return None if counts is None else counts.repeat_interleave(self.head_dim)

    def _batched(self, x: Tensor) -> Tensor:
        return x if self.batch_first else x.transpose(0, 1)

    def _heads(self, x: Tensor, number: int) -> Tensor:
        """Return queries (0), keys (1) or values (2), (batch, heads, positions, head size)."""
        inner = self.num_heads * self.head_dim
        part = slice(number * inner, (number + 1) * inner)
        separate = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[number]
        weight: Tensor = self.in_proj_weight[part] if separate is None else separate
        bias = None if self.in_proj_bias is None else self.in_proj_bias[part]
        rows = self.row_multiplicities()
        if rows is not None:
            weight = weigh(weight, None, rows[:, None])
            bias = None if bias is None else weigh(bias, None, rows)
        made = F.linear(x, weight, bias)
        return made.reshape(*made.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _mask(self, attention: Tensor | None, padding: Tensor | None, like: Tensor) -> Tensor | None:
        """Return what is added to the scores, broadcastable to (batch, heads, positions, positions)."""
        masks = []
        if attention is not None:
            whole = attention.dim() == 3
            shape = (-1, self.num_heads, *attention.shape[1:])
            masks.append(attention.reshape(shape) if whole else attention)
        if padding is not None:
            masks.append(padding[:, None, None, :])
        added = [
            torch.zeros_like(m, dtype=like.dtype).masked_fill(m, float("-inf"))
            if m.dtype == torch.bool
            else m.to(like.dtype)
            for m in masks
        ]
        return sum(added[1:], start=added[0]) if added else None

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, weighed: bool
    ) -> tuple[Tensor, Tensor | None]:
        dropout = self.dropout if self.training else 0.0
        if not weighed:
            return F.scaled_dot_product_attention(q, k, v, mask, dropout), None
        scores = (q * self.head_dim**-0.5) @ k.transpose(-1, -2)
        weights = F.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
        return weights @ v, weights

    def _average(self, weights: Tensor) -> Tensor:
        if self.head_multiplicities is None:
            return weights.mean(dim=1)
        shares = self.head_multiplicities / self.head_multiplicities.sum()
        return (weights * shares[:, None, None]).sum(dim=1)


def open_attention(module: nn.Module) -> None:
    """Turn a stock `MultiheadAttention` into a slim one in place, equal in function; others stay.

    Its output layer becomes a plain `nn.Linear`, which is called as a module and so can be hooked.

    Examples
    --------
    >>> attention = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = torch.linspace(-1, 1, 48).reshape(2, 3, 8)
    >>> expected = attention(x, x, x)[0]
    >>> open_attention(attention)
    >>> torch.allclose(attention(x, x, x)[0], expected, atol=1e-6)
    True
    """
    if type(module) is not nn.MultiheadAttention:
        return
    module.__class__ = SlimMultiheadAttention
    remember(module)
    opened = cast(Any, module)
    opened.out_proj.__class__ = nn.Linear
    opened.register_buffer("head_multiplicities", None)
