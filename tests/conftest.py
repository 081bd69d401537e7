"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

BESIDE_CHECKOUT = Path(__file__).resolve().parents[1].parent / "shared"


def _folder_or_skip(folder: Path, content: str) -> Path:
    if not folder.is_dir():
        pytest.skip(f"{content} not present beside the checkout ({folder})")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real RecSysDatasets archives under their own names."""
    return _folder_or_skip(BESIDE_CHECKOUT / "data" / "recsysdatasets", "real archives")


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """Folder with reference tensors of the published code."""
    return _folder_or_skip(BESIDE_CHECKOUT / "golden", "reference tensors")
