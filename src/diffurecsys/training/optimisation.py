"""How steps become weights: the optimiser, the course of its learning rate, averages of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from diffurecsys.models.base import Ranker
from diffurecsys.training.config import TrainingConfig


class LazyAdam(torch.optim.Adam):
    """Adam that, of a parameter with a sparse gradient, moves the rows that stand there and their moments alone.

    A step over a table costs what its rows cost, whatever the table's size. Rows that a step left alone keep their
    moments, where Adam lets them fade and goes on moving the row: that of `torch.optim.SparseAdam`, which takes no
    other parameters.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # noqa: ANN401 - as the base's
        """Make a step; parameters with dense gradients as Adam does."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._step_rows(parameter, group)
                    parameter.grad = None
        return super().step(closure)

    def _step_rows(self, table: Tensor, group: dict[str, Any]) -> None:
        assert table.grad is not None
        found, (beta1, beta2), state = table.grad.coalesce(), group["betas"], self.state[table]
        rows, gradient = found.indices()[0], found.values()
        if not state:  # as Adam's, so that either goes on from the other's state
            state["step"] = torch.zeros((), device=table.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
        state["step"] += 1
        step = float(state["step"])
        if group["weight_decay"]:
            gradient = gradient.add(table.index_select(0, rows), alpha=group["weight_decay"])
        mean = state["exp_avg"].index_select(0, rows).lerp_(gradient, 1 - beta1)
        square = state["exp_avg_sq"].index_select(0, rows).mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        state["exp_avg"].index_copy_(0, rows, mean)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        move = mean.div_(1 - beta1**step).div_(square.div_(1 - beta2**step).sqrt_().add_(group["eps"]))
        table.index_add_(0, rows, move, alpha=-float(group["lr"]))


OPTIMISERS: dict[str, type[torch.optim.Adam]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "lazy_adam": LazyAdam,
}


def make_optimiser(ranker: Ranker, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the configured optimiser over the ranker's parameter groups."""
    return OPTIMISERS[config.optimiser](
        ranker.parameter_groups(),
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )


def make_scheduler(optimiser: torch.optim.Optimizer, config: TrainingConfig, *, steps: int) -> LambdaLR:
    """Return the course of the learning rate, to be advanced after every step.

    Args:
        optimiser: whose rates are set.
        config: the course.
        steps: an epoch.
    """

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        if config.lr_schedule == "step":
            return rise * config.lr_decay ** (step // steps // config.lr_decay_epoch)
        if config.lr_schedule == "cosine":
            return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / (steps * config.epochs))))
        return rise

    return LambdaLR(optimiser, factor)


class WeightAverage:
    """An exponential moving average of a ranker's weights, which can take their place for a while."""

    def __init__(self, ranker: Ranker, decay: float) -> None:
        self._ranker = ranker
        self._averaged = AveragedModel(ranker, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=False)

    def update(self) -> None:
        """Take the current weights into the average."""
        self._averaged.update_parameters(self._ranker)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Put the average in the place of the weights for the block."""
        own = [parameter.data for parameter in self._ranker.parameters()]
        for parameter, mean in zip(self._ranker.parameters(), self._averaged.module.parameters(), strict=True):
            parameter.data = mean.data
        try:
            yield
        finally:
            for parameter, data in zip(self._ranker.parameters(), own, strict=True):
                parameter.data = data

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` takes."""
        return self._averaged.state_dict()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take up an earlier average."""
        self._averaged.load_state_dict(state)
