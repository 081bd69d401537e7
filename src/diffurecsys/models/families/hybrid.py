"""A trained ranker and counted transitions together: what the one knows of tastes, and the other of what follows what.

score(j) = network's + weight · log(1 + sharpness · transitions') - repeat_penalty · [j stands in the history]. Both are
trained, or counted, apart; the three numbers are chosen on the validation targets afterwards. So any ranker that trains
can be helped by counts that take a second, and zeros make it that ranker. The penalty says how much less likely than
others of its score an item is that the user had: where nobody ever has an item twice, as in reviews, it puts those
items last, which a softmax network and counts do not learn by themselves; where users return, it may be negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from diffurecsys.checks import at_least, one_of
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.models.base import Capabilities, Family, Purpose, Ranker, RankerConfig, scorer
from diffurecsys.models.calibration import ndcg, validation_batches
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.models.families.transitions import TransitionsConfig
from diffurecsys.models.registry import find_family

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0)
SHARPNESSES = (0.1, 1.0, 10.0, 100.0, 1000.0)
NEVER = 1e4  # below all others, while float32 still tells scores of one size apart
REPEAT_PENALTIES = (0.0, NEVER, 8.0, 4.0, 2.0, 1.0, -0.5, -1.0, -2.0)
CALIBRATION_TOKENS = 1 << 20  # of the histories that the mixture is chosen on, at most

Repeats = Literal["calibrated", "as_scored"]


@dataclass(frozen=True)
class HybridConfig(RankerConfig):
    """The two rankers, and how many users decide between them.

    Attributes:
        inner_family: of the ranker that trains.
        inner: its configuration.
        transitions: configuration of the counts.
        calibration_users: validation users that weight, sharpness and penalty are chosen on.
        repeats: `calibrated`; or `as_scored`: no penalty.
    """

    inner_family: str = "sasrec"
    inner: RankerConfig = field(default_factory=SASRecConfig)
    transitions: TransitionsConfig = field(default_factory=TransitionsConfig)
    calibration_users: int = 4096
    repeats: Repeats = "calibrated"

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "calibration_users")
        one_of(self, get_args(Repeats), "repeats")
        if not isinstance(self.inner, find_family(self.inner_family).config):
            raise ValueError(
                f"inner is a {type(self.inner).__name__}, which inner_family {self.inner_family!r} has not"
            )
        if not self.inner.capabilities.trains:
            raise ValueError(f"inner_family must be one that trains, got {self.inner_family!r}")

    @classmethod
    def parts(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Both rankers."""
        return {"inner": str(values.get("inner_family", cls.inner_family)), "transitions": "transitions"}

    @property
    def capabilities(self) -> Capabilities:
        """Those of the trained ranker, but for vectors: counts are none."""
        inner = self.inner.capabilities
        return Capabilities(schemes=inner.schemes, samples=inner.samples, steps=inner.steps)

    def steps_for(self, purpose: Purpose) -> int | None:
        """Reverse steps of the trained ranker."""
        return self.inner.steps_for(purpose)


class Hybrid(Ranker):
    """Holds both rankers; trains the one, lets the other count, joins their scores.

    Attributes:
        weight: float32 `[]`; 0 until it is chosen, so that in training the network is validated alone.
        sharpness: float32 `[]`.
        repeat_penalty: float32 `[]`; 0 until it is chosen.
    """

    config: HybridConfig
    weight: Tensor
    sharpness: Tensor
    repeat_penalty: Tensor

    def __init__(self, config: HybridConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.network = find_family(config.inner_family).build(config.inner, n_items)
        self.counts = find_family("transitions").build(config.transitions, n_items)
        self.register_buffer("weight", torch.zeros(()))
        self.register_buffer("sharpness", torch.ones(()))
        self.register_buffer("repeat_penalty", torch.zeros(()))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the network's weights."""
        self.network.initialise(generator)

    def observe(self, data: StudyData) -> None:
        """Let both look at the training part."""
        self.network.observe(data)
        self.counts.observe(data)

    def loss(self, batch: PackedBatch, generator: torch.Generator) -> Tensor:
        """Return the network's own loss."""
        return self.network.loss(batch, generator)

    def adopt(self, other: Ranker, data: StudyData) -> None:
        """Take over both rankers' settings, and what joins them."""
        assert isinstance(other, Hybrid)
        self.network.adopt(other.network, data)
        self.counts.adopt(other.counts, data)
        for name in ("weight", "sharpness", "repeat_penalty"):
            getattr(self, name).copy_(getattr(other, name))

    def settle(self) -> None:
        """Let both settle."""
        self.network.settle()
        self.counts.settle()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the network's."""
        return self.network.parameter_groups()

    def score(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Add up both and lower what the history holds, float32 `[batch, n_items]`."""
        scores = self.network.score(batch, generator, steps)
        if self.weight:
            counted = self.counts.score(batch, generator).mul_(self.sharpness).log1p_()
            scores = scores.addcmul_(counted, self.weight)
        return _lower(scores, batch, self.repeat_penalty) if self.repeat_penalty else scores

    def skip(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> None:
        """Draw what the network would."""
        self.network.skip(batch, generator, steps)

    @torch.no_grad()
    def calibrate(self, data: StudyData, generator: torch.Generator) -> dict[str, Any]:
        """Choose the counts' settings, then what joins both, by NDCG@10 (all items ranked) of validation users.

        Weight and sharpness are chosen with no penalty and with that of items that nobody has twice, then the penalty
        with these.

        Returns:
            What either ranker chose for itself under `inner` and `transitions`, weight, sharpness, repeat_penalty, and
            the users' `validation_ndcg`, with that of the network alone as `validation_ndcg_of_inner`.
        """
        chosen = {
            "inner": self.network.calibrate(data, generator),
            "transitions": self.counts.calibrate(data, generator),
        }
        network = scorer(self.network, "evaluation")
        batches = validation_batches(data, generator, users=self.config.calibration_users, tokens=CALIBRATION_TOKENS)
        penalties = REPEAT_PENALTIES if self.config.repeats == "calibrated" else (0.0,)
        pairs = [(0.0, 1.0), *((weight, sharpness) for sharpness in SHARPNESSES for weight in WEIGHTS if weight)]

        def qualities(joined: list[tuple[float, float, float]]) -> dict[tuple[float, float, float], float]:
            found = [
                _ndcg(network(batch, generator), self.counts.score(batch, generator), batch, joined)
                for batch in batches
            ]
            return dict(zip(joined, torch.cat(found, dim=1).mean(1).tolist(), strict=True))

        quality = qualities([(*pair, penalty) for penalty in penalties[:2] for pair in pairs])
        best = max(quality, key=lambda joined: quality[joined])  # the first of equals: the smaller weight
        if penalties[2:]:
            quality |= qualities([(*best[:2], penalty) for penalty in penalties[2:]])
        best = max(quality, key=lambda joined: quality[joined])
        own = dict(zip(("weight", "sharpness", "repeat_penalty"), best, strict=True))
        for name, value in own.items():
            getattr(self, name).fill_(value)
        return {
            **chosen,
            **own,
            "validation_ndcg": quality[best],
            "validation_ndcg_of_inner": quality[0.0, 1.0, 0.0],
        }


def _ndcg(scores: Tensor, counted: Tensor, batch: PackedBatch, joined: list[tuple[float, float, float]]) -> Tensor:
    """NDCG@10 under each weight, sharpness and penalty, those of one sharpness together: `[joined, batch]`."""
    found, known, logarithm = [], 0.0, counted
    for weight, sharpness, penalty in joined:
        if weight and sharpness != known:
            known, logarithm = sharpness, counted.mul(sharpness).log1p_()
        both = torch.add(scores, logarithm, alpha=weight) if weight else scores.clone()
        both = _lower(both, batch, torch.tensor(penalty)) if penalty else both
        found.append(ndcg(both, batch.targets))
    return torch.stack(found)


def _lower(scores: Tensor, batch: PackedBatch, penalty: Tensor) -> Tensor:
    """Take `penalty` from the scores of each history's items, once for each, in place."""
    row = torch.repeat_interleave(
        torch.arange(len(batch), device=scores.device), batch.offsets.diff().long(), output_size=len(batch.items)
    )
    scores[row, batch.items] -= penalty.to(scores.device)  # assigned, so an item that stands there twice counts once
    return scores


FAMILY = Family("hybrid", HybridConfig, Hybrid)
