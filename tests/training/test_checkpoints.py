"""What is resumed from, and what is summed across processes."""

import torch

from anna_embed.training.checkpoints import MARK, last_complete
from anna_embed.training.gather import sum_across


def test_the_newest_whole_checkpoint(tmp_path):
    """By number, not by name or date; a half-written one, as a kill leaves it, is passed over."""
    assert last_complete(tmp_path / "nothing") is None and last_complete(tmp_path) is None
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARK).touch()
    (tmp_path / "checkpoint-11").mkdir()
    assert last_complete(tmp_path) == str(tmp_path / "checkpoint-10")


def test_one_process_sums_nothing():
    """Without other processes the tensors stay as they are, and no process group is asked for."""
    tensors = [torch.ones(3), torch.ones(2, dtype=torch.float64)]
    sum_across(tensors)
    assert all((t == 1).all() for t in tensors)
