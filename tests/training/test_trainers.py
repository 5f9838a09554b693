"""Trainers that own the loop: transformers' Trainer itself, and a loop of Lightning's form."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from transformers import Trainer, TrainerCallback, TrainingArguments

from jlab_compress.training.gradient_sums import clip_grad_norm_
from tests.repeated import STEPS, TOLERANCE, Pair, batch, undivided

MAX_NORM = 0.05


class Scored(nn.Module):
    """Takes keywords and returns its loss, as transformers' models do."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, labels):
        outputs = self.net(x)
        return {"loss": F.mse_loss(outputs, labels), "logits": outputs}


class Clip(TrainerCallback):
    """All that a Trainer needs besides `max_grad_norm=0`."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        clip_grad_norm_(model.parameters(), MAX_NORM)


def fit(pair, net, folder, *, max_norm, callbacks=(), optimizer="adamw_torch"):
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=6,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        weight_decay=0.1,
        warmup_steps=20,
        lr_scheduler_type="cosine",
        max_grad_norm=max_norm,
        optim=optimizer,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    data = [{"x": x, "labels": y} for x, y in zip(pair.x, pair.y, strict=True)]
    Trainer(Scored(net), arguments, train_dataset=data, callbacks=list(callbacks)).train()


@pytest.mark.parametrize("optimizer", ["adamw_torch", "sgd"])
def test_the_trainer_of_transformers(optimizer, tmp_path):
    """Groups by name, accumulation, warm-up, cosine, clipping by a callback."""
    pair = Pair()
    fit(pair, pair.wide, tmp_path, max_norm=MAX_NORM, optimizer=optimizer)
    fit(pair, pair.slim, tmp_path, max_norm=0.0, callbacks=[Clip()], optimizer=optimizer)
    assert pair.distance() < TOLERANCE


def test_twin_its_own_clipping_moves_a_slim_model_otherwise(tmp_path):
    pair = Pair()
    for net in (pair.wide, pair.slim):
        fit(pair, net, tmp_path, max_norm=MAX_NORM)
    assert pair.distance() > 1e-3


def test_twin_undivided_gradients_move_otherwise_in_the_trainer(tmp_path):
    pair = Pair()
    fit(pair, pair.wide, tmp_path, max_norm=0.0, optimizer="sgd")
    fit(pair, undivided(pair.slim), tmp_path, max_norm=0.0, optimizer="sgd")
    assert pair.distance() > 1e-3


class Module(nn.Module):
    """What a Lightning module asks of its author."""

    def __init__(self, net, clip):
        super().__init__()
        self.net, self.clip = net, clip

    def training_step(self, pair):
        return F.mse_loss(self.net(pair[0]), pair[1])

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), 1e-2, weight_decay=0.1)
        return optimizer, lr_scheduler.OneCycleLR(optimizer, max_lr=2e-2, total_steps=STEPS)

    def configure_gradient_clipping(self, optimizer):
        self.clip(self.parameters(), MAX_NORM)


def fit_module(pair, module, accumulate=2):
    """Automatic optimization: a closure that steps forward and back runs inside the optimizer's step."""
    optimizer, scheduler = module.configure_optimizers()
    module.train()
    for number in range(accumulate * STEPS):

        def closure(number=number):
            loss = module.training_step(batch(pair, number))
            if number % accumulate == 0:
                optimizer.zero_grad()
            (loss / accumulate).backward()
            if (number + 1) % accumulate == 0:
                module.configure_gradient_clipping(optimizer)
            return loss

        if (number + 1) % accumulate:
            closure()
        else:
            optimizer.step(closure)
            scheduler.step()


def test_a_loop_of_lightnings_form():
    pair, twin = Pair(), Pair()
    fit_module(pair, Module(pair.wide, nn.utils.clip_grad_norm_))
    fit_module(pair, Module(pair.slim, clip_grad_norm_))
    assert pair.distance() < TOLERANCE
    for net in (twin.wide, twin.slim):
        fit_module(twin, Module(net, nn.utils.clip_grad_norm_))
    assert twin.distance() > 1e-3


def test_the_trainer_of_transformers_goes_on_from_its_checkpoint_in_the_same_bits(tmp_path):
    def run(pair, name, checkpoint=None):
        arguments = TrainingArguments(
            output_dir=str(tmp_path / name),
            max_steps=4,
            save_steps=2,
            lr_scheduler_type="constant",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        data = [{"x": x, "labels": y} for x, y in zip(pair.x, pair.y, strict=True)]
        Trainer(Scored(pair.slim), arguments, train_dataset=data).train(resume_from_checkpoint=checkpoint)
        return list(pair.slim.parameters())

    whole = run(Pair(), "whole")
    resumed = run(Pair(), "resumed", str(tmp_path / "whole" / "checkpoint-2"))
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
    assert not torch.equal(whole[0], next(Pair().slim.parameters()))
