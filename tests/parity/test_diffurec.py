"""The published DiffuRec network and reverse loop, from recorded tensors (float32, evaluation mode)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from diffurecsys.data.packing import pack_histories
from diffurecsys.diffusion import sample_ddpm
from diffurecsys.layers.segments import Segments
from diffurecsys.models import build_ranker
from diffurecsys.models.families.diffurec import DiffuRec, DiffuRecConfig, scale_noised_target

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
Recorded = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    with np.load(Path(__file__).parent / "diffurec_forward.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def model(recorded: Recorded) -> DiffuRec:
    config = DiffuRecConfig(width=32, heads=4, blocks=2, diffusion_steps=32, reverse_variance="beta")
    model = build_ranker("diffurec", config, n_items=41)
    model.load_state_dict(translate(recorded))
    return model.eval()


@pytest.fixture(scope="module")
def segments(recorded: Recorded) -> Segments:
    return Segments.of(pack_histories(recorded["seq"].tolist()))


def translate(recorded: Recorded) -> Recorded:
    """Rename the published state dict's entries as ours; query, key and value become one matrix."""
    published = {name.removeprefix("w."): value for name, value in recorded.items() if name.startswith("w.")}
    core = "diffu.xstart_model."
    renamed = {"embedding.weight": published["item_embeddings.weight"]}
    for kind in ("weight", "bias"):
        renamed[f"history_norm.{kind}"] = published[f"LayerNorm.{kind}"]
        renamed[f"denoiser.output_norm.{kind}"] = published[f"{core}norm_diffu_rep.{kind}"]
        renamed[f"step_embedding.inner.{kind}"] = published[f"{core}time_embed.0.{kind}"]
        renamed[f"step_embedding.outer.{kind}"] = published[f"{core}time_embed.2.{kind}"]
        for number in range(2):
            theirs, ours = f"{core}att.transformer_blocks.{number}.", f"denoiser.blocks.{number}."
            renamed[f"{ours}attention.query_key_value.{kind}"] = torch.cat(
                [published[f"{theirs}attention.linear_layers.{part}.{kind}"] for part in range(3)]
            )
            renamed[f"{ours}attention.output.{kind}"] = published[f"{theirs}attention.w_layer.{kind}"]
            renamed[f"{ours}attention_norm.{kind}"] = published[f"{theirs}input_sublayer.norm.{kind}"]
            renamed[f"{ours}feed_forward_norm.{kind}"] = published[f"{theirs}output_sublayer.norm.{kind}"]
            renamed[f"{ours}feed_forward.inner.{kind}"] = published[f"{theirs}feed_forward.w_1.{kind}"]
            renamed[f"{ours}feed_forward.outer.{kind}"] = published[f"{theirs}feed_forward.w_2.{kind}"]
    return renamed


def noised_target(model: DiffuRec, x: torch.Tensor, step: torch.Tensor, weight: torch.Tensor, segments):
    return scale_noised_target(weight.flatten(0, 1), x + model.step_embedding(step), segments)


def test_history_and_forward_process(model, recorded):
    history = model.embed_history(recorded["seq"].flatten(), None)
    torch.testing.assert_close(history, recorded["hist_emb"].flatten(0, 1), **TOLERANCE)
    x_t = model.process.diffuse(model.embedding(recorded["target"]), recorded["t"], recorded["eps"])
    torch.testing.assert_close(x_t, recorded["x_t"], **TOLERANCE)


def test_one_denoiser_call(model, recorded, segments):
    history = recorded["hist_emb"].flatten(0, 1)
    noised = noised_target(model, recorded["x_t"], recorded["t"], recorded["lam"], segments)
    everywhere = model.denoiser(history, noised, segments, None, last_only=False)
    torch.testing.assert_close(everywhere, recorded["rep"].flatten(0, 1), **TOLERANCE)
    x_0 = model.denoiser(history, noised, segments, None)
    torch.testing.assert_close(x_0, recorded["x0_hat"], **TOLERANCE)
    scores = x_0 @ model.embedding.weight.T
    torch.testing.assert_close(scores, recorded["scores"], **TOLERANCE)
    loss = F.cross_entropy(scores, recorded["target"])
    assert loss.item() == pytest.approx(float(recorded["ce"]), abs=1e-5)


def test_whole_reverse_loop(model, recorded, segments):
    history = recorded["hist_emb"].flatten(0, 1)
    weights: Iterator[torch.Tensor] = iter(recorded["rev_lam"])
    noises: Iterator[torch.Tensor] = iter(recorded["rev_noise"])

    def denoise(x: torch.Tensor, step: int) -> torch.Tensor:
        noised = noised_target(model, x, torch.tensor([step]), next(weights), segments)
        return model.denoiser(history, noised, segments, None)

    x_0 = sample_ddpm(model.process, denoise, recorded["rev_xT"], lambda: next(noises))
    torch.testing.assert_close(x_0, recorded["rev_x0"], **TOLERANCE)
    torch.testing.assert_close(x_0 @ model.embedding.weight.T, recorded["rev_scores"], **TOLERANCE)
    assert next(weights, None) is None
