"""What no parameter exceeds: a slip of the finger would fail for want of memory, or never end, hours into a study."""

from __future__ import annotations

_MOST = {
    **dict.fromkeys(("width", "hidden", "latent", "inner", "heads"), 100_000),
    **dict.fromkeys(("blocks", "decoder_blocks", "head_blocks", "layers", "n_seeds"), 1_000),
    **dict.fromkeys(("diffusion_steps", "ensemble_sizes", "reverse_steps", "samples", "clusters", "top_k"), 100_000),
    **dict.fromkeys(("sampled_users", "cutoffs", "retries", "threads", "scoring_draws"), 100_000),
    **dict.fromkeys(("marginal_samples", "fakes", "negatives"), 1_000_000),
    "batch_size": 10_000_000,
    "n_resamples": 10_000_000,
    "max_length": 10_000_000,
    "seed": 2**32 - 1,  # of NumPy's, scikit-learn's and openTSNE's generators
    "learning_rate": 1_000,
    "embedding_std": 1_000,
    "lr_decay": 1,  # a rate that grows is no decay
    "epochs": 10_000_000,
    **dict.fromkeys(("weight_decay", "delta", "contrast", "divergence", "penalty", "temperature"), 1_000_000),
    **dict.fromkeys(("negatives_power", "noise_power"), 100),
}
_ANY = 1_000_000_000_000_000


def most_of(name: str) -> int:
    """Return the largest value of a parameter, by the last part of its name."""
    return _MOST.get(name, _ANY)
