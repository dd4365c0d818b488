"""A run's folder as the train stage leaves it: triplets, and an adapter that moved, on the tiny model."""

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from small import TASKS, triplet_rows
from transformers import AutoModel

from anna_embed.artifacts import Stage
from anna_embed.located import locate
from anna_embed.schema import TRIPLETS
from anna_embed.tables import data_files, write_split


def write_triplets(artifacts: Path) -> None:
    stage = Stage("mine", f"{artifacts}/triplets", {}, {})
    rows = {task: {"train": write_split(stage.begin(), task, "train", some, TRIPLETS)}
            for task, some in triplet_rows().items()}
    stage.finish(stage.manifest(rows, files=data_files(rows), tasks=TASKS))


def write_adapter(artifacts: Path, base: Path, rank: int = 4, **training) -> None:
    """A random adapter, large enough to show; `training` is what the manifest says of it beside the defaults."""
    torch.manual_seed(1 + rank)
    model = get_peft_model(AutoModel.from_pretrained(base, dtype="float32"), LoraConfig(
        r=rank, lora_alpha=8, target_modules="all-linear", task_type="FEATURE_EXTRACTION", init_lora_weights=False))
    stage = Stage("train", f"{artifacts}/adapter", {"example_max_length": 12}, {})
    model.save_pretrained(stage.begin())
    named = {"name": str(base), "digest": locate("base", str(base), "model", []).digest, "commit": None}
    stage.finish(stage.manifest({}, tasks=TASKS, base_model=named, training={"max_length": 64, **training}))


def rewrite(file: Path, **changes) -> None:
    """Changes keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
