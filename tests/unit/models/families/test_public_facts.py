"""What anybody can compute of a published model before it has learnt anything: its loss, its number of parameters.

A fresh network scores all items nearly alike: items are N(0, 0.02²) and what meets them is normalised, so scores have a
deviation of about 0.02 √width = 0.16 at most. A softmax over n items then costs log n, give or take 0.16 a position and
0.16² / 2 for its unevenness; a sigmoid for and one against cost 2 log 2, give or take half of what their scores differ.
Means over 300 positions leave a tenth of a deviation of that: 0.05 is more than three of them.
"""

from __future__ import annotations

import math

import pytest
import torch

from diffurecsys.models.families.bert4rec import BERT4RecConfig
from diffurecsys.models.families.bsarec import BSARecConfig
from diffurecsys.models.families.cl4srec import CL4SRecConfig
from diffurecsys.models.families.duorec import DuoRecConfig
from diffurecsys.models.families.gru4rec import GRU4RecConfig
from diffurecsys.models.families.mfgan import MFGANConfig
from diffurecsys.models.families.sasrec import SASRecConfig

N_ITEMS, TOLERANCE = 500, 0.05
SOFTMAX = {
    "bert4rec": BERT4RecConfig(),
    "bsarec": BSARecConfig(),
    "cl4srec": CL4SRecConfig(loss="cross_entropy", contrast=0.0),
    "duorec": DuoRecConfig(contrast=0.0),
    "gru4rec": GRU4RecConfig(loss="cross_entropy"),
    "sasrec": SASRecConfig(loss="cross_entropy"),
}
BINARY = {"sasrec": SASRecConfig(), "mfgan": MFGANConfig()}


def _first_loss(checks, family, config):
    draw = checks.generator(3)
    sequences = [torch.randperm(N_ITEMS, generator=draw)[:8].tolist() for _ in range(300)]
    scheme = config.capabilities.schemes[0]
    model = checks.make(family, config, N_ITEMS)
    return float(model.train().loss(checks.windows(sequences, N_ITEMS, scheme=scheme), checks.generator()).detach())


@pytest.mark.parametrize("family", SOFTMAX)
def test_a_fresh_softmax_costs_the_logarithm_of_the_catalogue(checks, family):
    assert _first_loss(checks, family, SOFTMAX[family]) == pytest.approx(math.log(N_ITEMS), abs=TOLERANCE)


@pytest.mark.parametrize("family", BINARY)
def test_a_fresh_binary_loss_costs_two_coins(checks, family):
    assert _first_loss(checks, family, BINARY[family]) == pytest.approx(2 * math.log(2), abs=TOLERANCE)


def test_sasrec_has_the_parameters_of_pytorchs_own_transformer(checks):
    layer = torch.nn.TransformerEncoderLayer(50, 1, 50)
    encoder = torch.nn.TransformerEncoder(layer, 2, torch.nn.LayerNorm(50), enable_nested_tensor=False)
    model = checks.make("sasrec", SASRecConfig(), N_ITEMS)
    assert _count(model) == _count(encoder) + (N_ITEMS + 50) * 50  # and vectors of items and places


def _count(model):
    return sum(weight.numel() for weight in model.parameters())
