"""What is resumed from, and what is summed across processes."""

import torch
from tiny import train_one, trainer

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


def test_a_run_that_was_killed_after_its_last_step(tiny_model, tmp_path):
    """Between the last checkpoint and the artifact: one step more would be trained, and another adapter written."""
    options = {"arguments": {"max_steps": 3, "save_strategy": "steps", "save_steps": 3}}
    before = train_one(tiny_model, tmp_path, options)
    assert len(before["seen"]) == 3 < trainer(tiny_model, tmp_path).steps.per_epoch
    after = train_one(tiny_model, tmp_path, options, last_complete(tmp_path))
    assert not after["seen"] and after["log"][-1]["step"] == 3
    assert all(torch.equal(after["adapter"][name], weight) for name, weight in before["adapter"].items())


def test_one_process_sums_nothing():
    """Without other processes the tensors stay as they are, and no process group is asked for."""
    tensors = [torch.ones(3), torch.ones(2, dtype=torch.float64)]
    sum_across(tensors)
    assert all((t == 1).all() for t in tensors)
