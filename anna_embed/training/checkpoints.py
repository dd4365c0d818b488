"""Checkpoints that are whole, and a SIGTERM that leaves one behind."""

import re
import signal
import threading
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import TrainerCallback

from anna_embed.parsing import RecipeError
from anna_embed.training.gather import sum_across

MARK = "complete"


class MarkComplete(TrainerCallback):
    """Marks a checkpoint once every process has written its part of it: a kill can leave a half-written one."""

    def on_save(self, args, state, control, **kwargs):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            Path(args.output_dir, f"checkpoint-{state.global_step}", MARK).touch()


class OfThisRun(TrainerCallback):
    """What a resumed run does not take from its checkpoint: where the best one lies, should their folder have been
    moved, and how often it logs, scores and saves."""

    def on_train_begin(self, args, state, control, **kwargs):
        if state.best_global_step:
            best = Path(args.output_dir, f"checkpoint-{state.best_global_step}")
            state.best_model_checkpoint = str(best) if best.is_dir() else None
        state.compute_steps(args, state.max_steps)


class SaveOnTerm(TrainerCallback):
    """On SIGTERM, which schedulers send before they kill, ends the step, saves a checkpoint and stops training."""

    def __init__(self):
        self.asked = self.stopped = False
        self._before = None

    def on_train_begin(self, args, state, control, **kwargs):
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_):
        self.asked = True

    def on_step_end(self, args, state, control, **kwargs):
        asked = torch.tensor([float(self.asked)], device=args.device)
        sum_across([asked])  # all stop at the same step, whoever was told first
        if asked.item():
            self.stopped = state.global_step < state.max_steps
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args, state, control, **kwargs):
        if self.stopped:
            if state.epoch % 1:  # in the middle of an epoch: what is due at its end is not due yet
                control.should_evaluate = control.should_log = False
            # This step's checkpoint is there; it is written anew with a score, to which a resumed run does not return.
            control.should_save = control.should_evaluate

    def on_train_end(self, args, state, control, **kwargs):
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)


def last_complete(folder: str | Path) -> str | None:
    """The newest whole checkpoint in a folder, to be given to `trainer.train(resume_from_checkpoint=...)`, or None."""
    marked = [mark.parent for mark in Path(folder).glob(f"checkpoint-*/{MARK}")]
    found = [path for path in marked if re.fullmatch(r"checkpoint-\d+", path.name)]
    return str(max(found, key=step_of)) if found else None


def step_of(checkpoint: str | Path) -> int:
    """The step after which a checkpoint was written."""
    return int(Path(checkpoint).name.split("-")[1])


def keep_progress(stage) -> None:
    """Raises [`RecipeError`] if a stage that begins would throw away the checkpoints of a run with other settings."""
    checkpoint = last_complete(stage.work / ".checkpoints")
    if checkpoint and stage.is_of_others:
        raise RecipeError(f"artifacts: '{stage.work}' holds step {step_of(checkpoint)} of a run with other settings "
                          "or inputs; give its settings again to go on, or delete that folder to begin anew.")
