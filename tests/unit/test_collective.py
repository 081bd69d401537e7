"""What processes of a team tell each other: the arithmetic of parts, and that one process pays nothing.

What two processes really exchange is in tests/distributed.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from diffurecsys import collective, remote
from diffurecsys.collective import Part, Team, as_lost, gather_rows, weighed_by
from diffurecsys.data.packing import Packer
from diffurecsys.data.split import StudyData, leave_one_out, save_split
from diffurecsys.data.store import SequenceStore
from diffurecsys.errors import DataError, UserError
from diffurecsys.layers.next_sequence import next_sequence, next_sequence_of
from diffurecsys.layers.segments import Segments
from diffurecsys.training import together
from diffurecsys.training.together import noise_of, shares

STORE = SequenceStore.from_lists([list(range(3 + u)) for u in range(7)], 10)
EXAMPLES = leave_one_out(STORE, max_length=9).test


def test_alone_nothing_is_changed():
    x = torch.ones(3, requires_grad=True)
    assert weighed_by(5, x) is x
    assert gather_rows(x, (3,)) is x


def test_parts_of_a_batch():
    parts = [Part(Team(rank, 3), (1, 1, 2, 4, 5), everywhere=True) for rank in range(3)]
    assert {part.histories for part in parts} == {(2, 2, 1)}
    assert {part.tokens for part in parts} == {(1 + 4, 1 + 5, 2)}
    assert [part.weight for part in parts] == [5 / 13, 6 / 13, 2 / 13]
    assert Part(Team(2, 3), (1, 1, 2, 4, 5), everywhere=False).weight == 1 / 5


def test_a_process_without_a_history_weighs_nothing():
    part = Part(Team(2, 3), (4, 6), everywhere=True)
    assert (part.idle, part.weight, part.tokens) == (True, 0, (4, 6, 0))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("everywhere", [False, True])
def test_shares_are_the_whole_batches(size, everywhere):
    packer, order = Packer(STORE, EXAMPLES, everywhere=everywhere), torch.tensor([4, 2, 0, 1, 3, 5, 6])
    whole = list(shares(packer, order, 3, None))
    teams = [list(shares(packer, order, 3, Team(rank, size))) for rank in range(size)]
    for batch, *own in zip(whole, *teams, strict=True):
        assert [share.labels for share in own] == [batch.labels] * size
        assert sum(share.part.weight for share in own) == pytest.approx(1)
        busy = [share for share in own if not share.part.idle]
        found = torch.cat([share.batch.items for share in busy]), torch.cat([share.batch.targets for share in busy])
        for mine, theirs in zip(found, (batch.batch.items, batch.batch.targets), strict=True):
            assert torch.equal(mine.sort().values, theirs.sort().values)
    assert [share.part.idle for share in teams[1]] == [False, False, True]  # the last batch has one example


def test_the_next_sequence_is_that_of_the_whole_batch():
    lengths, size = (1, 1, 2, 3, 3, 5, 6), 3
    whole = Segments(torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32), lengths)
    own_tokens = [torch.nonzero(whole.sequence % size == rank).flatten() for rank in range(size)]
    gathered = torch.cat(own_tokens)  # the whole batch's token at each gathered row
    expected = next_sequence(whole)
    for rank in range(size):
        own = lengths[rank::size]
        segments = Segments(torch.tensor([0, *torch.tensor(own).cumsum(0)], dtype=torch.int32), own)
        found = next_sequence_of(Part(Team(rank, size), lengths, everywhere=True), segments)
        assert torch.equal(gathered[found], expected[own_tokens[rank]])


def test_every_process_and_epoch_has_a_stream_of_its_own():
    drawn = [
        tuple(torch.rand(3, generator=noise_of(0, epoch, Team(rank, size), torch.device("cpu"))).tolist())
        for epoch in (1, 2)
        for size in (2, 3)
        for rank in range(size)
    ]
    assert len(set(drawn)) == len(drawn)
    again = torch.rand(3, generator=noise_of(0, 1, Team(0, 2), torch.device("cpu")))
    assert tuple(again.tolist()) == drawn[0]


@pytest.mark.parametrize(
    ("message", "lost"),
    [
        ("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:544] Connection closed by peer [127.0.0.1]:1", True),
        ("NCCL communicator was aborted on rank 1", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_a_lost_process_is_told_from_other_errors(message, lost):
    assert (as_lost(RuntimeError(message)) is not None) == lost


def test_more_processes_than_devices_are_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"process 2 of this machine has no CUDA device, there are 2: .*node=2\)"):
        collective._own_device("auto")
    assert collective._own_device("cpu") == "cpu"


def test_different_splits_are_refused(monkeypatch, tmp_path):
    class Others(Team):
        def all_have(self, value):
            return [value, "another"]

    @contextmanager
    def joined(device):
        yield Others(0, 2), device

    save_split(StudyData(STORE, leave_one_out(STORE, max_length=9)), tmp_path / "split.npz")
    monkeypatch.setattr(remote, "joined", joined)
    with pytest.raises(DataError, match=r"split\.npz is another one on other machines"):
        remote.run_cells_together(tmp_path / "split.npz", tmp_path, tmp_path, device="cpu", weights=False)


def test_a_large_table_is_named(monkeypatch, caplog):
    monkeypatch.setattr(together, "REPLICATED_BYTES", 4 * 30 * 8 - 1)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    network = nn.ModuleDict({"large": nn.Embedding(30, 8), "small": nn.Embedding(29, 8)})
    with caplog.at_level(logging.WARNING):
        together._warn_of_large_tables(network)
    (message,) = caplog.messages
    assert message.startswith("large.weight of 30 x 8 numbers")


@pytest.mark.parametrize("option", ["--processes=2", "--minutes=1", "--cell=0"])
def test_options_of_cells_in_processes_of_their_own_are_refused(option, monkeypatch, capsys):
    monkeypatch.setattr(remote, "started_by_torchrun", lambda: True)
    monkeypatch.setattr("sys.argv", ["remote", "split.npz", "cells.json", "out", option])
    with pytest.raises(SystemExit):
        remote.main()
    assert "without torchrun" in capsys.readouterr().err
