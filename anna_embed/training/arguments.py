"""transformers' own arguments of training, on whatever the machine has."""

import os
from dataclasses import dataclass

import torch
from transformers import TrainingArguments

from anna_embed.parsing import RecipeError


@dataclass
class Arguments(TrainingArguments):
    """[`~transformers.TrainingArguments`] that take the CPU where there is nothing else, or where accelerate's
    hardware file says so: `bf16` is refused there without `use_cpu`, and a recipe does not say what it runs on."""

    def __post_init__(self):
        told = os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes", "y", "t", "on")
        self.use_cpu = self.use_cpu or told or not torch.accelerator.is_available()
        super().__post_init__()
        if not 0 <= self.seed < 2**32:
            raise RecipeError(f"seed: {self.seed} is not possible; write a number from 0 to 4294967295.")
