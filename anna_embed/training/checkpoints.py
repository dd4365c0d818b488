"""Checkpoints that are whole, and a SIGTERM that leaves one behind."""

import json
import re
import signal
import threading
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import TrainerCallback
from transformers.utils import logging

from anna_embed.parsing import RecipeError
from anna_embed.training.gather import sum_across

MARK = "complete"  # holds the size of every file beside it
logger = logging.get_logger(__name__)


class MarkComplete(TrainerCallback):
    """Marks a checkpoint once every process has written its part of it: a kill can leave a half-written one."""

    def on_save(self, args, state, control, **kwargs):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
            folder.joinpath(MARK).unlink(missing_ok=True)  # of one that is written over
            files = [path for path in folder.rglob("*") if path.is_file()]
            sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
            folder.joinpath(MARK).write_text(json.dumps(sizes))


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
    """
    The newest whole checkpoint in a folder, to be given to `trainer.train(resume_from_checkpoint=...)`, or None.

    Raises:
        [`RecipeError`]: there are some, and all are damaged: a run that began anew would remove them.
    """
    marked = [mark.parent for mark in Path(folder).glob(f"checkpoint-*/{MARK}")]
    found = [path for path in marked if re.fullmatch(r"checkpoint-\d+", path.name)]
    whole = next((path for path in sorted(found, key=step_of, reverse=True) if is_whole(path)), None)
    if found and not whole:
        raise RecipeError(f"artifacts: all checkpoints in '{folder}' are damaged, or of an older anna_embed: go on "
                          "with that version, or delete that folder to begin anew.")
    return str(whole) if whole else None


def is_whole(checkpoint: Path) -> bool:
    """Whether all files of a marked checkpoint are as long as they were written; a crash can cut them off."""
    try:
        sizes = json.loads(checkpoint.joinpath(MARK).read_text())
        cut = [name for name, size in sizes.items() if (checkpoint / name).stat().st_size != size]
    except (ValueError, FileNotFoundError):
        cut = ["a file"]
    if cut:
        logger.warning_once(f"'{checkpoint}' is damaged ({cut[0]} is not as it was written) and is passed over.")
    return not cut


def step_of(checkpoint: str | Path) -> int:
    """The step after which a checkpoint was written."""
    return int(Path(checkpoint).name.split("-")[1])


def keep_progress(stage) -> None:
    """Raises [`RecipeError`] if a stage that begins would throw away the checkpoints of a run with other settings."""
    checkpoint = last_complete(stage.work / ".checkpoints")
    if checkpoint and stage.is_of_others:
        raise RecipeError(f"artifacts: '{stage.work}' holds step {step_of(checkpoint)} of a run with other settings "
                          "or inputs; give its settings again to go on, or delete that folder to begin anew.")
