"""The training loop: data on the device, full-catalogue loss, validation, early stopping, exact resumption."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffurecsys.collective import current_team
from diffurecsys.data.packing import PackedBatch, Packer
from diffurecsys.data.schemes import SCHEMES
from diffurecsys.data.split import StudyData
from diffurecsys.errors import DataError, UserError
from diffurecsys.evaluation.metrics import metrics_from_ranks
from diffurecsys.evaluation.ranks import Sharing, rank_targets
from diffurecsys.layers.item_table import densify_gradients
from diffurecsys.models.base import Ranker, scorer
from diffurecsys.training.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from diffurecsys.training.config import TrainingConfig
from diffurecsys.training.device import autocast, in_precision, keep_freed_memory, resolve_device, resolve_precision
from diffurecsys.training.optimisation import WeightAverage, make_optimiser, make_scheduler
from diffurecsys.training.records import EpochRecord, StepRecord, TrainingResult
from diffurecsys.training.seeding import derive_generator
from diffurecsys.training.together import Share, add_up_gradients, noise_of, shares

logger = logging.getLogger(__name__)

VALIDATION_METRIC = "NDCG@10"


class NonFiniteLossError(UserError, RuntimeError):
    """The loss became NaN or infinite."""


def train(
    ranker: Ranker,
    data: StudyData,
    config: TrainingConfig,
    *,
    seed: int,
    version: int = 1,
    title: str = "",
    stop_after: int | None = None,
    checkpoint_path: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
    stop: Callable[[Sequence[EpochRecord]], bool] | None = None,
) -> TrainingResult:
    """Train `ranker` in place and return its best weights.

    In a team (see `collective`) all processes call this with the same arguments, and get the same weights; only the
    first reads and writes the checkpoint.

    Args:
        ranker: freshly initialised, has observed the data; moved to the training device.
        data: sequences and split, on the host.
        config: how to train.
        seed: every random stream of the run derives from it.
        version: of the ranker's family: checkpoints of another one are not continued.
        title: what the log calls the run, where several write one.
        stop_after: train exactly so many of the epochs, without validation, and return the last weights.
        checkpoint_path: where to keep, and look for, a checkpoint of this very run; None keeps none.
        on_epoch: called after every epoch, and once for each epoch that a checkpoint already holds.
        on_step: called after every step.
        stop: asked with all epochs so far, once one was validated, whether training ends there.

    Raises:
        NonFiniteLossError: naming epoch and step.
        DataError: there is nothing to train on.
        ValueError: the device is absent.
    """
    if not data.split.train.n_targets:
        raise DataError("there are no training examples: every user needs at least four interactions to give one")
    run = _Run(ranker, data, config, seed, stop_after, title)
    precision = resolve_precision(run.device, config.precision)
    identity = fingerprint(
        replace(config, device="auto", checkpoint_every=1, precision=precision),  # where, how often change no number
        ranker.config,
        type(ranker),
        version,
        seed,
        *ranker.state_dict().values(),
        data.fingerprint,
        *(() if stop_after is None else (stop_after,)),
    )
    resumed_from, team = 0, run.team
    leads = team is None or team.leads
    saved = load_checkpoint(checkpoint_path, identity) if checkpoint_path and leads else None
    if saved := (saved if team is None else team.from_first(saved)):
        run.load_state(saved)
        resumed_from = len(run.history)
        named = f" ({title})" if title else ""
        logger.info("Continuing after epoch %d of %d%s from %s", resumed_from, config.epochs, named, checkpoint_path)
    if on_epoch:
        for record in run.history:
            on_epoch(record)
    while not run.finished and not (stop and run.best_epoch and stop(run.history)):
        record = run.epoch(on_step)
        if on_epoch:
            on_epoch(record)
        if checkpoint_path and leads and (run.finished or len(run.history) % config.checkpoint_every == 0):
            save_checkpoint(checkpoint_path, run.state(), identity)
    return run.result(resumed_from)


class _Run:
    """All state of one training run."""

    def __init__(
        self, ranker: Ranker, data: StudyData, config: TrainingConfig, seed: int, stop_after: int | None, title: str
    ) -> None:
        self.config, self.seed, self.data, self.stop_after, self.title = config, seed, data, stop_after, title
        self.device = resolve_device(config.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        scheme = SCHEMES[config.scheme]
        examples = scheme.cut(data.split.train, data.split.max_length)
        self.packer = Packer(data.store, examples, self.device, everywhere=scheme.everywhere)
        self.n_labels = int(examples.lengths.sum()) if scheme.everywhere else len(examples)
        self.ranker = ranker.to(self.device)
        self.optimiser = make_optimiser(ranker, config)
        self.scheduler = make_scheduler(self.optimiser, config, steps=-(-len(examples) // config.batch_size))
        self.average = WeightAverage(ranker, config.average) if config.average is not None else None
        self.team = current_team()
        self.loss = self.ranker.loss if self.team is None else add_up_gradients(self.ranker)
        self.shuffle = derive_generator(seed, "shuffle")
        self.noise = derive_generator(seed, "noise", self.device)
        self.history: list[EpochRecord] = []
        self.best_epoch = 0
        self.best_metric = float("-inf")
        self.best_state: dict[str, Tensor] = {}

    @property
    def finished(self) -> bool:
        """Whether all epochs are done or patience ran out."""
        return len(self.history) >= (self.stop_after or self.config.epochs) or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        """Whether the last `patience` validations brought no improvement."""
        validated_since = sum(1 for r in self.history[self.best_epoch :] if r.validation is not None)
        return self.config.patience is not None and validated_since >= self.config.patience

    def epoch(self, on_step: Callable[[StepRecord], None] | None) -> EpochRecord:
        """Train one epoch, validate where due, remember the best weights."""
        number = len(self.history) + 1
        learning_rate = float(self.scheduler.get_last_lr()[0])  # of the epoch's first step
        began, spent = time.perf_counter(), time.process_time()
        loss = self._train_epoch(number, on_step)
        seconds = time.perf_counter() - began
        cpu = time.process_time() - spent if self.device.type == "cpu" else None
        record = EpochRecord(number, loss, learning_rate, seconds, self.n_labels / seconds, None, cpu)
        if number == self.stop_after:
            with self.average.swapped_in() if self.average is not None else nullcontext():
                self._keep(number)
        elif self.stop_after is None and (number % self.config.validate_every == 0 or number == self.config.epochs):
            with self.average.swapped_in() if self.average is not None else nullcontext():
                record = replace(record, validation=self._validate())
                self._keep_if_best(record)
        self.history.append(record)
        self._log(record)
        return record

    def _train_epoch(self, epoch: int, on_step: Callable[[StepRecord], None] | None) -> float:
        self.ranker.train()
        order = torch.randperm(len(self.packer), generator=self.shuffle)
        size = self.config.batch_size
        steps = -(-len(order) // size)
        noise = self.noise if self.team is None else noise_of(self.seed, epoch, self.team, self.device)
        losses, labels = [], []
        for step, share in enumerate(shares(self.packer, order, size, self.team), start=1):
            loss = self._step(share, noise)
            losses.append(loss)
            labels.append(share.labels)
            if self.device.type == "cpu":  # elsewhere reading the loss would make the host wait: look after the epoch
                self._refuse_non_finite(epoch, losses, since=step - 1)
            if on_step:
                on_step(StepRecord(epoch, self.stop_after or self.config.epochs, step, steps, share.labels, loss))
        self._refuse_non_finite(epoch, losses, since=0)
        weights = torch.tensor(labels, dtype=torch.float64)
        return float((torch.stack(losses).double().cpu() * weights).sum() / weights.sum())

    def _step(self, share: Share, noise: torch.Generator) -> Tensor:
        self.optimiser.zero_grad(set_to_none=True)
        with in_precision(self.device, self.config.precision), share.taken():
            loss = self.loss(share.batch, noise)
        loss = share.backward(loss)
        if self.config.optimiser != "lazy_adam":
            densify_gradients(self.ranker.parameters())
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.ranker.parameters(), self.config.clip_norm)
        self.optimiser.step()
        self.scheduler.step()
        if self.average is not None:
            self.average.update()
        return loss

    def _refuse_non_finite(self, epoch: int, losses: list[Tensor], since: int) -> None:
        bad = torch.nonzero(~torch.stack(losses[since:]).isfinite()).flatten()
        if len(bad):
            step = since + int(bad[0])
            raise NonFiniteLossError(
                f"the loss became {float(losses[step])} in epoch {epoch}, step {step + 1} (seed {self.seed}). "
                "Lower training.learning_rate, or set training.clip_norm."
            )

    def _validate(self) -> dict[str, float]:
        self.ranker.eval()
        plain = scorer(self.ranker, "validation")

        def score(batch: PackedBatch, generator: torch.Generator) -> Tensor:
            with autocast(self.device, self.config.precision):
                return plain(batch, generator)

        ranks = rank_targets(
            score,
            self.data,
            self.data.split.validation,
            generator=derive_generator(self.seed, "validation", self.device),
            device=self.device,
            sharing=Sharing(self.team, plain.skip) if self.team is not None else None,
        )
        return metrics_from_ranks(ranks)

    def _keep_if_best(self, record: EpochRecord) -> None:
        assert record.validation is not None
        if record.validation[VALIDATION_METRIC] > self.best_metric:
            self.best_metric = record.validation[VALIDATION_METRIC]
            self._keep(record.epoch)

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        self.best_state = {k: v.detach().cpu().clone() for k, v in self.ranker.state_dict().items()}

    def _log(self, record: EpochRecord) -> None:
        recent = self.history[-3:]
        epochs = self.stop_after or self.config.epochs
        remaining = (epochs - record.epoch) * sum(r.seconds for r in recent) / len(recent)
        validation = record.validation
        logger.info(
            "%sepoch %d/%d  loss %.4f%s  %s labels/s  at most %.0f s to go",
            f"{self.title}, " if self.title else "",
            record.epoch,
            epochs,
            record.loss,
            f"  validation {VALIDATION_METRIC} {validation[VALIDATION_METRIC]:.4f}" if validation else "",
            f"{record.labels_per_second:,.0f}",
            remaining,
        )

    def state(self) -> dict[str, Any]:
        """Everything that continuing needs, as tensors and plain values."""
        return {
            "model": self.ranker.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "shuffle": self.shuffle.get_state(),
            "noise": self.noise.get_state(),
            "history": [asdict(record) for record in self.history],
            "best_epoch": self.best_epoch,
            "best_metric": self.best_metric,
            "best_state": self.best_state,
            "average": self.average.state() if self.average is not None else {},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up where `state` was saved."""
        self.ranker.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.shuffle.set_state(state["shuffle"])
        self.noise.set_state(state["noise"])
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.best_epoch, self.best_metric = state["best_epoch"], state["best_metric"]
        self.best_state = state["best_state"]
        if self.average is not None:
            self.average.load_state(state["average"])

    def result(self, resumed_from: int) -> TrainingResult:
        """Put the best weights back into the model and sum up."""
        self.ranker.load_state_dict(self.best_state)
        self.ranker.eval()
        return TrainingResult(
            state=self.best_state,
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            seconds=sum(record.seconds for record in self.history),
            device=str(self.device),
            resumed_from=resumed_from,
            finished_early=self.out_of_patience and len(self.history) < self.config.epochs,
        )
