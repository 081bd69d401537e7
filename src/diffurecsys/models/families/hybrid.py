"""A trained ranker and counted transitions together: what the one knows of tastes, and the other of what follows what.

score = network's + weight · log(1 + sharpness · transitions'). Both are trained, or counted, apart; the two numbers
that join them are chosen on the validation targets afterwards. So any ranker that trains can be helped by counts
that take a second, and a weight of 0 is that ranker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffurecsys.checks import at_least
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.models.base import Capabilities, Family, Purpose, Ranker, RankerConfig, scorer
from diffurecsys.models.calibration import ndcg, validation_batches
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.models.families.transitions import TransitionsConfig
from diffurecsys.models.registry import find_family

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
SHARPNESSES = (0.1, 1.0, 10.0, 100.0, 1000.0)
CALIBRATION_TOKENS = 1 << 20  # of the histories that the mixture is chosen on, at most


@dataclass(frozen=True)
class HybridConfig(RankerConfig):
    """The two rankers, and how many users decide between them.

    Attributes:
        inner_family: of the ranker that trains.
        inner: its configuration.
        transitions: configuration of the counts.
        calibration_users: validation users that weight and sharpness are chosen on.
    """

    inner_family: str = "sasrec"
    inner: RankerConfig = field(default_factory=SASRecConfig)
    transitions: TransitionsConfig = field(default_factory=TransitionsConfig)
    calibration_users: int = 4096

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "calibration_users")
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
    """

    config: HybridConfig
    weight: Tensor
    sharpness: Tensor

    def __init__(self, config: HybridConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.network = find_family(config.inner_family).build(config.inner, n_items)
        self.counts = find_family("transitions").build(config.transitions, n_items)
        self.register_buffer("weight", torch.zeros(()))
        self.register_buffer("sharpness", torch.ones(()))

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
        """Take over both rankers' settings, the weight and the sharpness."""
        assert isinstance(other, Hybrid)
        self.network.adopt(other.network, data)
        self.counts.adopt(other.counts, data)
        self.weight.copy_(other.weight)
        self.sharpness.copy_(other.sharpness)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the network's."""
        return self.network.parameter_groups()

    def score(self, batch: PackedBatch, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Add up both, float32 `[batch, n_items]`."""
        scores = self.network.score(batch, generator, steps)
        if not self.weight:
            return scores
        counted = self.counts.score(batch, generator).mul_(self.sharpness).log1p_()
        return scores.addcmul_(counted, self.weight)

    @torch.no_grad()
    def calibrate(self, data: StudyData, generator: torch.Generator) -> dict[str, Any]:
        """Choose the counts' settings, then weight and sharpness, by NDCG@10 (all items ranked) of validation users.

        Returns:
            What either ranker chose for itself under `inner` and `transitions`, weight, sharpness, and the users'
            `validation_ndcg`, with that of the network alone as `validation_ndcg_of_inner`.
        """
        chosen = {
            "inner": self.network.calibrate(data, generator),
            "transitions": self.counts.calibrate(data, generator),
        }
        network = scorer(self.network, "evaluation")
        batches = validation_batches(data, generator, users=self.config.calibration_users, tokens=CALIBRATION_TOKENS)
        pairs = [(0.0, 1.0), *((weight, sharpness) for sharpness in SHARPNESSES for weight in WEIGHTS if weight)]
        found: dict[tuple[float, float], list[Tensor]] = {pair: [] for pair in pairs}
        for batch in batches:
            scores, counted = network(batch, generator), self.counts.score(batch, generator)
            known, logarithm = 0.0, counted
            for weight, sharpness in pairs:
                if weight and sharpness != known:
                    known, logarithm = sharpness, counted.mul(sharpness).log1p_()
                found[weight, sharpness].append(ndcg(torch.add(scores, logarithm, alpha=weight), batch.targets))
        quality = {pair: float(torch.cat(parts).mean()) for pair, parts in found.items()}
        best = max(quality, key=lambda pair: quality[pair])  # the first of equals: the smaller weight
        self.weight.fill_(best[0])
        self.sharpness.fill_(best[1])
        own = {"weight": best[0], "sharpness": best[1], "validation_ndcg": quality[best]}
        return {**chosen, **own, "validation_ndcg_of_inner": quality[0.0, 1.0]}


FAMILY = Family("hybrid", HybridConfig, Hybrid)
