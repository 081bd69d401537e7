"""Order and scale in the paper's three models: absent as published, there when asked for."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffurecsys.data.packing import pack_histories
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.layers.relative_attention import relative_attention
from diffurecsys.layers.segments import Segments
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.registry import build_ranker

CONFIG = DiffuRecConfig(width=16, blocks=2, heads=2, diffusion_steps=8, max_length=12)
CONDITIONINGS = ("add", "cross")
N_ITEMS = 30


def make(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    return build_ranker("diffurec", config, N_ITEMS, torch.Generator().manual_seed(0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("positions", ["none", "absolute", "relative"])
def test_only_positions_tell_the_order_of_all_but_the_last(positions, conditioning):
    model = make(positions=positions, conditioning=conditioning, delta=0.0).eval()
    ordered, shuffled = [1, 2, 3, 4, 5, 6, 7], [4, 2, 6, 1, 5, 3, 7]
    with torch.inference_mode():
        one, other = (model.score(pack_histories([history]), generator()) for history in (ordered, shuffled))
    difference = (one - other).abs().max().item() / one.abs().max().item()
    if positions == "none":
        assert difference < 1e-5  # sums in another order
    else:
        assert difference > 1e-4


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_a_result_with_positions_does_not_depend_on_batch_mates(positions, conditioning):
    model = make(positions=positions, conditioning=conditioning, delta=0.0).eval()
    histories = [[1], [2, 3], [3, 4], [4, 5, 6], [7, 8, 9, 10, 11, 12, 13]]
    with torch.inference_mode():
        together = model.score(pack_histories(histories), generator())
        for row, history in enumerate(histories):
            alone = model.score(pack_histories([history]), generator())[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_positions_learn_and_add_their_weights_alone(positions):
    model, plain = make(positions=positions), make()
    own = set(model.state_dict()) - set(plain.state_dict())
    assert own == (
        {"position.weight"}
        if positions == "absolute"
        else {f"denoiser.blocks.{block}.attention.distance_bias" for block in range(2)}
    )
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    model.loss(pack_histories([[1, 2, 3], [4, 5], [6, 7, 8, 9]]), generator()).backward()
    assert all(dict(model.named_parameters())[name].grad.any() for name in own)


def test_absolute_places_count_back_from_the_end():
    model = make(positions="absolute").eval()
    batch = pack_histories([[5], [1, 5]])
    with torch.inference_mode():
        model.position.weight.zero_()[0] = torch.arange(16.0)  # of the last place
        seen = model.embed_history(batch.items, None, Segments.of(batch))
        plain = model.embed_history(batch.items, None)
    torch.testing.assert_close(seen[0], seen[2])  # 5 stands last in both
    assert not torch.allclose(seen[0], plain[0])
    torch.testing.assert_close(seen[1], plain[1])


@pytest.mark.parametrize("one_each", [False, True])
def test_relative_attention_equals_every_pair_by_hand(one_each):
    histories = [[1, 2], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]
    segments, heads, distances = Segments.of(pack_histories(histories)), 2, 6
    tokens = sum(segments.lengths)
    query, key_value, bias = (
        torch.randn(*shape, generator=generator(seed)).requires_grad_()
        for seed, shape in enumerate([(4 if one_each else tokens, 8), (tokens, 16), (heads, 2 * distances - 1)])
    )
    got = relative_attention(query, key_value, segments, heads, bias)
    rows, begin = [], 0
    for number, length in enumerate(segments.lengths):
        own = slice(begin, begin + length)
        key, value = (part.view(length, heads, 4) for part in key_value[own].chunk(2, dim=1))
        asking = [(query[number], length - 1)] if one_each else [(query[begin + i], i) for i in range(length)]
        for q, i in asking:
            scores = torch.stack([(q.view(heads, 4) * key[j]).sum(1) / 2 for j in range(length)])  # (length, heads)
            scores = scores + torch.stack([bias[:, distances - 1 + j - i] for j in range(length)])
            rows.append((scores.softmax(0)[:, :, None] * value).sum(0).flatten())
        begin += length
    expected = torch.stack(rows)
    torch.testing.assert_close(got, expected)
    upstream = torch.randn(expected.shape, generator=generator(9))
    inputs = [query, key_value, bias]
    grads, references = (torch.autograd.grad((out * upstream).sum(), inputs) for out in (got, expected))
    for grad, reference in zip(grads, references, strict=True):
        torch.testing.assert_close(grad, reference, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_longer_histories_than_places_are_refused(positions):
    model, batch = make(positions=positions, max_length=3), pack_histories([[1, 2, 3, 4]])
    store = SequenceStore.from_lists([[1, 2, 3, 4, 5]], N_ITEMS)
    with pytest.raises(ValueError, match=r"network.max_length must be at least preprocessing.max_length \(4\), got 3"):
        model.observe(StudyData(store, leave_one_out(store, max_length=4)))
    with pytest.raises(ValueError, match="got 3"):
        model.score(batch, generator())
    make(max_length=3).score(batch, generator())  # without positions any length will do


def test_unit_targets_are_of_the_size_of_the_noise(monkeypatch):
    batch = pack_histories([[1, 2, 3], [4, 5]])
    for scale, rms in (("raw", CONFIG.embedding_std), ("unit", 1.0)):
        model, seen = make(target_scale=scale, delta=1.0), []
        original = model.process.diffuse
        monkeypatch.setattr(model.process, "diffuse", lambda x, *a, o=original, s=seen: (s.append(x), o(x, *a))[1])
        model.loss(batch, generator())
        model.users_from_last_item(batch, generator())
        for x_0 in seen:
            assert x_0.square().mean().sqrt().item() == pytest.approx(rms, rel=0.5 if scale == "raw" else 1e-5)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_unit_predictions_enter_the_posterior_and_raw_ones_the_scores(sampler, monkeypatch):
    batch = pack_histories([[1, 2, 3], [4, 5]])
    model = make(target_scale="unit", delta=1.0, sampler=sampler).eval()
    said = []
    original = model.denoiser.forward

    def forward(*arguments, **named):
        said.append(original(*arguments, **named))
        return 3 * said[-1]

    with torch.inference_mode():
        plain = model.users(batch, generator())
        monkeypatch.setattr(model.denoiser, "forward", forward)
        tripled = model.users(batch, generator())
    torch.testing.assert_close(tripled, 3 * plain, atol=1e-5, rtol=1e-4)  # the chain does not see the factor
    torch.testing.assert_close(plain, said[-1], atol=1e-5, rtol=1e-4)
