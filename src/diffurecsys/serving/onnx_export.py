"""A ranker with vectors as an ONNX graph: a history of item numbers in, its vector and every item's score out.

Histories of any length up to the trained one are taken, one at a time. What a ranker draws at random comes in as
further inputs `noise_0`, `noise_1`, … (standard normal; zeros give the middle of what it would draw), so that a graph
gives the same answer every time. `onnx` and `onnxscript` are needed to write, any runtime to read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from diffurecsys.errors import UserError
from diffurecsys.files import atomic_path
from diffurecsys.models.base import VectorRanker
from diffurecsys.models.weights import RankerWeights
from diffurecsys.serving.one_history import Draws, batch_of, one_history_at_a_time

EXAMPLE = 5  # length that is followed


@dataclass(frozen=True)
class Exported:
    """What a graph takes.

    Attributes:
        noise: shapes of the further inputs; None stands for the history's length.
        max_length: of histories.
        steps: of the reverse process that it walks; None where there is none.
    """

    noise: tuple[tuple[int | None, ...], ...]
    max_length: int
    steps: int | None


class OneHistoryGraph(nn.Module):
    """What is exported."""

    def __init__(self, ranker: VectorRanker, steps: int | None) -> None:
        super().__init__()
        self.ranker, self.steps = ranker, steps

    def forward(self, items: Tensor, *noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the history's vector, `[1, width]`, and its scores, `[1, n_items]`."""
        with one_history_at_a_time(), patch("torch.randn", Draws(noise)):
            user = self.ranker.users(batch_of(items), torch.Generator(), self.steps).float()
        return user, user @ self.ranker.items().float().T


def export_onnx(weights: RankerWeights, path: Path, steps: int | None = None) -> Exported:
    """Write a ranker as ONNX.

    Args:
        weights: of the ranker.
        path: of the graph.
        steps: of the reverse process; None: as configured for serving.

    Raises:
        UserError: the ranker has no vectors, or the packages are not there.
    """
    try:
        import onnxscript  # noqa: F401 - what PyTorch's exporter writes with
    except ImportError as error:
        raise UserError("exporting needs the packages onnx and onnxscript: pip install onnx onnxscript") from error
    ranker = weights.build()
    if not isinstance(ranker, VectorRanker) or not weights.config.capabilities.vectors:
        raise UserError(f"{weights.family} has no vectors: only rankers with vectors can be exported to ONNX")
    walked = None
    if weights.config.capabilities.steps:
        walked = steps or weights.config.steps_for("serving") or weights.config.capabilities.steps
    length = min(EXAMPLE, weights.max_length)
    items = torch.arange(length) % weights.n_items
    graph, noise = OneHistoryGraph(ranker, walked).eval(), draws_of(ranker, items, walked)
    symbol = torch.export.Dim("length", min=2, max=weights.max_length) if weights.max_length > 2 else None
    drawn = tuple({axis: symbol for axis, size in enumerate(shape) if size is None} or None for shape in noise)
    shapes: tuple[Any, ...] = ({0: symbol}, drawn) if noise else ({0: symbol},)
    inputs = (items, *(torch.zeros([length if size is None else size for size in shape]) for shape in noise))
    with torch.no_grad():
        recorded = torch.export.export(graph, inputs, dynamic_shapes=shapes, strict=False)
        program = torch.onnx.export(
            recorded,
            dynamo=True,
            verbose=False,
            input_names=["items", *(f"noise_{number}" for number in range(len(noise)))],
            output_names=["user", "scores"],
        )
    assert program is not None
    with atomic_path(path) as temporary:
        program.save(str(temporary))
    return Exported(noise, weights.max_length, walked)


def draws_of(ranker: VectorRanker, items: Tensor, steps: int | None) -> tuple[tuple[int | None, ...], ...]:
    """Return the shapes of what a ranker draws for one history; None stands for its length."""
    found = []
    for history in (items, items[:-1]):
        draws = Draws()
        with torch.no_grad(), one_history_at_a_time(), patch("torch.randn", draws):
            ranker.users(batch_of(history), torch.Generator(), steps)
        found.append(draws.shapes)
    return tuple(
        tuple(None if size != other else int(size) for size, other in zip(shape, shorter, strict=True))
        for shape, shorter in zip(*found, strict=True)
    )
