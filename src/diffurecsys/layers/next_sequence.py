"""What belongs to the next sequence of a batch: pairs that do not belong together, for contrasts."""

from __future__ import annotations

import torch
from torch import Tensor

from diffurecsys.collective import Part, current_part, gather_rows
from diffurecsys.layers.segments import Segments


def of_next_sequence(z: Tensor, segments: Segments) -> Tensor:
    """Give every token the row of the token at the same place of the next sequence, or of that one's last.

    The first follows the last; what a batch's sequences are does not depend on how many processes have parts of it.
    """
    part = current_part()
    if part is None:
        return z[next_sequence(segments)]
    everyone = gather_rows(z, part.tokens)
    return z + 0 * everyone.sum() if part.idle else everyone[next_sequence_of(part, segments)]


def next_sequence(segments: Segments) -> Tensor:
    """int64 `[tokens]`: the token at the same place of the next sequence, or its last; the first follows the last."""
    other = (segments.sequence + 1) % len(segments.lengths)
    offsets = segments.offsets.long()
    return torch.minimum(offsets[other] + segments.place, offsets[other + 1] - 1)


def next_sequence_of(part: Part, segments: Segments) -> Tensor:
    """int64 `[tokens]`: as `next_sequence`, among the gathered tokens of all processes."""
    lengths, size = torch.tensor(part.lengths), part.team.size
    order = torch.argsort(torch.arange(len(lengths)) % size, stable=True)  # process by process, as tokens are gathered
    first = torch.empty_like(lengths)
    first[order] = lengths[order].cumsum(0) - lengths[order]
    other = (part.team.rank + size * torch.arange(len(segments.lengths)) + 1) % len(lengths)
    begin, last = (x[other].to(segments.sequence.device)[segments.sequence] for x in (first, first + lengths - 1))
    return torch.minimum(begin + segments.place, last)
