"""What every ranker offers, however it comes by its scores: the one protocol of training, ranking and serving."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Generator, Tensor, nn

from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData

Purpose = Literal["validation", "evaluation", "serving"]
Score = Callable[[PackedBatch, Generator], Tensor]
MAX_SECOND_COPY = 1 << 30  # bytes of a table of items that is copied to be served faster


@dataclass(frozen=True)
class Capabilities:
    """What can be asked of a ranker; known from its configuration, before anything is built.

    Attributes:
        trains: has a loss. False: `observe` is all that there is, one cell of seed 0.
        schemes: training schemes (`SCHEMES`) that it can learn under. An encoder that looks both ways must not offer
            `window`, where it would see its labels, unless it hides for itself what it asks.
        vectors: has `users` and `items`: maps, block-wise search, neighbours of items.
        samples: `score` draws at random: ensembles of samples and maps of them make sense.
        steps: reverse steps that `score(steps=…)` can walk; 0: there are none.
        from_last_item: has `users_from_last_item(batch, generator)`, float32 `[batch, width]`: one sampling seed of the
            paper's Algorithm 3.
        longest_history: events that a history may have at most; None: any number.
    """

    trains: bool = True
    schemes: tuple[str, ...] = ("prefix",)
    vectors: bool = False
    samples: bool = False
    steps: int = 0
    from_last_item: bool = False
    longest_history: int | None = None


@dataclass(frozen=True)
class RankerConfig:
    """Hyper-parameters of a ranker; families add theirs, with the published values as defaults."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}  # read where parameters are checked

    @property
    def capabilities(self) -> Capabilities:
        """What a ranker of this configuration can be asked."""
        return Capabilities()

    @classmethod
    def parts(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Say which fields are configurations of other rankers, and of which family. Default: none are.

        Args:
            values: the fields as plain values; some may be missing.
        """
        return {}

    def steps_for(self, purpose: Purpose) -> int | None:
        """Reverse steps to walk for a purpose; None is all, or that there are none."""
        return None


class Ranker(nn.Module):
    """Ranks the catalogue for histories. A subclass has `score`, and `loss` if it trains.

    Buffers and parameters are all its state: what `observe` counts lies in buffers, so that counting rankers are saved,
    served and compared like all others.

    Attributes:
        config: its hyper-parameters.
        n_items: size of the catalogue.
    """

    config: RankerConfig

    def __init__(self, config: RankerConfig, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.n_items = n_items

    def initialise(self, generator: Generator) -> None:
        """Draw all weights from `generator`, on the host. Default: there are none."""

    def observe(self, data: StudyData) -> None:
        """Look at the training part once, before training: counts, samplers, indices. Default: nothing.

        Only `data.split.train` may decide what is kept.
        """

    def loss(self, batch: PackedBatch, generator: Generator) -> Tensor:
        """Return the scalar training loss, a mean over `batch.targets`.

        Args:
            batch: histories, and what follows each asked position.
            generator: for everything random; on the batch's device.
        """
        raise NotImplementedError(f"{type(self).__name__} does not train")

    def score(self, batch: PackedBatch, generator: Generator, steps: int | None = None) -> Tensor:
        """Score the whole catalogue for every history: float32 `[batch, n_items]` of its own memory, higher is better.

        Args:
            batch: the histories; what follows their ends is asked, whatever `batch.everywhere` says.
            generator: for everything random; on the batch's device.
            steps: of the reverse process, where there is one; None walks all.
        """
        raise NotImplementedError

    def skip(self, batch: PackedBatch, generator: Generator, steps: int | None = None) -> None:
        """Draw from `generator` what `score` would, without scoring: another process scores this batch.

        Default: score, where that draws; families that draw less than they compute override this.
        """
        if self.config.capabilities.samples:
            self.score(batch, generator, steps)

    def calibrate(self, data: StudyData, generator: Generator) -> dict[str, Any]:
        """Choose a few settings on the validation targets after training; return them. Default: nothing.

        The ranker is in evaluation mode on the generator's device. What is chosen must lie in buffers.
        """
        return {}

    def adopt(self, other: Ranker, data: StudyData) -> None:
        """Take over what `calibrate` chose for another ranker of this configuration. Default: nothing.

        Called after `observe`, in place of `calibrate` where nothing is left to choose on.

        Args:
            other: what was calibrated, perhaps on fewer events.
            data: what was observed.
        """

    def settle(self) -> None:
        """Compute once what every score needs, as weights will not change until training begins. Default: nothing."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters as an optimiser takes them, with learning rates and decays of their own. Default: one group."""
        return [{"params": list(self.parameters())}]


class VectorRanker(Ranker):
    """A ranker whose scores are inner products of a vector a history and a vector an item."""

    _settled: Tensor | None = None

    def users(self, batch: PackedBatch, generator: Generator, steps: int | None = None) -> Tensor:
        """Represent every history as its last position sees it: float32 `[batch, width]`."""
        raise NotImplementedError

    def items(self) -> Tensor:
        """Represent every item: float32 `[n_items, width]`."""
        raise NotImplementedError

    def score(self, batch: PackedBatch, generator: Generator, steps: int | None = None) -> Tensor:
        """Return `users() @ items()ᵀ`, float32 `[batch, n_items]`."""
        users = self.users(batch, generator, steps)
        with torch.autocast(users.device.type, enabled=False):
            return users.float() @ self.item_vectors().T

    def item_vectors(self) -> Tensor:
        """Return `items()` in float32: what `settle` computed, or computed now."""
        return self.items().float() if self._settled is None else self._settled

    def settle(self) -> None:
        """Represent all items, by columns: the products of one history read them two to four times faster."""
        with torch.no_grad():
            items = self.items().detach().float()
            by_columns = items.is_cpu and items.nbytes <= MAX_SECOND_COPY
            self._settled = items.T.contiguous().T if by_columns else items.contiguous()

    def train(self, mode: bool = True) -> Self:
        """Go to training or evaluation mode; weights that are trained again represent items anew."""
        if mode:
            self._settled = None
        return super().train(mode)


class CountRanker(Ranker):
    """A ranker whose state is buffers of sizes that depend on the data."""

    _anchor: Tensor  # says where the ranker lives

    def __init__(self, config: RankerConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:  # noqa: ANN401
        own = {name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)}
        for name, value in own.items():
            if "." not in name:  # those of submodules are theirs
                self.register_buffer(name, torch.empty_like(value, device=self._anchor.device))
        super()._load_from_state_dict(state_dict, prefix, *arguments)


@dataclass(frozen=True)
class Scorer:
    """How a ranker scores for a purpose.

    Attributes:
        ranker: the ranker.
        steps: reverse steps that are walked; None: all.
    """

    ranker: Ranker
    steps: int | None

    def __call__(self, batch: PackedBatch, generator: Generator) -> Tensor:
        """Score the catalogue, float32 `[batch, n_items]`."""
        return self.ranker.score(batch, generator, self.steps)

    def skip(self, batch: PackedBatch, generator: Generator) -> None:
        """Draw what scoring would."""
        self.ranker.skip(batch, generator, self.steps)


def scorer(ranker: Ranker, purpose: Purpose, steps: int | None = None) -> Scorer:
    """Return how `ranker` scores for a purpose; the one place that knows of reverse steps.

    Args:
        ranker: the ranker.
        purpose: decides how many reverse steps are walked.
        steps: that number instead.
    """
    return Scorer(ranker, ranker.config.steps_for(purpose) if steps is None else steps)


def refuse_longer_histories(data: StudyData, max_length: int) -> None:
    """Refuse data whose histories have more places than a network.

    Raises:
        ValueError: naming both lengths.
    """
    if data.split.max_length > max_length:
        raise ValueError(
            f"network.max_length must be at least preprocessing.max_length ({data.split.max_length}), got {max_length}"
        )


@dataclass(frozen=True)
class Family:
    """One kind of ranker.

    Attributes:
        name: as in `models.<ranker>.family`; also the name of its file.
        config: its hyper-parameters, a frozen dataclass.
        build: `(config, n_items)` -> a skeleton; nothing is drawn yet.
        version: raised whenever a change of the code alters the numbers: finished cells of an earlier one are not used.
    """

    name: str
    config: type[RankerConfig]
    build: Callable[[Any, int], Ranker]
    version: int = 1
