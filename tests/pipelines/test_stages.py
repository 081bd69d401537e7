"""Everything after the study tables, on cells too small to be good: which stages there are, and that they run."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner

from diffurecsys.data.specs import DatasetSpec
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.registry import find_family
from diffurecsys.parameters import (
    EvaluationParameters,
    GroupParameters,
    MapParameters,
    ProbeParameters,
    SignificanceParameters,
)
from diffurecsys.pipelines import groups, inference, maps, reporting, significance, sweep
from diffurecsys.pipelines import study as collecting
from diffurecsys.pipelines.arrays import history_table, ranks_table
from diffurecsys.study import RankerSpec, Study, Sweep
from diffurecsys.training import TrainingConfig
from diffurecsys.training.fit import fit_cell, rank_cell

TRAINING = TrainingConfig(epochs=1, batch_size=256, device="cpu")
TINY = {"width": 8, "blocks": 1, "heads": 2, "diffusion_steps": 4, "delta": 0.5}


def spec(name, family, role, network=None):
    return RankerSpec(name, family, role, network or find_family(family).config(), TRAINING)


COUNTS = (spec("popularity", "popularity", "baseline"), spec("transitions", "transitions", "baseline"))
DIFFUSION = spec("diffurec", "diffurec", "model", DiffuRecConfig(**TINY))
QUIET = spec("quiet", "diffurec", "control", DiffuRecConfig(**{**TINY, "delta": 0.0}))
PLAIN = spec("plain", "diffurec", "model", DiffuRecConfig(**{**TINY, "delta": 0.0}))  # vectors, but no samples


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 12, (60,), generator=generator).tolist()
    lists = [torch.randint(25, (n,), generator=generator).tolist() for n in lengths]
    store = SequenceStore.from_lists(lists, n_items=25)
    return StudyData(store, leave_one_out(store, max_length=10))


SAMPLES = {"spread_table", "beyond_accuracy_table", "step_times_table", "inference_table"}


class Kept(MemoryDataset):
    """Stays after the last node that reads it."""

    def _release(self):
        pass


def after_cells(study: Study) -> Pipeline:
    stages = (collecting, significance, groups, inference, sweep, maps, reporting)
    return sum((stage.create_pipeline(study) for stage in stages), Pipeline([]))


def run(study: Study, data: StudyData, folder: Path) -> dict:
    """Fit all cells, run all stages, and return every dataset."""
    given = {
        "params:study": study,
        "params:evaluation": EvaluationParameters(batch_size=32, device="cpu"),
        "params:significance": SignificanceParameters(n_resamples=100),
        "params:groups": GroupParameters(),
        "params:probes": ProbeParameters(users=20, ensemble_sizes=(1, 2), reverse_steps=(1, 2, 4, 32), top_k=5),
        "params:maps": MapParameters(users=20, sampled_users=2, samples=5),
        "params:experiment": "mine",
        "params:dataset": DatasetSpec("sample", "sample.zip"),
        "params:run": {"command": "kedro run", "date": "2030-01-02", "revision": "abc"},
        "counts": {stage: {"users": 60, "items": 25, "interactions": 400} for stage in ("raw", "core")},
        "split": data,
        "reporting_folder": folder,
    }
    for cell in study.cells:
        fitted = fit_cell(cell, data)
        ranks = rank_cell(fitted.weights, data, seed=cell.seed, device="cpu")
        tables = [ranks_table(found).assign(split=part) for part, found in ranks.items()]
        given |= {
            f"params:{cell.namespace}.cell": cell,
            f"{cell.namespace}.weights": fitted.weights,
            f"{cell.namespace}.record": fitted.record,
            f"{cell.namespace}.history": history_table(fitted.history),
            f"{cell.namespace}.ranks": pd.concat(tables, ignore_index=True),
        }
    pipeline = after_cells(study)
    assert pipeline.inputs() <= set(given)
    catalog = DataCatalog({name: MemoryDataset(value, copy_mode="assign") for name, value in given.items()})
    for name in pipeline.all_outputs():
        catalog[name] = Kept(copy_mode="assign")
    SequentialRunner().run(pipeline, catalog)
    return {name: catalog.load(name) for name in pipeline.all_outputs()}


def test_without_samples_and_sweeps_a_study_is_reported_all_the_same(data, tmp_path):
    study = Study((*COUNTS, PLAIN), n_seeds=1)
    found = run(study, data, tmp_path)
    assert not SAMPLES & set(found)
    assert {"plain.target_map", "plain.item_map", "target_maps_figure"} <= set(found)
    assert not [name for name in found if "sample_map" in name or "sweep" in name or "ensemble" in name]
    report = found["report_md"]
    assert "Left out: Inference: no ranker that was to be probed draws samples or walks reverse steps." in report
    assert "No ranker of this study diffuses." in report
    assert found["report_txt"].startswith("Best of 3 rankers on test NDCG@10")
    table = found["leaderboard_table"]
    assert table[table["model"] == "transitions"]["n_seeds"].eq(0).all()
    assert table["ranking"].tolist()[:6] == ["all"] * 3 + ["unseen"] * 3


def test_counting_rankers_alone_are_compared_with_each_other(data, tmp_path):
    found = run(Study(COUNTS, n_seeds=1), data, tmp_path)
    pairs = found["comparisons_table"][["model", "reference"]].drop_duplicates()
    assert pairs.to_numpy().tolist() == [["transitions", "popularity"]]
    assert not [name for name in found if name.endswith("_map") or name in ("curves_figure", "training_times_table")]
    assert "Representations: no ranker that was to be mapped has vectors" in found["report_md"]


def test_samplers_get_probes_algorithm_3_and_maps_and_sweeps_their_tables(data, tmp_path):
    sweeps = {
        "delta": Sweep(("diffurec",), "network.delta", (0.0, 0.1), 1),
        "rate": Sweep(("diffurec",), "training.learning_rate", (0.01,), 2),
    }
    study = Study((*COUNTS, DIFFUSION, QUIET), n_seeds=2, sweeps=sweeps)
    found = run(study, data, tmp_path)
    levels = found["inference_table"].groupby(["model", "kind"])["level"].unique().map(list).to_dict()
    assert levels["diffurec", "steps"] == [1, 2, 4]  # as many as it has
    assert levels["diffurec", "ensemble"] == levels["diffurec", "algorithm_3"] == [1, 2]
    assert levels["diffurec", "training_seeds"] == [1, 2]
    assert ("quiet", "ensemble") not in levels
    assert ("diffurec_delta_0", "ensemble") not in levels
    assert ("diffurec_delta_0_1", "training_seeds") not in levels  # of one seed
    assert ("diffurec_learning_rate_0_01", "training_seeds") in levels
    sweep_table = found["sweeps_table"]
    told = sweep_table[sweep_table["metric"] == "NDCG@10"][["sweep", "value", "configured", "n_seeds"]]
    assert told.to_numpy().tolist() == [
        ["delta", "0.5", True, 2],
        ["delta", "0", False, 1],
        ["delta", "0.1", False, 1],
        ["rate", "0.001", True, 2],
        ["rate", "0.01", False, 2],
    ]
    assert (sweep_table["family_size"].dropna() == 3).all()  # variants; every metric has its own correction
    overlaps = sweep_table.groupby("model")["overlap"].first()
    assert pd.isna(overlaps["diffurec_delta_0"])
    assert 0 <= overlaps["diffurec"] <= 1
    assert {"diffurec.target_map", "diffurec.sample_map", "sample_maps_figure", "sweeps_figure"} <= set(found)
    assert not [name for name in found if name.startswith("quiet.") and name.endswith("_map")]  # a control
    report = found["report_html"]
    for title in ("Inference", "Sweeps", "Beyond accuracy", "Representations"):
        assert f"<h2>{title}</h2>" in report
    assert re.search(r"diffurec vs the control quiet|The control quiet vs diffurec", found["report_txt"])
    assert found["configurations_table"]["model"].tolist()[:4] == ["diffurec", "quiet", "popularity", "transitions"]


def test_only_rankers_that_are_named_are_mapped():
    study = Study((*COUNTS, DIFFUSION, PLAIN), n_seeds=1, mapped=("plain",))
    outputs = after_cells(study).all_outputs()
    assert "plain.target_map" in outputs
    assert "diffurec.target_map" not in outputs
    assert "target_maps_figure" in outputs
    assert "sample_maps_figure" not in outputs  # plain draws no samples


def test_each_stage_is_a_box_that_no_other_interrupts(recwarn):
    study = Study((*COUNTS, DIFFUSION), n_seeds=1, sweeps={"delta": Sweep(("diffurec",), "network.delta", (0.1,), 1)})
    boxes = {node.namespace for node in after_cells(study).nodes}
    assert {"significance", "groups", "inference", "reporting", "diffurec", "study", "sweeps"} <= boxes
    assert not [warning for warning in recwarn if "interrupted" in str(warning.message)]
