"""The grid of a study: which models are trained under which seeds, next to which baselines."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One entry of the grid.

    Attributes:
        model: name of the model or baseline.
        seed: what its random streams derive from; None for a baseline, which draws nothing.
    """

    model: str
    seed: int | None = None

    @property
    def namespace(self) -> str:
        """Prefix of the cell's nodes and datasets: `diffurec.seed_0`, `popularity`."""
        return self.model if self.seed is None else f"{self.model}.seed_{self.seed}"


@dataclass(frozen=True)
class Study:
    """Which models, how many seeds, which baselines.

    Attributes:
        models: variants to train, each with seeds 0 … `n_seeds - 1`.
        n_seeds: seeds a model.
        baselines: rankers without training, one cell each.
    """

    models: tuple[str, ...]
    n_seeds: int
    baselines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an empty or ambiguous grid.

        Raises:
            ValueError: naming the parameter and its value.
        """
        if not self.models:
            raise ValueError("study.models must name at least one model")
        if self.n_seeds < 1:
            raise ValueError(f"study.n_seeds must be at least 1, got {self.n_seeds}")
        names = [*self.models, *self.baselines]
        if len(set(names)) < len(names):
            raise ValueError(f"study.models and study.baselines must not repeat a name, got {names}")

    @property
    def trained(self) -> tuple[Cell, ...]:
        """Cells with a model to train, model by model."""
        return tuple(Cell(model, seed) for model in self.models for seed in range(self.n_seeds))

    @property
    def untrained(self) -> tuple[Cell, ...]:
        """Baseline cells."""
        return tuple(Cell(name) for name in self.baselines)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells."""
        return self.trained + self.untrained
