"""The grid of a study: which models are trained under which seeds, next to which baselines and controls."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """One entry of the grid.

    Attributes:
        model: name of the model, the baseline or the sweep's variant.
        seed: what its random streams derive from; None for a baseline, which draws nothing.
        base: of a sweep's variant, the model that it varies.
        delta: of a sweep's variant, its δ in place of the configured one.
    """

    model: str
    seed: int | None = None
    base: str | None = None
    delta: float | None = None

    @property
    def architecture(self) -> str:
        """Name of the network."""
        return self.base or self.model

    @property
    def group(self) -> str:
        """Namespace of all cells of the model: `diffurec`, `sweep.diffurec_delta_0`, `popularity`."""
        return self.model if self.base is None else f"sweep.{self.model}"

    @property
    def namespace(self) -> str:
        """Prefix of the cell's nodes and datasets: `diffurec.seed_0`, `popularity`."""
        return self.group if self.seed is None else f"{self.group}.seed_{self.seed}"


@dataclass(frozen=True)
class Sweep:
    """Models trained again with other weights δ of the noised target; δ = 0 is the control without diffusion.

    Attributes:
        models: which models of the study.
        deltas: every δ besides the configured one.
        n_seeds: seeds a variant; 0 leaves the sweep out.
    """

    models: tuple[str, ...] = ()
    deltas: tuple[float, ...] = ()
    n_seeds: int = 1

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, variant by variant."""
        return tuple(
            Cell(variant_name(model, delta), seed, base=model, delta=delta)
            for model in self.models
            for delta in self.deltas
            for seed in range(self.n_seeds)
        )


@dataclass(frozen=True)
class Study:
    """Which models, how many seeds, which baselines, which controls.

    Attributes:
        models: variants to train, each with seeds 0 … `n_seeds - 1`.
        n_seeds: seeds a model.
        baselines: rankers without training, one cell each.
        sweep: models with other δ.
    """

    models: tuple[str, ...]
    n_seeds: int
    baselines: tuple[str, ...] = ()
    sweep: Sweep = field(default_factory=Sweep)

    def __post_init__(self) -> None:
        """Refuse an empty or ambiguous grid.

        Raises:
            ValueError: naming the parameter and its value.
        """
        if not self.models:
            raise ValueError("study.models must name at least one model")
        if self.n_seeds < 1:
            raise ValueError(f"study.n_seeds must be at least 1, got {self.n_seeds}")
        if self.sweep.n_seeds < 0:
            raise ValueError(f"study.sweep.n_seeds must not be negative, got {self.sweep.n_seeds}")
        names = [*self.models, *self.baselines]
        if len(set(names)) < len(names):
            raise ValueError(f"study.models and study.baselines must not repeat a name, got {names}")
        for name, values in (("models", self.sweep.models), ("deltas", self.sweep.deltas)):
            if len(set(values)) < len(values):
                raise ValueError(f"study.sweep.{name} must not repeat a value, got {list(values)}")
        if any(delta < 0 for delta in self.sweep.deltas):
            raise ValueError(f"study.sweep.deltas must not be negative, got {list(self.sweep.deltas)}")

    @property
    def trained(self) -> tuple[Cell, ...]:
        """Cells with a model to train, model by model; the sweep's last."""
        return tuple(Cell(model, seed) for model in self.models for seed in range(self.n_seeds)) + self.varied

    @property
    def varied(self) -> tuple[Cell, ...]:
        """The sweep's cells, of models that the study trains anyway."""
        return tuple(cell for cell in self.sweep.cells if cell.base in self.models)

    @property
    def untrained(self) -> tuple[Cell, ...]:
        """Baseline cells."""
        return tuple(Cell(name) for name in self.baselines)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells."""
        return self.trained + self.untrained

    @property
    def variants(self) -> tuple[Cell, ...]:
        """The first cell of each of the sweep's variants."""
        return tuple(cell for cell in self.varied if cell.seed == 0)

    def cells_of(self, model: str) -> tuple[Cell, ...]:
        """All cells of a model, a baseline or a variant."""
        return tuple(cell for cell in self.cells if cell.model == model)


def variant_name(model: str, delta: float) -> str:
    """Name a sweep's variant as datasets and files allow: `diffurec_delta_0_01`."""
    return f"{model}_delta_{delta:.10g}".replace(".", "_")
