"""What processes that train one ranker together tell each other. A single process says nothing and pays nothing.

A team is started by `torchrun`. In a training step each process has a part of the batch: of its histories, sorted by
length, every n-th. Losses that are means over the asked positions need nothing from here: whoever adds up the parts
weighs them by their labels. Those that take other means, or compare histories with each other, use `weighed_by` and
`gather_rows`, which return what they are given where there is no team.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from diffurecsys.errors import UserError

T = TypeVar("T")


class LostProcessError(UserError, RuntimeError):
    """Another process of the team has ended, so that nothing can be added up any more."""


@dataclass(frozen=True)
class Team:
    """The processes that train one ranker together, as one of them sees them.

    Attributes:
        rank: of this process; 0 leads: it alone reads and writes files.
        size: how many there are.
        group: for what losses exchange; gradients have the default one, so that neither waits for the other's turn.
    """

    rank: int
    size: int
    group: dist.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def sum(self, x: Tensor) -> Tensor:
        """Add up, in place, what all processes have."""
        dist.all_reduce(x, group=self.group)
        return x

    def from_first(self, value: T) -> T:
        """Return what process 0 has."""
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        said: T = box[0]
        return said

    def all_have(self, value: object) -> list[Any]:
        """Return what each process has."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found


@dataclass(frozen=True)
class Part:
    """One process's part of a batch.

    Attributes:
        team: the process, and how many there are.
        lengths: of all histories of the batch, ascending; this process has `lengths[rank::size]`.
        everywhere: whether every position is a label, or the last of each history.
    """

    team: Team
    lengths: tuple[int, ...]
    everywhere: bool

    @property
    def idle(self) -> bool:
        """Whether there are fewer histories than processes, and none for this one: it computes one that weighs 0."""
        return self.team.rank >= len(self.lengths)

    @cached_property
    def histories(self) -> tuple[int, ...]:
        """How many histories each process has."""
        return tuple(len(self.lengths[rank :: self.team.size]) for rank in range(self.team.size))

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """How many events the histories of each process have."""
        return tuple(sum(self.lengths[rank :: self.team.size]) for rank in range(self.team.size))

    @property
    def labels(self) -> int:
        """Labels of the whole batch."""
        return sum(self.lengths) if self.everywhere else len(self.lengths)

    @property
    def weight(self) -> float:
        """This process's share of the labels."""
        return (self.tokens if self.everywhere else self.histories)[self.team.rank] / self.labels

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have losses know of the part."""
        token = _part.set(self)
        try:
            yield
        finally:
            _part.reset(token)


_team: ContextVar[Team | None] = ContextVar("team", default=None)
_part: ContextVar[Part | None] = ContextVar("part", default=None)


def current_team() -> Team | None:
    """Return the team that this process has joined; None: it works alone."""
    return _team.get()


def current_part() -> Part | None:
    """Return the part of a batch that a loss is computed of; None: all of it."""
    return _part.get()


def weighed_by(count: int | Tensor, mean: Tensor) -> Tensor:
    """Make of a mean over other things than labels what adds up to that over all processes' things.

    The parts' losses are weighed by their shares of the labels; this takes that weight back and puts in its own.

    Args:
        count: over how many things, by which the mean is to be weighed.
        mean: over this process's; returned as it is where there is no team.
    """
    part = _part.get()
    if part is None:
        return mean
    own = torch.as_tensor(count, device=mean.device).to(torch.float64, copy=True)
    own = torch.zeros_like(own) if part.idle else own
    share = own / part.team.sum(own.clone())
    return mean if part.idle else mean * (share / part.weight).to(mean.dtype)


def gather_rows(x: Tensor, counts: Sequence[int]) -> Tensor:
    """Lay the rows of all processes one after another; gradients find their way back to the process of each row.

    Args:
        x: `[counts[rank], …]`; an idle process's rows are left out.
        counts: rows of each process, see `Part`.
    """
    part = _part.get()
    if part is None:
        return x
    gathered: Tensor = _Gather.apply(x, tuple(counts), part.team)  # type: ignore[no-untyped-call]  # torch's own
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: tuple[int, ...], team: Team) -> Tensor:  # noqa: ANN401
        own, longest = counts[team.rank], max(counts)
        padded = x.new_zeros((longest, *x.shape[1:]))
        padded[:own] = x[:own]
        rows = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(rows, padded, group=team.group)
        ctx.counts, ctx.team, ctx.shape = counts, team, x.shape
        return torch.cat([part[:count] for part, count in zip(rows, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        team, own = ctx.team, ctx.counts[ctx.team.rank]
        total, first = team.sum(grad.clone(memory_format=torch.contiguous_format)), sum(ctx.counts[: team.rank])
        of_x = grad.new_zeros(ctx.shape)
        of_x[:own] = total[first : first + own]
        return of_x, None, None


# --- joining ----------------------------------------------------------------------------------------------------------

ENDED = "another process of this training has ended, or all were told to"
LOST = re.compile(r"connection (closed|reset|refused)|broken pipe|gloo|nccl|socket", re.IGNORECASE)


def started_by_torchrun() -> bool:
    """Whether this process is one of several that `torchrun` started."""
    return dist.is_available() and dist.is_torchelastic_launched()


@contextmanager
def joined(device: str) -> Iterator[tuple[Team, str]]:
    """Join the team that `torchrun` started; what goes through `cpu` is exchanged by Gloo, through CUDA by NCCL.

    Args:
        device: as configured; `auto` and `cuda` become the CUDA device of this process's number on its machine.

    Yields:
        The team, and the device of this process.

    Raises:
        UserError: there are more processes than CUDA devices.
        LostProcessError: `torchrun` tells this process to end.
    """
    place = _own_device(device)
    dist.init_process_group("gloo" if place == "cpu" else "cpu:gloo,cuda:nccl")
    team = Team(dist.get_rank(), dist.get_world_size(), dist.new_group())
    token, before = _team.set(team), signal.signal(signal.SIGTERM, _told_to_end)
    try:
        yield team, place
        dist.barrier()
        dist.destroy_process_group()
    finally:
        signal.signal(signal.SIGTERM, before)
        _team.reset(token)


def as_lost(error: Exception) -> LostProcessError | None:
    """Read an error as the loss of another process; None: it is something else."""
    if isinstance(error, LostProcessError):
        return error
    if isinstance(error, UserError) or not LOST.search(str(error)):
        return None
    return LostProcessError(ENDED)


def _told_to_end(signum: int, frame: FrameType | None) -> None:
    """`torchrun` tells the others once one has ended."""
    raise LostProcessError(ENDED)


def _own_device(device: str) -> str:
    if device == "cpu" or not (device.startswith("cuda") or torch.cuda.is_available()):
        return "cpu"
    number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= there:
        raise UserError(
            f"process {number} of this machine has no CUDA device, there are {there}: start as many processes "
            f"(--nproc-per-node={max(1, there)}), or use --device cpu"
        )
    torch.cuda.set_device(number)
    return f"cuda:{number}"
