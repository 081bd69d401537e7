"""What every network's own tests ask of it, whatever its family."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from diffurecsys.data.packing import PackedBatch, Packer, pack_histories
from diffurecsys.data.schemes import SCHEMES
from diffurecsys.data.split import Spans
from diffurecsys.data.store import SequenceStore
from diffurecsys.models.registry import build_ranker


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(family, config, n_items, seed=0):
    return build_ranker(family, config, n_items, generator(seed))


def windows(sequences: list[list[int]], n_items: int, max_length: int = 8, scheme: str = "window") -> PackedBatch:
    """Cut whole training sequences as `scheme` does."""
    store = SequenceStore.from_lists(sequences, n_items)
    cut = SCHEMES[scheme].cut(Spans(store.offsets[:-1], store.offsets[1:]), max_length)
    everywhere = SCHEMES[scheme].everywhere
    return Packer(store, cut, everywhere=everywhere).pack(torch.arange(len(cut)))[0]


def scores(ranker, histories: list[list[int]]) -> torch.Tensor:
    with torch.inference_mode():
        return ranker.eval().score(pack_histories(histories), generator())


def overfit(ranker, *, scheme="window", steps=300, rate=1e-2, n=50, length=6) -> float:
    """Train on `n` sequences that follow a rule of their own; return the share whose last item ranks first."""
    draw = generator(7)
    sequences = [torch.randperm(ranker.n_items, generator=draw)[:length].tolist() for _ in range(n)]
    batch = windows(sequences, ranker.n_items, length, scheme)
    optimiser, noise = torch.optim.Adam(ranker.parameters(), lr=rate), generator()
    ranker.train()
    for _ in range(steps):
        optimiser.zero_grad()
        ranker.loss(batch, noise).backward()
        optimiser.step()
    last = torch.tensor([sequence[-1] for sequence in sequences])
    return float((scores(ranker, [sequence[:-1] for sequence in sequences]).argmax(1) == last).float().mean())


def gradients(ranker, batch) -> list[str]:
    """Return the names of parameters that a loss does not reach."""
    ranker.train().loss(batch, generator()).backward()
    return [name for name, weight in ranker.named_parameters() if weight.grad is None or not weight.grad.any()]


def bits(build, batch) -> None:
    """Demand that seeds decide weights, losses and gradients to the last bit, and nothing global does."""
    state = torch.get_rng_state()
    runs = []
    for seed in (1, 1, 2):
        ranker = build(seed).train()
        loss = ranker.loss(batch, generator(seed))
        loss.backward()
        runs.append(
            [loss.detach(), *(weight.grad.clone() for weight in ranker.parameters() if weight.grad is not None)]
        )
        torch.rand(3)  # a global stream that moves must change nothing
    assert all(torch.equal(one, same) for one, same in zip(*runs[:2], strict=True))
    assert not torch.equal(runs[0][0], runs[2][0])
    torch.set_rng_state(state)


def lone(ranker, histories) -> None:
    """Demand that a history scores the same alone and among others."""
    ordered = sorted(histories, key=len)
    together = scores(ranker, histories)
    for row, history in enumerate(ordered):
        torch.testing.assert_close(together[row], scores(ranker, [history])[0], atol=1e-5, rtol=1e-4)


def norm(weights: dict, name: str, x: torch.Tensor, eps: float = 1e-12) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(weights: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    mapped = x @ weights[f"{name}.weight"].T
    return mapped + weights[f"{name}.bias"] if f"{name}.bias" in weights else mapped


def gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def feed_forward(weights: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    return linear(weights, f"{name}.outer", gelu(linear(weights, f"{name}.inner", x)))


def attend(weights: dict, name: str, x: torch.Tensor, heads: int, *, causal: bool) -> torch.Tensor:
    """Softmax attention of one sequence `[length, width]` over itself, position by position and head by head."""
    query, key, value = linear(weights, f"{name}.query_key_value", x).chunk(3, dim=1)
    step, out = x.shape[1] // heads, torch.zeros_like(x)
    for t in range(len(x)):
        seen = t + 1 if causal else len(x)
        for head in range(heads):
            part = slice(head * step, (head + 1) * step)
            weight = (key[:seen, part] @ query[t, part] / step**0.5).softmax(0)
            out[t, part] = weight @ value[:seen, part]
    return linear(weights, f"{name}.output", out)


def doubles(ranker) -> dict[str, torch.Tensor]:
    return {name: weight.double() for name, weight in ranker.state_dict().items()}


@pytest.fixture(scope="session")
def checks() -> SimpleNamespace:
    """Functions that several families' tests share."""
    shared = (generator, make, windows, scores, overfit, gradients, bits, lone)
    written_out = (norm, linear, gelu, feed_forward, attend, doubles)
    return SimpleNamespace(**{function.__name__: function for function in (*shared, *written_out)})
