"""How a history's vector and an item's are compared: inner products, or cosines sharpened by a temperature."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from diffurecsys.layers.normalisation import unit_rows

Similarity = Literal["dot", "cosine"]


def asked_vectors(x: Tensor, similarity: Similarity, temperature: float) -> Tensor:
    """Make of `[asked, width]` what inner products with `offered_vectors` turn into scores.

    Args:
        x: what the network says of each asked position.
        similarity: `dot` leaves it as it is.
        temperature: of `cosine`: scores lie within ± 1 / temperature.
    """
    return unit_rows(x.float()) / temperature if similarity == "cosine" else x


def offered_vectors(items: Tensor, similarity: Similarity) -> Tensor:
    """Make of item embeddings `[n_items, width]` what is compared: for `cosine` of unit length."""
    return unit_rows(items) if similarity == "cosine" else items
