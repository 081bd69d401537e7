"""What holds for every neural baseline of the paper's Table 5, through what all rankers offer."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from diffurecsys.data.packing import Packer, pack_histories
from diffurecsys.data.schemes import SCHEMES
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.layers.segments import Segments
from diffurecsys.models import build_ranker
from diffurecsys.models.registry import find_family
from diffurecsys.models.weights import RankerWeights, load_weights, save_weights
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.training.config import TrainingConfig
from diffurecsys.training.fit import fit_cell

N_ITEMS, LENGTH = 30, 12
CASES = {  # family and what sets it apart; without dropout, small
    "duorec": ("duorec", {}),
    "cl4srec": ("cl4srec", {"negatives": 200, "contrast": 0.01}),
    "stosa": ("stosa", {"blocks": 2}),
    "stosa_released": ("stosa", {"propagate_mean": False, "dropout": 0.1}),
    "vsan": ("vsan", {"cap": 0.01}),
    "acvae": ("acvae", {"scoring_draws": 0, "hidden": 16, "latent": 8}),
    "mfgan": ("mfgan", {"warmup": 0, "discriminator_every": 1}),
    "stosa_ce": ("stosa", {"loss": "cross_entropy"}),
    "cl4srec_ce": ("cl4srec", {"loss": "cross_entropy"}),
}
SMALL = {"width": 16, "heads": 2, "max_length": LENGTH}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_config(case: str, **changes):
    family, own = CASES[case]
    config = find_family(family).config
    known = {field.name for field in dataclasses.fields(config)}
    return config(**{**{name: value for name, value in SMALL.items() if name in known}, **own, **changes})


def make(case: str, seed: int = 0, **changes):
    return build_ranker(CASES[case][0], small_config(case, **changes), N_ITEMS, generator(seed))


def successors() -> StudyData:
    """50 users who walk the catalogue by one rule, so that the last item tells the next."""
    rows = []
    for user in range(50):
        rows.append([user % N_ITEMS])
        for _ in range(2 + user % 8):  # backwards: 13 · 7 = 1 modulo 30
            rows[-1].insert(0, 13 * (rows[-1][0] - 3) % N_ITEMS)
        for _ in range(2):  # for validation and test
            rows[-1].append((7 * rows[-1][-1] + 3) % N_ITEMS)
    store = SequenceStore.from_lists(rows, N_ITEMS)
    return StudyData(store, leave_one_out(store, max_length=LENGTH))


def training_batch(case: str, data: StudyData, count: int = 50):
    scheme = SCHEMES[small_config(case).capabilities.schemes[0]]
    examples = scheme.cut(data.split.train, data.split.max_length)
    packer = Packer(data.store, examples, everywhere=scheme.everywhere)
    return packer.pack(torch.arange(min(count, len(packer))))[0]


HISTORIES = [[3], [0, 29, 4], [29, 1, 1, 7, 5], list(range(LENGTH)), [5, 6]]


@pytest.mark.parametrize("case", CASES)
def test_overfits_fifty_sequences(case):
    data, noise = successors(), generator(1)
    model = make(case, dropout=0.0)
    model.observe(data)
    batch = training_batch(case, data, 500)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        model.loss(batch, noise).backward()
        optimiser.step()
    targets = batch.targets[Segments.of(batch).last] if batch.everywhere else batch.targets
    assert {0, N_ITEMS - 1} <= set(targets.tolist())
    scores = model.eval().score(batch, noise).detach()
    for row, history in enumerate(batch.items.split(list(batch.lengths))):
        scores[row, history[history != targets[row]]] = float("-inf")  # no loss by pairs compares with these
    above = (scores > scores.gather(1, targets[:, None])).sum(1)
    assert above.float().mean() < 0.1


@pytest.mark.parametrize("case", CASES)
def test_the_generator_decides_everything(case):
    data = successors()
    state = torch.get_rng_state()

    def results(seed: int):
        model = make(case, seed)
        model.observe(data)
        loss = model.loss(training_batch(case, data), generator(seed))
        loss.backward()
        return loss.detach(), model.eval().score(pack_histories(HISTORIES), generator(seed))

    (loss, scores), (same_loss, same_scores), (other_loss, _) = results(1), results(1), results(2)
    assert torch.equal(loss, same_loss)
    assert torch.equal(scores, same_scores)
    assert not torch.equal(loss, other_loss)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("case", CASES)
def test_scores_do_not_depend_on_batch_mates_and_agree_with_float64(case):
    model = make(case).eval()
    exact = copy.deepcopy(model).double()
    with torch.inference_mode():
        together = model.score(pack_histories(HISTORIES), generator())
        assert together.dtype == torch.float32
        assert together.shape == (len(HISTORIES), N_ITEMS)
        for row, history in enumerate(sorted(HISTORIES, key=len)):
            batch = pack_histories([history])
            torch.testing.assert_close(together[row], model.score(batch, generator())[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(together[row], exact.score(batch, generator())[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_scores_are_products_of_vectors(case):
    model = make(case).eval()
    assert model.config.capabilities.vectors
    with torch.inference_mode():
        batch = pack_histories(HISTORIES)
        users, items = model.users(batch, generator()), model.items()
        assert users.dtype == items.dtype == torch.float32
        assert torch.equal(model.score(batch, generator()), users @ items.T)


@pytest.mark.parametrize("case", CASES)
def test_weights_score_without_what_only_training_needs(case, tmp_path):
    data, model = successors(), make(case)
    model.observe(data)
    model.loss(training_batch(case, data), generator())
    weights = RankerWeights(CASES[case][0], N_ITEMS, model.config, model.state_dict(), "", "", LENGTH)
    save_weights(weights, tmp_path / "weights")
    loaded = load_weights(tmp_path / "weights").build()
    batch = pack_histories(HISTORIES)
    assert torch.equal(loaded.score(batch, generator()), model.eval().score(batch, generator()))


@pytest.mark.parametrize("case", CASES)
def test_every_weight_learns(case):
    data, model = successors(), make(case)
    model.observe(data)
    model.loss(training_batch(case, data), generator()).backward()
    still = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not still


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_training_goes_on_to_the_same_bits(case, tmp_path):
    data, config = successors(), small_config(case)
    scheme = config.capabilities.schemes[0]
    training = TrainingConfig(scheme=scheme, epochs=3, batch_size=16, learning_rate=1e-2, patience=None, device="cpu")
    cell = Cell(RankerSpec("ranker", CASES[case][0], "baseline", config, training))

    def stop(record):
        if record.epoch == 2:
            raise KeyboardInterrupt

    whole = fit_cell(cell, data)
    with pytest.raises(KeyboardInterrupt):
        fit_cell(cell, data, checkpoint_path=tmp_path / "checkpoint", on_epoch=stop)
    resumed = fit_cell(cell, data, checkpoint_path=tmp_path / "checkpoint")
    assert resumed.record["resumed_from"] > 0
    assert [record.loss for record in resumed.history] == [record.loss for record in whole.history]
    assert all(torch.equal(value, whole.weights.state[name]) for name, value in resumed.weights.state.items())


@pytest.mark.parametrize("case", CASES)
def test_histories_longer_than_the_network_reads_are_refused(case):
    if "max_length" not in {field.name for field in dataclasses.fields(small_config(case))}:
        pytest.skip("reads any length")
    with pytest.raises(ValueError, match=r"network\.max_length must be at least preprocessing\.max_length \(12\)"):
        make(case, max_length=LENGTH - 1).observe(successors())
