"""The encoder that models of whole sequences share."""

from __future__ import annotations

import itertools

import pytest
import torch

from diffurecsys.data.packing import pack_histories
from diffurecsys.layers.encoder import Encoder, SelfAttention
from diffurecsys.layers.segments import Segments

LENGTHS = [1, 2, 2, 5, 9, 10]


def make(**changes):
    options = {"width": 8, "blocks": 2, "heads": 2, "inner": 12, "dropout": 0.0, "causal": True, "max_length": 10}
    encoder = Encoder(**{**options, "positions": "none", **changes})
    encoder.initialise(torch.Generator().manual_seed(0))
    for name, parameter in encoder.named_parameters():
        if "position" in name or "distance" in name:  # large enough to matter
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    return encoder.eval()


def batch(lengths=LENGTHS):
    x = torch.randn(sum(lengths), 8, generator=torch.Generator().manual_seed(2))
    return x, Segments.of(pack_histories([[0] * length for length in lengths]))


CASES = [
    case
    for case in itertools.product([True, False], ["pre", "post"], ["none", "start", "end", "relative"])
    if case[0] or case[2] != "relative"
]


@pytest.mark.parametrize(("causal", "norm", "positions"), CASES)
def test_the_last_positions_alone_are_rows_of_the_whole(causal, norm, positions):
    encoder, (x, segments) = make(causal=causal, norm=norm, positions=positions), batch()
    whole = encoder(x, segments, None)
    torch.testing.assert_close(encoder(x, segments, None, last_only=True), whole[segments.last], atol=1e-5, rtol=1e-5)
    begin = 0
    for length in LENGTHS:  # and a sequence alone gives what it gives among others
        rows = slice(begin, begin + length)
        alone = encoder(x[rows], batch([length])[1], None)
        torch.testing.assert_close(alone, whole[rows], atol=1e-5, rtol=1e-5)
        begin += length


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_only_an_encoder_that_looks_both_ways_sees_later_items(norm):
    x, segments = batch([6])
    other = x.clone()
    other[4] += torch.arange(8.0)  # no multiple of ones: that, normalisation takes away
    for causal in (True, False):
        encoder = make(causal=causal, norm=norm)
        same = (encoder(x, segments, None) - encoder(other, segments, None)).abs().amax(dim=1) == 0
        assert same.tolist() == [causal] * 4 + [False] * 2


@pytest.mark.parametrize(
    ("positions", "moved"), [("none", False), ("start", False), ("end", True), ("relative", False)]
)
def test_what_a_first_position_depends_on(positions, moved):
    """Counted from the start, or relatively, it is the same in a longer history."""
    encoder, (x, _) = make(positions=positions), batch([7])
    short, long = (encoder(x[:length], batch([length])[1], None)[0] for length in (3, 7))
    assert torch.allclose(short, long, atol=1e-5) is (positions != "end")


@pytest.mark.parametrize("positions", ["start", "end", "relative"])
def test_order_matters_with_positions_alone(positions):
    x, segments = batch([5])
    swapped = x[[1, 0, 2, 3, 4]]
    for kind, differs in ((positions, True), ("none", False)):
        encoder = make(positions=kind, blocks=1)
        results = [encoder(history, segments, None, last_only=True) for history in (x, swapped)]
        assert torch.allclose(*results, atol=1e-5) is not differs


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_outputs_are_normalised(norm):
    out = make(norm=norm)(*batch(), None)
    torch.testing.assert_close(out.mean(dim=1), torch.zeros(len(out)), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dim=1, correction=0), torch.ones(len(out)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("positions", ["start", "end", "relative"])
def test_a_longer_history_than_there_are_places_is_refused(positions):
    with pytest.raises(ValueError, match=r"a history of 11 items.*at most 10 \(network.max_length\)"):
        make(positions=positions)(*batch([3, 11]), None)


def test_the_bias_by_distance_begins_as_slopes_that_halve_from_head_to_head():
    bias = SelfAttention(8, 2, causal=True, distances=4).distance_bias
    assert bias.tolist() == [[0, -0.5, -1, -1.5], [0, -0.25, -0.5, -0.75]]


def test_every_parameter_learns():
    for positions in ("start", "end", "relative"):
        encoder, (x, segments) = make(positions=positions), batch()
        encoder(x, segments, None).pow(2).mul(torch.arange(8.0)).sum().backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
