"""How much arithmetic a model needs for a packed batch: matrix products alone, no padding."""

from __future__ import annotations

from diffurecsys.data.packing import PackedBatch
from diffurecsys.models.families.diffurec import DiffuRecConfig


def forward_flops(
    model: str, config: DiffuRecConfig, batch: PackedBatch, n_items: int, denoiser_calls: int = 1
) -> float:
    """Floating-point operations of a forward pass; a training step takes three times as many.

    Counted are the linear maps, the attention's two products and the scores of the catalogue. In the last block only
    keys, values and cross-attention are needed at every token; of the first cross-attention, keys and values do not
    change between calls.
    """
    d, tokens, examples = config.width, float(len(batch.items)), float(len(batch))
    pairs = float(sum(length**2 for length in batch.lengths))
    cross = 8 * d * d * tokens + 4 * d * pairs if model != "diffurec" else 0.0
    inner = 24 * d * d * tokens + 4 * d * pairs + cross
    last = 4 * d * d * tokens + 20 * d * d * examples + 4 * d * tokens + cross
    unchanged = 4 * d * d * tokens if model != "diffurec" else 0.0
    each = (config.blocks - 1) * inner + last - unchanged
    return denoiser_calls * each + unchanged + 2 * d * n_items * examples
