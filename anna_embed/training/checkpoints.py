"""Which checkpoints are whole: a kill can leave a half-written one, which must not be resumed from."""

import re
from pathlib import Path

from accelerate import PartialState
from transformers import TrainerCallback

MARK = "complete"


class MarkComplete(TrainerCallback):
    """Marks a checkpoint once every process has written its part of it."""

    def on_save(self, args, state, control, **kwargs):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            Path(args.output_dir, f"checkpoint-{state.global_step}", MARK).touch()


def last_complete(folder: str | Path) -> str | None:
    """The newest whole checkpoint in a folder, to be given to `trainer.train(resume_from_checkpoint=...)`, or None."""
    marked = [mark.parent for mark in Path(folder).glob(f"checkpoint-*/{MARK}")]
    found = [path for path in marked if re.fullmatch(r"checkpoint-\d+", path.name)]
    return str(max(found, key=lambda path: int(path.name.split("-")[1]))) if found else None
