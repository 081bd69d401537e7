"""How well scores find the validation targets: what rankers choose a few settings by, in `calibrate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from diffurecsys.data.packing import PackedBatch, Packer
from diffurecsys.data.split import StudyData

SCORES_AT_ONCE = 1 << 21  # 8 MB of float32


def validation_batches(data: StudyData, generator: torch.Generator, *, users: int, tokens: int) -> list[PackedBatch]:
    """Pack validation histories with their targets, of some users drawn without replacement.

    Args:
        data: sequences and split, on the host.
        generator: draws the users; its device is where the batches lie.
        users: how many at most.
        tokens: events of their histories at most, though of one user in any case.
    """
    examples, device = data.split.validation, generator.device
    index = torch.randperm(len(examples), generator=generator, device=device)[:users].cpu()
    enough = examples.lengths[index].cumsum(0) <= tokens
    index = index[: max(1, int(enough.sum()))]
    index = index[torch.argsort(examples.lengths[index], stable=True)]
    packer = Packer(data.store, examples, device)
    return [batch for batch, _ in packer.batches(index, max(1, min(512, SCORES_AT_ONCE // data.store.n_items)))]


def ndcg(scores: Tensor, targets: Tensor, cutoff: int = 10) -> Tensor:
    """NDCG@K of each row among all items: its expectation when ties are broken at random, float64 `[batch]`.

    Args:
        scores: `[batch, n_items]`.
        targets: int64 `[batch]`.
        cutoff: K.
    """
    own = scores.gather(1, targets[:, None])
    greater = (scores > own).sum(1, dtype=torch.int32)  # three times as fast as int64
    tied = (scores == own).sum(1, dtype=torch.int32)  # the target is one of them
    gains = 1 / torch.arange(2, cutoff + 2, dtype=torch.float64, device=scores.device).log2()
    summed = torch.cat([gains.new_zeros(1), gains.cumsum(0)])  # of the first 0, 1, … places
    return (summed[(greater + tied).clamp(max=cutoff)] - summed[greater.clamp(max=cutoff)]) / tied


def mean_ndcg(score: Callable[[PackedBatch], Tensor], batches: Iterable[PackedBatch]) -> float:
    """Return the mean NDCG@10 of all histories; NaN without any."""
    return float(torch.cat([torch.empty(0), *(ndcg(score(batch), batch.targets).cpu() for batch in batches)]).mean())
