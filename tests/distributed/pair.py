"""What two processes compute, started by torchrun, and what one computes for comparison: every family, tiny."""

from __future__ import annotations

import importlib.util
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import torch

from diffurecsys.collective import current_team, joined
from diffurecsys.data.schemes import SCHEMES
from diffurecsys.evaluation.ranks import Sharing, rank_targets
from diffurecsys.layers.dropout import DropoutMasks
from diffurecsys.models.base import scorer
from diffurecsys.training import derive_generator, train

STEPS = 50
# At 0.001, HSTU's from weights that are multiplied by 1 + 2e-7 is 8e-4 apart after 50 steps: rounding, not an error.
LEARNING_RATE = 3e-4
DRAWN = 2**20  # numbers of draws in a step stay below


def contract() -> types.ModuleType:
    """The contract tests' rankers: each family under each of its ymls."""
    path = Path(__file__).parents[1] / "contract" / "conftest.py"
    spec = importlib.util.spec_from_file_location("contract_cases", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class SameForEveryRow:
    """Draws that differ between steps, calls and columns, but not between rows: a row's place plays no part.

    With them one process and several draw the same, however the batch is divided, and all that is random in a loss
    takes part: noise, steps, masks, negatives, views, dropout.
    """

    def __init__(self) -> None:
        self.step, self.call = 0, 0

    def next_step(self) -> None:
        self.step, self.call = self.step + 1, 0

    def _stream(self) -> torch.Generator:
        self.call += 1
        return torch.Generator().manual_seed(DRAWN * self.step + self.call)

    def _rows(self, draw, shape):
        shape = tuple(shape)
        row = draw(shape[-1:] if len(shape) > 1 else (), self._stream())
        return row.expand(shape).clone()

    @contextmanager
    def in_place(self):
        """Put them in the place of PyTorch's."""
        randn, rand, randint, multinomial = torch.randn, torch.rand, torch.randint, torch.multinomial
        bits = DropoutMasks._bits

        def flat(size):
            return size[0] if len(size) == 1 and not isinstance(size[0], int) else size

        def normal(*size, **how):
            return self._rows(lambda shape, g: randn(shape, generator=g, dtype=how.get("dtype")), flat(size))

        def uniform(*size, **how):
            drawn = self._rows(lambda shape, g: rand(shape, generator=g, dtype=how.get("dtype")), flat(size))
            if drawn.dim() > 1 or drawn.dtype != torch.float64:
                return drawn
            return drawn * (1 - 1e-6) + 1e-10 * torch.arange(len(drawn))  # what is sorted by them keeps its order

        def integers(*arguments, **how):
            *borders, size = arguments
            return self._rows(lambda shape, g: randint(*borders, shape, generator=g), size)

        def weighted(weights, count, **how):
            return multinomial(weights, 1, generator=self._stream()).expand(count).clone()

        def masks(own, shape):
            return self._rows(lambda columns, g: randint(-(2**15), 2**15, columns, generator=g), shape).short()

        torch.randn, torch.rand, torch.randint, torch.multinomial = normal, uniform, integers, weighted
        DropoutMasks._bits = masks
        try:
            yield self
        finally:
            torch.randn, torch.rand, torch.randint, torch.multinomial = randn, rand, randint, multinomial
            DropoutMasks._bits = bits


def with_a_single_last_example(data, scheme: str) -> int:
    """The largest batch size up to 33 with which the last batch of an epoch has one example."""
    n = len(SCHEMES[scheme].cut(data.split.train, data.split.max_length))
    return max(size for size in range(2, 34) if n % size == 1)


@contextmanager
def norms_noted():
    """Note gradients' norms, before they are clipped: Adam would hide a gradient of another length."""
    clip, found = torch.nn.utils.clip_grad_norm_, []

    def noting(*arguments):
        found.append(float(clip(*arguments)))

    torch.nn.utils.clip_grad_norm_ = noting
    try:
        yield found
    finally:
        torch.nn.utils.clip_grad_norm_ = clip


def curve(case, data, checkpoint_path: Path) -> dict:
    """Losses and gradients' norms of 50 steps in which draws are the same for every row; the weights after them."""
    size = with_a_single_last_example(data, case.training.scheme)
    n = len(SCHEMES[case.training.scheme].cut(data.split.train, data.split.max_length))
    epochs = -(-STEPS // -(-n // size))
    ranker, losses, draws = case.build(data=data), [], SameForEveryRow()

    def on_step(record) -> None:
        losses.append(float(record.loss))
        draws.next_step()

    config = case.spec(
        batch_size=size, epochs=epochs, clip_norm=1.0, learning_rate=LEARNING_RATE, checkpoint_every=epochs
    ).training
    with draws.in_place(), norms_noted() as norms:
        train(ranker, data, config, seed=3, stop_after=epochs, on_step=on_step, checkpoint_path=checkpoint_path)
    return {"losses": losses[:STEPS], "norms": norms[:STEPS], "weights": ranker.state_dict()}


def ranks(case, data):
    """Places of all test targets, by the case's ranker with drawn weights."""
    ranker, team = case.build(data=data).eval(), current_team()
    score = scorer(ranker, "evaluation")
    found = rank_targets(
        score,
        data,
        data.split.test,
        generator=derive_generator(5, "ranks"),
        batch_size=3,
        sharing=Sharing(team, score.skip) if team is not None else None,
    )
    return [torch.from_numpy(found.places(ranking)[part]) for ranking in ("all", "unseen") for part in (0, 1)]


def trained(cases) -> list[str]:
    """A ranker of every family that trains."""
    return sorted({case.family: case.name for case in reversed(cases) if case.capabilities.trains}.values())


def everything(folder: Path, rank: int = 0) -> dict:
    """By case: losses, norms, weights, ranks. Checkpoints lie in a folder of each process."""
    cases, data = contract().cases(), contract().make_data()
    names, found = trained(cases), {}
    for case in cases:
        found[case.name] = {"ranks": ranks(case, data)}
        if case.name in names:
            found[case.name] |= curve(case, data, folder / f"process_{rank}" / f"{case.name}.pt")
    return found


if __name__ == "__main__":
    to = Path(sys.argv[1])
    with joined("cpu") as (team, _):
        torch.save(everything(to, team.rank), to / f"{team.rank}.pt")
