"""One step of several processes: each has a part of the batch, all end with the same weights.

Gradients are added up by PyTorch's DistributedDataParallel, for every family: a loss is one scalar of one call, and all
gradients are dense, those of item tables too. What the parts' losses mean together is said in `collective`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from diffurecsys.collective import Part, Team
from diffurecsys.data.packing import PackedBatch, Packer
from diffurecsys.models.base import Ranker
from diffurecsys.training.seeding import derive_generator

logger = logging.getLogger(__name__)

REPLICATED_BYTES = 1 << 30  # of one table; measured at a quarter of it, see docs/scale.md
COPIES = 5  # of a table in each process: itself, gradient, DistributedDataParallel's bucket, two moments

Loss = Callable[[PackedBatch, Generator], Tensor]


@dataclass(frozen=True)
class Share:
    """What one process computes in a step.

    Attributes:
        batch: its histories.
        labels: of the whole batch.
        part: which part of it these are; None: all.
    """

    batch: PackedBatch
    labels: int
    part: Part | None

    def taken(self) -> AbstractContextManager[None]:
        """Have losses know of the part."""
        return nullcontext() if self.part is None else self.part.taken()

    def backward(self, loss: Tensor) -> Tensor:
        """Compute gradients of the whole batch's loss; return that."""
        if self.part is None:
            loss.backward()
            return loss.detach()
        weight, team = self.part.weight, self.part.team
        (loss * (weight * team.size)).backward()  # DistributedDataParallel divides the gradients' sum by the size
        return team.sum(loss.detach() * weight)


def shares(packer: Packer, order: Tensor, batch_size: int, team: Team | None) -> Iterator[Share]:
    """Yield this process's share of each batch, taken in the order given (int64, on the host), same for all processes.

    Of a batch's histories, sorted by length, process r of n has every n-th from r: nearly as many tokens as others.
    """
    if team is None:
        for batch, _ in packer.batches(order, batch_size):
            yield Share(batch, len(batch.targets), None)
        return
    for begin in range(0, len(order), batch_size):
        index = packer.by_length(order[begin : begin + batch_size])
        part = Part(team, tuple(packer.lengths[index].tolist()), packer.everywhere)
        own = index[:1] if part.idle else index[team.rank :: team.size]
        yield Share(packer.pack(own)[0], part.labels, part)


def noise_of(seed: int, epoch: int, team: Team, device: torch.device) -> Generator:
    """Return a process's random stream in an epoch: where it begins depends on nothing that was drawn before."""
    return derive_generator(seed, f"noise of epoch {epoch} in process {team.rank} of {team.size}", device)


class _Loss(nn.Module):
    """DistributedDataParallel calls `forward`, and rankers have `loss`.

    The parameter has no use: where all have one, DistributedDataParallel prints that looking for others costs time.
    """

    def __init__(self, ranker: Ranker) -> None:
        super().__init__()
        self.ranker = ranker
        self.unused = nn.Parameter(torch.zeros((), device=next(ranker.parameters()).device))

    def forward(self, batch: PackedBatch, generator: Generator) -> Tensor:
        return self.ranker.loss(batch, generator)


def add_up_gradients(ranker: Ranker) -> Loss:
    """Return the ranker's loss, whose backward pass adds up all processes' gradients.

    Parameters that a step leaves alone, such as those of discriminators between their turns, keep no gradient, as in
    one process. Looking for them also keeps the order of additions the same from the first step on, so that a resumed
    run adds up as an unbroken one does. Buffers are not exchanged: all processes count the same steps.
    """
    _warn_of_large_tables(ranker)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")  # its successor is new in 2.13
        return DistributedDataParallel(_Loss(ranker), find_unused_parameters=True, broadcast_buffers=False)


def _warn_of_large_tables(ranker: Ranker) -> None:
    for name, table in ranker.named_parameters():
        size = table.numel() * table.element_size()
        if size > REPLICATED_BYTES and dist.get_rank() == 0:
            logger.warning(
                "%s of %s numbers is %.1f GB, more than the %.1f GB up to which a table is best kept whole in every "
                "process: each needs %.0f GB for it, and as much as the table itself is exchanged in every step. "
                "Choose a smaller network.width, or see docs/scale.md for tables divided by rows.",
                name,
                " x ".join(f"{length:,}" for length in table.shape),
                size / 1e9,
                REPLICATED_BYTES / 1e9,
                COPIES * size / 1e9,
            )
