"""Fixtures for all tests; what they are made of is in `small.py`."""

import os
from pathlib import Path
from unittest.mock import patch

import huggingface_hub.constants
import pytest
import torch
from datasets import Dataset
from small import save_tiny_model, triplet_rows

from anna_embed.schema import TRIPLETS
from anna_embed.tokens import load_tokenizer

# Stages that tests start share the cores with those of the other workers: threads that have no core of their own wait
# for each other at every product. (The process that starts the workers has no count, and they inherit what it sets.)
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """These models are too small to share among threads, and one thread adds in one order."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def online_again(monkeypatch):
    """A stage that was given a mirror goes offline for good; the next test must not find itself there."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", huggingface_hub.constants.HF_HUB_OFFLINE)
    with patch.dict(os.environ):
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE",  # a fixture of a whole module may have set them
                     "TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS"):  # and CI sets these; users see the bars
            os.environ.pop(name, None)
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """The folder of a random decoder with a real small tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    save_tiny_model(folder)
    return folder


@pytest.fixture
def tokenizer(tiny_model):
    """The tiny model's tokenizer as training loads it: EOS by its post-processor."""
    return load_tokenizer(str(tiny_model), 512)


@pytest.fixture(scope="session")
def triplets() -> dict[str, Dataset]:
    """Rows of every kind, as the training stage reads them."""
    return {task: Dataset.from_list(rows, features=TRIPLETS) for task, rows in triplet_rows().items()}
