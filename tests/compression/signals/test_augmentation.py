import torch

from jlab_compress.compression.signals.augmentation import augmented
from jlab_compress.execution.calls import Call

IDS = torch.arange(200).reshape(10, 20)
MASK = (torch.arange(20) < torch.arange(11, 21)[:, None]).long()


def test_positions_come_from_the_same_place_of_another_row_with_their_mask():
    (view,) = augmented([Call((), {"input_ids": IDS, "attention_mask": MASK, "labels": torch.arange(10)})])
    ids, mask = view.kwargs["input_ids"], view.kwargs["attention_mask"]
    assert (ids % 20 == torch.arange(20)).all()
    assert torch.equal(mask, MASK[ids // 20, torch.arange(20)])
    moved = (ids != IDS).double().mean()
    assert 0.15 < moved < 0.4
    assert torch.equal(view.kwargs["labels"], torch.arange(10))
    assert torch.equal(IDS, torch.arange(200).reshape(10, 20))


def test_same_seed_same_view():
    call = Call((IDS,))
    first, again, other = (augmented([call], seed=seed)[0].args[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_calls_without_tokens_give_no_view():
    images, one = Call((torch.randn(4, 3, 8, 8),)), Call((IDS[:1],))
    square = Call((IDS, torch.zeros(10, 1, 20, 20)))
    assert augmented([images, one, square, Call((torch.randn(5, 6),))]) == []
    assert len(augmented([images, Call((IDS,))])) == 1
