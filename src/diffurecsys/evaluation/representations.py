"""What a ranker expects next, user by user, as vectors; of diffusion models the reconstructed targets.

The paper's Figures 3 to 6 draw them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffurecsys.data.packing import PackedBatch, Packer
from diffurecsys.data.store import Examples, SequenceStore

Predict = Callable[[PackedBatch, torch.Generator], Tensor]


@torch.inference_mode()
def reconstruct_targets(
    predict: Predict,
    store: SequenceStore,
    examples: Examples,
    *,
    generator: torch.Generator,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Run one reverse process for every example.

    Args:
        predict: gives x̂_0, `[batch, width]`.
        store: all sequences, on the host.
        examples: whose targets to reconstruct.
        generator: passed to `predict`; on `device`.
        batch_size: examples at once.
        device: where `predict` computes.

    Returns:
        float32 `[examples, width]`, on the host, in the order of the examples.

    Raises:
        ValueError: there is no example.
    """
    if not len(examples):
        raise ValueError("there is no user whose target could be reconstructed")
    packer = Packer(store, examples, device)
    by_length = torch.argsort(examples.lengths, stable=True)
    parts, order = [], []
    for batch, index in packer.batches(by_length, batch_size):
        parts.append(predict(batch, generator).float().cpu())
        order.append(index)
    vectors = torch.cat(parts)
    out = torch.empty_like(vectors)
    out[torch.cat(order)] = vectors
    return out


def sample_targets(
    predict: Predict,
    store: SequenceStore,
    examples: Examples,
    *,
    samples: int,
    generator: torch.Generator,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Run `samples` reverse processes for every example; float32 `[examples, samples, width]` on the host."""
    repeated = Examples(
        torch.repeat_interleave(examples.start, samples), torch.repeat_interleave(examples.end, samples)
    )
    drawn = reconstruct_targets(predict, store, repeated, generator=generator, batch_size=batch_size, device=device)
    return drawn.view(len(examples), samples, -1)
