"""A mirror with small copies of mteb's datasets."""

from pathlib import Path

import pytest
from mteb_copies import write_mirror


@pytest.fixture(scope="session")
def small_mirror(tmp_path_factory) -> Path:
    """STSBenchmark, Banking77 and SciFact, a few rows each."""
    mirror = tmp_path_factory.mktemp("mirror")
    write_mirror(mirror)
    return mirror
