"""Nodes that probe the inference of trained rankers: samples, ensembles, Algorithm 3, fewer reverse steps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from diffurecsys.columns import MODEL, SEED, USER
from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData
from diffurecsys.data.store import Examples
from diffurecsys.evaluation import inference
from diffurecsys.evaluation.inference_summary import (
    compare_levels,
    measure_beyond_accuracy,
    sampling_spread,
    summarise_inference,
)
from diffurecsys.models.base import Ranker, Score, scorer
from diffurecsys.models.weights import RankerWeights
from diffurecsys.pipelines.boxes import of_cells, safe
from diffurecsys.pipelines.groups.nodes import divide_users
from diffurecsys.study import Cell, Study
from diffurecsys.training import derive_generator
from diffurecsys.training.device import resolve_device

if TYPE_CHECKING:
    from diffurecsys.parameters import EvaluationParameters, GroupParameters, ProbeParameters, SignificanceParameters

OF_SAMPLES = ("spread", "beyond_accuracy")


@dataclass(frozen=True)
class Probes:
    """Which cells can be probed for what.

    Attributes:
        cells: all that are probed, ranker by ranker.
        sampling: cells whose rankers draw samples.
        from_last_item: cells whose rankers have Algorithm 3.
        stepping: cells whose rankers walk more than one reverse step.
    """

    cells: tuple[Cell, ...]
    sampling: tuple[Cell, ...]
    from_last_item: tuple[Cell, ...]
    stepping: tuple[Cell, ...]

    @classmethod
    def of(cls, study: Study) -> Probes:
        """Ask the rankers' capabilities, the sweeps' included."""
        asked = [(cell, cell.spec.network.capabilities) for cell in study.cells if study.probes(cell)]
        return cls(
            tuple(cell for cell, can in asked if can.samples or can.steps > 1),
            tuple(cell for cell, can in asked if can.samples),
            tuple(cell for cell, can in asked if can.samples and can.from_last_item),
            tuple(cell for cell, can in asked if can.steps > 1),
        )

    @property
    def rankers(self) -> dict[str, tuple[Cell, ...]]:
        """The probed cells by ranker."""
        return {name: tuple(cells) for name, cells in groupby(self.cells, key=lambda cell: cell.spec.name)}

    @property
    def repeated(self) -> list[tuple[Cell, ...]]:
        """The cells of each sampling ranker that was trained under several seeds."""
        return [cells for cells in self.rankers.values() if len(cells) > 1 and cells[0] in self.sampling]

    @property
    def ensembles(self) -> dict[str, str]:
        """Datasets of ensembles over training seeds, by their `safe` names."""
        names = [f"{cells[0].group}.training_ensembles" for cells in self.repeated]
        return {safe(name): name for name in names}

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that the probes give."""
        names = [*(OF_SAMPLES if self.sampling else ()), *(("step_times",) if self.stepping else ())]
        return ("inference", "probe_comparisons", *names) if self.cells else ()


def probe_samples(
    cell: Cell, evaluation: EvaluationParameters, probes: ProbeParameters, data: StudyData, weights: RankerWeights
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Let the cell's ranker find some test users' targets in many samples.

    Returns:
        Places under single samples and under ensembles of them; the samples' top-K lists.
    """
    examples = _probed_examples(probes, data)
    probe = _probe_ensembles(cell, evaluation, probes, data, weights, from_last_item=False)
    users = examples.users(data.store).numpy()
    places = {inference.SAMPLE: probe.single, inference.ENSEMBLE: probe.ensembles}
    return inference.probed_ranks_table(users, places), inference.recommendations_table(users, probe.items)


def probe_from_last_item(
    cell: Cell, evaluation: EvaluationParameters, probes: ProbeParameters, data: StudyData, weights: RankerWeights
) -> pd.DataFrame:
    """Let the cell's ranker find the targets by the paper's Algorithm 3 as printed."""
    users = _probed_examples(probes, data).users(data.store).numpy()
    probe = _probe_ensembles(cell, evaluation, probes, data, weights, from_last_item=True)
    return inference.probed_ranks_table(users, {inference.ALGORITHM_3: probe.ensembles})


def probe_steps(
    cell: Cell, evaluation: EvaluationParameters, probes: ProbeParameters, data: StudyData, weights: RankerWeights
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Let the cell's ranker find the targets with fewer reverse steps.

    Returns:
        Places by number of steps; what the steps took.
    """
    examples, device = _probed_examples(probes, data), resolve_device(evaluation.device)
    ranker = weights.build(device)
    most = ranker.config.capabilities.steps
    steps = [number for number in probes.reverse_steps if number <= most]
    probe = inference.probe_steps(
        ranker.score,
        data.store,
        examples,
        generators={
            number: _generator(probes, cell, f"{number} steps", device)
            for number in sorted(steps if len(steps) > 1 else (1, most))
        },
        ranking=evaluation.ranking,
        batch_size=evaluation.batch_size,
        device=device,
    )
    users = examples.users(data.store).numpy()
    times = [{"steps": number, "users": len(users), "seconds": taken} for number, taken in probe.seconds.items()]
    return inference.probed_ranks_table(users, {inference.STEPS: probe.places}), pd.DataFrame(times)


def probe_training_seeds(
    evaluation: EvaluationParameters, probes: ProbeParameters, data: StudyData, **weights: RankerWeights
) -> pd.DataFrame:
    """Find the probed users' targets with each of a ranker's training seeds and with ensembles of them."""
    examples, device = _probed_examples(probes, data), resolve_device(evaluation.device)
    n = len(weights)
    probe = inference.probe_sampling(
        [scorer(part.build(device), "evaluation") for part in weights.values()],
        data.store,
        examples,
        generators=[derive_generator(seed, "training ensemble", device) for seed in range(n)],
        sizes=sorted({size for size in probes.ensemble_sizes if 2 <= size <= n} | {n}),
        ranking=evaluation.ranking,
        batch_size=evaluation.batch_size,
        device=device,
    )
    places = {inference.MEMBER: probe.single, inference.TRAINING_SEEDS: probe.ensembles}
    return inference.probed_ranks_table(examples.users(data.store).numpy(), places)


def summarise_probes(
    study: Study,
    evaluation: EvaluationParameters,
    groups: GroupParameters,
    significance: SignificanceParameters,
    data: StudyData,
    **probed: pd.DataFrame,
) -> dict[str, pd.DataFrame]:
    """Sum up the probes of every ranker: the tables of `Probes.tables`, with a column for the ranker."""
    probes = Probes.of(study)
    users = next(iter(probed.values()))[USER].unique()
    positions = torch.searchsorted(data.split.test.users(data.store), torch.as_tensor(users))
    members = divide_users(data, groups, positions)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in probes.tables}

    def of(cells: tuple[Cell, ...], dataset: str) -> list[pd.DataFrame]:
        return [probed[name] for name in of_cells(cells, dataset) if name in probed]

    for ranker, cells in probes.rankers.items():
        kinds = ("sampled_ranks", "algorithm_3_ranks", "stepped_ranks")
        places = [pd.concat([table for kind in kinds for table in of((cell,), kind)]) for cell in cells]
        together = probed.get(safe(f"{cells[0].group}.training_ensembles"))
        cutoffs, confidence = evaluation.cutoffs, significance.confidence
        found = {
            "inference": summarise_inference(places, together, members, cutoffs, confidence),
            "probe_comparisons": compare_levels(
                places,
                together,
                cutoffs,
                n_resamples=significance.n_resamples,
                confidence=confidence,
                margin=significance.margin,
                seed=significance.seed,
            ),
        }
        if recommended := of(cells, "recommendations"):
            found["spread"] = sampling_spread(recommended, confidence)
            found["beyond_accuracy"] = measure_beyond_accuracy(recommended, data.popularity.numpy())
        if times := of(cells, "step_times"):
            found["step_times"] = pd.concat([part.assign(**{SEED: seed}) for seed, part in enumerate(times)])
        for name, table in found.items():
            parts[name].append(table.assign(**{MODEL: ranker}))
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}


def _probe_ensembles(
    cell: Cell,
    evaluation: EvaluationParameters,
    probes: ProbeParameters,
    data: StudyData,
    weights: RankerWeights,
    *,
    from_last_item: bool,
) -> inference.SamplingProbe:
    device = resolve_device(evaluation.device)
    ranker = weights.build(device)
    score = _score_from_last_item(ranker) if from_last_item else scorer(ranker, "evaluation")
    purpose, n = "algorithm 3" if from_last_item else "sample", max(probes.ensemble_sizes)
    return inference.probe_sampling(
        [score] * n,
        data.store,
        _probed_examples(probes, data),
        generators=[_generator(probes, cell, f"{purpose} {number}", device) for number in range(n)],
        sizes=probes.ensemble_sizes,
        top_k=probes.top_k,
        ranking=evaluation.ranking,
        batch_size=evaluation.batch_size,
        device=device,
    )


def _score_from_last_item(ranker: Ranker) -> Score:
    def score(batch: PackedBatch, generator: torch.Generator) -> Tensor:
        users: Tensor = ranker.users_from_last_item(batch, generator)  # type: ignore[operator]  # asked by capability
        scores: Tensor = users @ ranker.items().float().T  # type: ignore[operator]
        return scores

    return score


def _probed_examples(probes: ProbeParameters, data: StudyData) -> Examples:
    examples = data.split.test
    return examples[inference.choose_users(len(examples), probes.users, probes.seed)]


def _generator(probes: ProbeParameters, cell: Cell, purpose: str, device: torch.device) -> torch.Generator:
    return derive_generator(probes.seed, f"{purpose} of {cell.namespace}", device)
