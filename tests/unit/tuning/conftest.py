"""A small search: forty users of a ring of items."""

from __future__ import annotations

import pytest

from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.study import RankerSpec
from diffurecsys.training import TrainingConfig
from diffurecsys.tuning.space import PruningParameters, TuningParameters


@pytest.fixture(scope="session")
def data():
    store = SequenceStore.from_lists([[(u + step) % 20 for step in range(4 + u % 5)] for u in range(40)], n_items=20)
    return StudyData(store, leave_one_out(store, max_length=10))


@pytest.fixture(scope="session")
def spec():
    return RankerSpec(
        "small",
        "sasrec",
        "baseline",
        SASRecConfig(width=8, blocks=1, loss="cross_entropy", max_length=10),
        TrainingConfig(scheme="window", epochs=4, batch_size=16, lr_schedule="constant", patience=None, device="cpu"),
    )


@pytest.fixture
def tuning():
    spaces = {
        "small": {
            "network": {"dropout": [0.0, 0.2], "width": [8, 16]},
            "training": {"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}},
        }
    }
    return TuningParameters(spaces=spaces, n_trials=4, pruning=PruningParameters(after=1, others=1))
