"""What is resumed from, and what is summed across processes."""

from types import SimpleNamespace

import pytest
import torch
from peft import PeftConfig
from tiny import train_one, trainer
from transformers import TrainerState

from anna_embed.artifacts import Stage
from anna_embed.parsing import RecipeError
from anna_embed.training.checkpoints import MARK, MarkComplete, keep_progress, last_complete
from anna_embed.training.gather import sum_across
from anna_embed.training.saving import check_learnt, save_adapter


def test_the_newest_whole_checkpoint(tmp_path):
    """By number, not by name or date; a half-written one, as a kill leaves it, is passed over."""
    assert last_complete(tmp_path / "nothing") is None and last_complete(tmp_path) is None
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARK).write_text("{}")
    (tmp_path / "checkpoint-11").mkdir()
    assert last_complete(tmp_path) == str(tmp_path / "checkpoint-10")


@pytest.mark.parametrize("damage", [
    lambda file: file.write_bytes(file.read_bytes()[:-1]), lambda file: file.unlink(),
    lambda file: file.with_name(MARK).write_text("")])
def test_a_damaged_checkpoint_is_passed_over(tiny_model, tmp_path, damage):
    """Else who resumes after a crash that cut a file off sees a traceback of torch, with a whole checkpoint beside."""
    train_one(tiny_model, tmp_path, {"arguments": {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}})
    assert last_complete(tmp_path) == str(tmp_path / "checkpoint-4")
    damage(tmp_path / "checkpoint-4" / "optimizer.pt")
    assert last_complete(tmp_path) == str(tmp_path / "checkpoint-2")
    damage(tmp_path / "checkpoint-2" / "optimizer.pt")
    with pytest.raises(RecipeError, match="all checkpoints in '.*' are damaged"):
        last_complete(tmp_path)


def test_a_checkpoint_that_is_written_over_is_whole(tmp_path):
    """Else the mark counts its own former size, and what was written over a damaged checkpoint is lost with it."""
    folder = tmp_path / "checkpoint-4"
    folder.mkdir()
    folder.joinpath("optimizer.pt").write_text("weights")
    for mark in ("", "former"):
        folder.joinpath(MARK).write_text(mark)
        MarkComplete().on_save(SimpleNamespace(output_dir=tmp_path), TrainerState(global_step=4), None)
        assert last_complete(tmp_path) == str(folder)


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


def test_a_resumed_run_saves_as_often_as_it_says(tiny_model, tmp_path):
    """transformers takes over what the checkpoint says, though `save_steps` is a key that a rerun may change."""
    options = {"arguments": {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}}
    killed = trainer(tiny_model, tmp_path, **options)
    killed.kill_at = 3
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    options["arguments"]["save_steps"] = 1
    train_one(tiny_model, tmp_path, options, last_complete(tmp_path))
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{n}" for n in (2, 3, 4)]


@pytest.mark.parametrize("named, name, revision", [
    ("org/base", "org/base", None), ("org/base@v1", "org/base", "v1")])
def test_the_adapter_names_its_base_as_peft_reads_it(tiny_model, tmp_path, named, name, revision):
    """`org/base@v1` is no id of the Hub: peft could not load the adapter with the base that it names."""
    save_adapter(trainer(tiny_model, tmp_path), tmp_path / "adapter", named)
    config = PeftConfig.from_pretrained(tmp_path / "adapter")
    assert (config.base_model_name_or_path, config.revision) == (name, revision)


@pytest.mark.parametrize("value, sentence", [
    (float("nan"), "learning_rate: 0.01 led to weights that are not finite in step 0 .*; lower it"),
    (0.0, "learning_rate: 0.01 has taught nothing in 0 steps .every lora_B is still 0.; raise it"),
])
def test_an_adapter_that_is_none(tiny_model, tmp_path, value, sentence):
    """A last step that leads to NaN has no loss after it: the adapter would be written, exit code 0."""
    made = trainer(tiny_model, tmp_path)
    check_learnt(made)
    with torch.no_grad():
        for name, weight in made.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(value)
    with pytest.raises(RecipeError, match=sentence):
        check_learnt(made)
    next(weight for name, weight in made.model.named_parameters() if "lora_B" in name).data.fill_(1e-30)
    if value == 0:
        check_learnt(made)


def test_a_changed_key_keeps_the_checkpoints(tmp_path):
    """If this fails, a slip on the command line deletes the checkpoints of hours."""
    def stage(seed):
        return Stage("train", str(tmp_path / "adapter"), {"seed": seed}, {})
    whole = stage(1).begin() / ".checkpoints" / "checkpoint-400"
    keep_progress(stage(2))  # there is nothing to lose
    whole.mkdir(parents=True)
    (whole / MARK).write_text("{}")
    keep_progress(stage(1))
    with pytest.raises(RecipeError, match="adapter.partial' holds step 400 of a run with other settings"):
        keep_progress(stage(2))
