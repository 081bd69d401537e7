"""ONNX graphs run by onnxruntime against PyTorch."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch

from diffurecsys.data.packing import pack_histories
from diffurecsys.errors import UserError
from diffurecsys.models import build_ranker
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.families.popularity import PopularityConfig
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.models.weights import RankerWeights
from diffurecsys.serving.one_history import Draws
from diffurecsys.serving.onnx_export import export_onnx

onnxruntime = pytest.importorskip("onnxruntime")

N_ITEMS, MAX_LENGTH, USERS = 300, 12, 1000
CASES = {
    "sasrec": SASRecConfig(width=16, blocks=2, heads=2, max_length=MAX_LENGTH, positions="relative"),
    "diffurec": DiffuRecConfig(width=16, blocks=1, heads=2, conditioning="cross", delta=0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", CASES)
def test_a_thousand_users_get_the_same_ten_items(family, tmp_path):
    config = CASES[family]
    ranker = build_ranker(family, config, N_ITEMS, torch.Generator().manual_seed(0)).eval()
    weights = RankerWeights(family, N_ITEMS, config, ranker.state_dict(), "", "", MAX_LENGTH)
    exported = export_onnx(weights, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    draw = torch.Generator().manual_seed(1)
    apart, others = 0.0, 0
    for user in range(USERS):
        length = 1 + user % MAX_LENGTH
        history = torch.randint(N_ITEMS, (length,), generator=draw)
        noise = [
            torch.randn([length if size is None else size for size in shape], generator=draw)
            for shape in exported.noise
        ]
        with torch.inference_mode(), patch("torch.randn", Draws(tuple(noise))):
            vector = ranker.users(pack_histories([history.tolist()]), torch.Generator(), exported.steps)
            scores = (vector @ ranker.items().T)[0]
        inputs = {"items": history.numpy(), **{f"noise_{place}": part.numpy() for place, part in enumerate(noise)}}
        found, of_items = session.run(None, inputs)
        apart = max(apart, float(np.abs(found - vector.numpy()).max()))
        others += set(np.argsort(-of_items[0])[:10]) != set(scores.topk(10).indices.tolist())
    assert apart < 1e-4
    assert others == 0


def test_what_has_no_vectors_cannot_be_exported(tmp_path):
    ranker = build_ranker("popularity", PopularityConfig(), 3)
    ranker.register_buffer("count", torch.ones(3))
    weights = RankerWeights("popularity", 3, PopularityConfig(), ranker.state_dict(), "", "", 5)
    with pytest.raises(UserError, match="popularity has no vectors"):
        export_onnx(weights, tmp_path / "model.onnx")
