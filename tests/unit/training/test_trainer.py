"""The training loop on sequences that a model can learn."""

from __future__ import annotations

import dataclasses
import logging
from functools import partial

import pytest
import torch
from torch import nn

from diffurecsys.data.schemes import SCHEMES, prefixes
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.errors import DataError
from diffurecsys.models import Ranker, RankerConfig, build_ranker
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.training import TrainingConfig, derive_generator, device, train
from diffurecsys.training.trainer import NonFiniteLossError

STORE = SequenceStore.from_lists([[(u + step) % 20 for step in range(4 + u % 5)] for u in range(60)], n_items=20)
DATA = StudyData(STORE, leave_one_out(STORE, max_length=10))
MODEL = DiffuRecConfig(width=16, blocks=2, heads=2, diffusion_steps=8)
MODELS = {
    "diffurec": {},
    "cross_attention": {"conditioning": "cross"},
    "diffurecsys": {"conditioning": "cross", "offset_noise": True},
}
CONFIG = TrainingConfig(epochs=4, batch_size=32, learning_rate=3e-3, patience=None, device="cpu")


def run(name="diffurec", seed=0, model=None, data=DATA, **changes):
    how = {key: changes.pop(key) for key in ("checkpoint_path", "on_epoch", "on_step") if key in changes}
    config = dataclasses.replace(MODEL, **{**MODELS[name], **(model or {})})
    ranker = build_ranker("diffurec", config, data.store.n_items, derive_generator(seed, "weights"))
    ranker.observe(data)
    return train(ranker, data, dataclasses.replace(CONFIG, **changes), seed=seed, **how)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def without_times(history):
    return [dataclasses.replace(record, seconds=0, labels_per_second=0, cpu_seconds=0) for record in history]


@pytest.mark.parametrize("name", MODELS)
def test_learns(name):
    result = run(name, epochs=30)
    assert result.history[-1].loss < 0.6 * result.history[0].loss
    best = max(record.validation["NDCG@10"] for record in result.history)
    assert best > 0.8
    assert result.history[result.best_epoch - 1].validation["NDCG@10"] == best


def test_learns_from_sampled_negatives():
    result = run(epochs=30, model={"negatives": 16})
    assert max(record.validation["NDCG@10"] for record in result.history) > 0.8
    assert same(result.state, run(epochs=30, model={"negatives": 16}).state)


def test_a_run_with_sampled_negatives_resumes_to_the_same_bits(tmp_path):
    whole = run(epochs=4, model={"negatives": 16})

    def stop(record):
        if record.epoch == 2:
            raise KeyboardInterrupt

    # the second epoch's checkpoint is not yet written when the callback stops the run
    with pytest.raises(KeyboardInterrupt):
        run(epochs=4, model={"negatives": 16}, checkpoint_path=tmp_path / "run.pt", on_epoch=stop)
    resumed = run(epochs=4, model={"negatives": 16}, checkpoint_path=tmp_path / "run.pt")
    assert resumed.resumed_from == 1
    assert same(whole.state, resumed.state)


@pytest.mark.parametrize("name", MODELS)
def test_same_seed_same_bits_other_seed_other_weights(name):
    one, again, other = run(name, 0), run(name, 0), run(name, 1)
    assert same(one.state, again.state)
    assert without_times(one.history) == without_times(again.history)
    assert not same(one.state, other.state)


def test_the_global_random_stream_plays_no_part():
    torch.manual_seed(1)
    one = run()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert same(one.state, run().state)
    assert torch.equal(torch.get_rng_state(), state)


SHORTER = StudyData(STORE, leave_one_out(STORE, max_length=2))


class KilledError(Exception):
    """Stands in for a kill; a real one is in tests/end_to_end."""


@pytest.mark.parametrize("checkpoint_every", [1, 3])
@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_broken_run_continues_to_the_same_bits(stop_after, checkpoint_every, tmp_path):
    config = {"epochs": 6, "lr_decay_epoch": 2, "checkpoint_every": checkpoint_every}
    unbroken = run("diffurecsys", **config)
    path = tmp_path / "deep" / "checkpoint.pt"

    def stop(record):
        if record.epoch == stop_after:
            raise KilledError

    with pytest.raises(KilledError):
        run("diffurecsys", **config, checkpoint_path=path, on_epoch=stop)
    seen = []
    continued = run("diffurecsys", **config, checkpoint_path=path, on_epoch=lambda record: seen.append(record.epoch))
    # the epoch in which the run was stopped had not been saved yet
    assert continued.resumed_from == (stop_after - 1) // checkpoint_every * checkpoint_every
    assert seen == [1, 2, 3, 4, 5, 6]
    assert same(continued.state, unbroken.state)
    assert without_times(continued.history) == without_times(unbroken.history)


@pytest.mark.parametrize(
    "other",
    [
        partial(run, seed=1),
        partial(run, learning_rate=1e-4),
        partial(run, model={"delta": 0.1}),
        partial(run, data=SHORTER),
    ],
)
def test_a_checkpoint_of_another_run_is_not_continued(other, tmp_path, caplog):
    path = tmp_path / "checkpoint.pt"
    run(checkpoint_path=path)
    with caplog.at_level(logging.WARNING):
        result = other(checkpoint_path=path)
    assert result.resumed_from == 0
    assert "belongs to other settings, data or seed" in caplog.text
    assert same(result.state, other().state)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_damaged_checkpoint_is_not_continued(content, tmp_path, caplog):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        result = run(checkpoint_path=path, epochs=1)
    assert result.resumed_from == 0
    assert str(path) in caplog.text
    assert "cannot be read" in caplog.text


def test_stops_when_patience_runs_out_and_returns_the_best_weights():
    result = run(epochs=30, learning_rate=1e-9, patience=3)  # nothing is learned: the first epochs stay the best
    assert result.finished_early
    assert len(result.history) == result.best_epoch + 3
    until_best = run(epochs=result.best_epoch, learning_rate=1e-9)
    assert same(result.state, until_best.state)


def test_validates_every_nth_epoch_and_the_last():
    result = run(epochs=5, validate_every=2)
    assert [record.epoch for record in result.history if record.validation] == [2, 4, 5]


def test_the_learning_rate_falls_after_the_decay_epoch():
    result = run(epochs=5, lr_decay_epoch=2)
    assert [record.learning_rate for record in result.history] == pytest.approx([3e-3, 3e-3, 3e-4, 3e-4, 3e-5])


def test_a_diverging_run_stops_with_epoch_and_step():
    with pytest.raises(NonFiniteLossError, match=r"epoch \d, step \d+ \(seed 0\).*training\.learning_rate"):
        run(learning_rate=1e30)


def test_clipping_bounds_the_gradient():
    one, clipped = run(epochs=1), run(epochs=1, clip_norm=1e-3)
    assert not same(one.state, clipped.state)


def test_every_step_is_reported():
    steps = []
    run(epochs=2, on_step=steps.append)
    n_examples = len(prefixes(DATA.split.train, 10))
    per_epoch = -(-n_examples // 32)
    assert [(record.epoch, record.step) for record in steps] == [
        (epoch, step) for epoch in (1, 2) for step in range(1, per_epoch + 1)
    ]
    assert sum(record.labels for record in steps) == 2 * n_examples == 2 * DATA.split.train.n_targets


def test_nothing_to_train_on_is_an_error():
    store = SequenceStore.from_lists([[0, 1, 2]], n_items=3)
    with pytest.raises(DataError, match="at least four interactions"):
        run(data=StudyData(store, leave_one_out(store, max_length=5)))


def test_bfloat16_learns_too():
    result = run(epochs=30, precision="bfloat16")
    assert max(record.validation["NDCG@10"] for record in result.history) > 0.8
    assert all(tensor.dtype == torch.float32 for tensor in result.state.values())


def test_a_checkpoint_of_another_precision_is_not_continued(tmp_path, monkeypatch):
    """`auto` is another precision on another processor: one training never mixes them."""
    resumed = []
    for known in (True, False):
        monkeypatch.setattr(device, "multiplies_bfloat16", lambda known=known: known)
        resumed.append(run(epochs=2, precision="auto", checkpoint_path=tmp_path / "checkpoint.pt").resumed_from)
    assert resumed == [0, 0]
    assert run(epochs=2, precision="float32", checkpoint_path=tmp_path / "checkpoint.pt").resumed_from == 2


def test_an_absent_device_is_a_clear_error():
    with pytest.raises(ValueError, match="device must be auto, cpu or cuda, got 'gpu'"):
        run(device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="sees no CUDA device"):
            run(device="cuda")


@pytest.mark.parametrize("stop_after", [1, 2])
def test_averaged_weights_resume_to_the_same_bits(stop_after, tmp_path):
    config = {"epochs": 4, "average": 0.9, "lr_schedule": "cosine", "warmup_steps": 7, "optimiser": "adamw"}
    unbroken = run(**config)

    def stop(record):
        if record.epoch == stop_after + 1:
            raise KilledError

    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KilledError):
        run(**config, checkpoint_path=path, on_epoch=stop)
    continued = run(**config, checkpoint_path=path)
    assert continued.resumed_from == stop_after
    assert same(continued.state, unbroken.state)
    assert without_times(continued.history) == without_times(unbroken.history)


def test_averaged_weights_are_what_is_validated_and_kept():
    plain, averaged = run(epochs=2), run(epochs=2, average=0.99)
    assert [record.loss for record in plain.history] == [record.loss for record in averaged.history]
    assert plain.history[-1].validation != averaged.history[-1].validation
    assert not same(plain.state, averaged.state)


def test_a_damaged_number_in_a_checkpoint_costs_the_checkpoint_not_the_result(tmp_path, caplog):
    path, unbroken = tmp_path / "checkpoint.pt", run(epochs=2)
    run(epochs=2, checkpoint_path=path)
    content, inside = path.read_bytes(), unbroken.state["embedding.weight"].numpy().tobytes()[:64]
    position = content.index(inside) + 2
    path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
    result = run(epochs=2, checkpoint_path=path)
    assert "is damaged" in caplog.text
    assert result.resumed_from == 0
    assert same(result.state, unbroken.state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"average": 1.0}, r"average must lie in \[0, 1\), got 1.0"),
        ({"scheme": "windows"}, "scheme must be one of prefix, window, got 'windows'"),
        ({"optimiser": "sgd"}, "optimiser must be one of adam, adamw, lazy_adam, got 'sgd'"),
        ({"lr_schedule": "linear"}, "lr_schedule must be one of step, cosine, constant, got 'linear'"),
        ({"precision": "float16"}, "precision must be one of auto, float32, bfloat16, got 'float16'"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)


class Unlearning(Ranker):
    """Its loss is the mean number of the items asked for."""

    def __init__(self):
        super().__init__(RankerConfig(), STORE.n_items)
        self.weight = nn.Parameter(torch.zeros(STORE.n_items))

    def loss(self, batch, generator):
        return batch.targets.float().mean() + 0 * self.weight.sum()

    def score(self, batch, generator, steps=None):
        return self.weight.repeat(len(batch), 1)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("batch_size", [7, 64])
def test_every_training_target_counts_once_in_an_epoch_under_every_scheme(scheme, batch_size):
    steps = []
    config = dataclasses.replace(CONFIG, epochs=1, scheme=scheme, batch_size=batch_size)
    result = train(Unlearning(), DATA, config, seed=0, on_step=steps.append)
    targets = [item for user in range(STORE.n_users) for item in training_part(user)[1:]]
    assert result.history[0].loss == pytest.approx(sum(targets) / len(targets), rel=1e-6)
    assert sum(record.labels for record in steps) == len(targets)


def training_part(user: int) -> list[int]:
    return STORE.items[STORE.offsets[user] : STORE.offsets[user + 1] - 2].tolist()
