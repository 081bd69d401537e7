"""Gradients of large item tables hold what dense ones hold, for every family."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffurecsys.data.packing import Packer
from diffurecsys.data.schemes import SCHEMES
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.layers import item_table
from diffurecsys.layers.item_table import densify_gradients, rows_of
from diffurecsys.models.registry import build_ranker, families, find_family

N_ITEMS = 40
LARGE = 10  # in these tests
SMALL = {"width": 16, "heads": 2, "blocks": 1, "max_length": 8, "dropout": 0.0, "negatives": 12}
CASES = [
    *((name, {}) for name in families() if find_family(name).config().capabilities.trains and name != "hybrid"),
    ("sasrec", {"loss": "sampled"}),
    ("sasrec", {"loss": "sampled", "similarity": "cosine"}),
    ("gru4rec", {"loss": "sampled"}),
    ("diffurec", {"negatives": None}),
]
ONLY_ROWS = [
    ("sasrec", {"loss": "sampled"}),
    ("sasrec", {"loss": "sampled", "similarity": "cosine"}),
    ("sasrec", {"loss": "bce", "negatives": 1}),
    ("gru4rec", {"loss": "sampled"}),
    ("gru4rec", {"loss": "bpr_max"}),
    ("esasrec", {}),
    ("hstu", {}),
    ("diffurec", {"negatives": 12}),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(family: str, changes: dict) -> dict[str, torch.Tensor]:
    """Of a training batch, as the losses leave them."""
    kind = find_family(family).config
    known = {field.name for field in dataclasses.fields(kind)}
    wanted = {**SMALL, **changes}
    config = kind(**{name: value for name, value in wanted.items() if name in known})
    ranker = build_ranker(family, config, N_ITEMS, generator())
    rows = [torch.randperm(N_ITEMS, generator=generator(user))[: 4 + user % 5].tolist() for user in range(20)]
    store = SequenceStore.from_lists(rows, N_ITEMS)
    data = StudyData(store, leave_one_out(store, max_length=8))
    ranker.observe(data)
    scheme = SCHEMES[config.capabilities.schemes[0]]
    examples = scheme.cut(data.split.train, 8)
    batch = Packer(store, examples, everywhere=scheme.everywhere).pack(torch.arange(len(examples)))[0]
    ranker.train().loss(batch, generator(1)).backward()
    found = {name: parameter.grad for name, parameter in ranker.named_parameters() if parameter.grad is not None}
    densify_gradients(ranker.parameters())
    for name, parameter in ranker.named_parameters():
        if name in found:
            assert parameter.grad.layout == torch.strided
            assert torch.equal(parameter.grad, found[name].to_dense())
    return found


@pytest.mark.parametrize(("family", "changes"), CASES, ids=str)
def test_large_tables_get_the_gradients_of_small_ones(family, changes, monkeypatch):
    expected = gradients(family, changes)
    monkeypatch.setattr(item_table, "LARGE", LARGE)
    found = gradients(family, changes)
    assert not any(gradient.is_sparse for gradient in expected.values())
    assert set(found) == set(expected)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient.to_dense(), expected[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("family", "changes"), ONLY_ROWS, ids=str)
def test_losses_over_sampled_items_leave_other_rows_out(family, changes, monkeypatch):
    monkeypatch.setattr(item_table, "LARGE", LARGE)
    sparse = [name for name, gradient in gradients(family, changes).items() if gradient.is_sparse]
    assert sparse == ["embedding.weight"]


def test_rows_of_a_small_table_are_looked_up_as_ever():
    table = torch.randn(6, 3, generator=generator(), requires_grad=True)
    index = torch.tensor([5, 0, 5])
    assert torch.equal(rows_of(table, index), table[index])
    rows_of(table, index).sum().backward()
    assert not table.grad.is_sparse
    assert table.grad[5].tolist() == [2.0, 2.0, 2.0]
