"""Every user's metrics under every training seed: what significance tests read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from diffurecsys.evaluation.metrics import FloatArray, metrics_per_user
from diffurecsys.evaluation.ranks import ALL, Ranking, Ranks

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ModelScores:
    """One model's metrics, user by user.

    Attributes:
        model: its name.
        seeds: training seeds; a single one of a ranker that does not train.
        values: by metric, float64 `[seeds, users]`; users in the same order for all models.
        trains: whether another seed would give other values.
    """

    model: str
    seeds: tuple[int, ...]
    values: Mapping[str, FloatArray]
    trains: bool = True

    def subset(self, users: NDArray[np.bool_]) -> ModelScores:
        """Return the scores of some users, bool `[users]`."""
        return dataclasses.replace(self, values={name: part[:, users] for name, part in self.values.items()})


def user_scores(
    model: str, ranks_by_seed: Mapping[int, Ranks], cutoffs: Sequence[int], ranking: Ranking = ALL
) -> ModelScores:
    """Compute the metrics of every user.

    Args:
        model: name.
        ranks_by_seed: ranks of the same users in the same order under each training seed.
        cutoffs: the K of HR@K and NDCG@K.
        ranking: among all items, or among those that the user did not have.

    Raises:
        ValueError: there is no seed, or seeds rank different users or targets.
    """
    if not ranks_by_seed:
        raise ValueError(f"there are no ranks of {model}: evaluate it first")
    first = next(iter(ranks_by_seed.values()))
    for seed, ranks in ranks_by_seed.items():
        if not (np.array_equal(ranks.user, first.user) and np.array_equal(ranks.target, first.target)):
            raise ValueError(f"seed {seed} of {model} was ranked on other users or targets: evaluate all seeds alike")
    per_seed = [metrics_per_user(ranks, cutoffs, ranking) for ranks in ranks_by_seed.values()]
    return ModelScores(
        model, tuple(ranks_by_seed), {name: np.stack([part[name] for part in per_seed]) for name in per_seed[0]}
    )


def first_seeds(scores: ModelScores, count: int) -> ModelScores:
    """Return the scores under the first `count` training seeds."""
    few = {name: part[:count] for name, part in scores.values.items()}
    return dataclasses.replace(scores, seeds=scores.seeds[:count], values=few)


def choose_pairs(scores: Sequence[ModelScores], pairs: Pairs | None) -> Pairs:
    """Check that what is to be compared can be; None stands for all pairs, (later, earlier).

    Raises:
        ValueError: a name twice or unknown, or models with other metrics or users.
    """
    names = [score.model for score in scores]
    if len(set(names)) < len(names):
        raise ValueError(f"every model may be given once, got {names}")
    shapes = {score.model: {name: part.shape[1] for name, part in score.values.items()} for score in scores}
    for name, shape in shapes.items():
        if shape != shapes[names[0]]:
            raise ValueError(
                f"{name} and {names[0]} do not have the same metrics of the same number of users: "
                f"{shape} and {shapes[names[0]]}"
            )
    chosen = [(later, earlier) for earlier, later in combinations(names, 2)] if pairs is None else list(pairs)
    unknown = sorted({name for pair in chosen for name in pair} - set(names))
    if unknown:
        raise ValueError(f"there are no scores of {', '.join(unknown)}; there are of {', '.join(names)}")
    return chosen
