"""What must hold before the first step: each failure is one sentence instead of hours of training on nonsense."""

import math

import torch
from transformers import SchedulerType, get_scheduler
from transformers.integrations import get_reporting_integration_callbacks
from transformers.utils import logging

from anna_embed.engine.masks import can_pack, same_alone
from anna_embed.kinds import KINDS
from anna_embed.parsing import RecipeError, in_short
from anna_embed.prompts import query_prompt
from anna_embed.training.batch import has_soft_labels
from anna_embed.training.losses import target_entropy

logger = logging.get_logger(__name__)

UNIFORM = 0.98  # soft labels whose mean entropy is above this share of the highest possible teach next to nothing
BLOCK = 1000  # rows read at once

# Settings of `transformers.TrainingArguments` that this trainer cannot follow: the only value it takes, and a remedy.
FIXED = {
    "gradient_accumulation_steps": (1, "it would change the in-batch negatives: set retrieval_batch_size and "
                                       "other_batch_size for the batch, and token_budget for memory"),
    "per_device_train_batch_size": (8, "it has no effect here: set retrieval_batch_size and other_batch_size, which "
                                       "are global, and token_budget for memory"),
    "per_device_eval_batch_size": (8, "it has no effect here: set eval_rows, and token_budget for memory"),
    "fp16": (False, "small gradients would vanish in it: use bf16: true"),
    "auto_find_batch_size": (False, "it would begin again from a half-trained adapter: set token_budget for memory"),
    "neftune_noise_alpha": (None, "its noise would depend on how texts are packed: leave it out"),
    "label_smoothing_factor": (0.0, "no loss here has it: leave it out"),
    "save_only_model": (False, "a killed run could not go on: leave it out"),
    "push_to_hub": (False, "publishing is a stage of its own: use recipes.publish"),
    "resume_from_checkpoint": (None, "the same command goes on from the last checkpoint: leave it out"),
    "data_seed": (None, "seed orders the rows, too: leave it out"),
    "dataloader_drop_last": (False, "no row is left over: what remains of a task is a smaller batch; leave it out"),
    "torch_compile": (False, "rows differ in their blocks, so that it would compile in every step: leave it out"),
}
# Parts of the names of optimizers that change weights in the backward pass, before the processes' gradients are
# summed, or want to be told when training begins and ends.
REFUSED_OPTIMIZERS = ("lomo", "layerwise", "schedule_free")
HIGHER_IS_BETTER = ("reduce_lr_on_plateau", "greedy")  # schedulers that must be told so


def check_arguments(arguments) -> None:
    """Raises [`RecipeError`] for a setting of the trainer that would change the result in silence."""
    given = vars(arguments)
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise RecipeError(f"{name}: {value} is not possible; write a finite number.")
    for name, (only, remedy) in FIXED.items():
        if given[name] != only:
            raise RecipeError(f"{name}: {given[name]!r} is not possible; {remedy}.")
    if arguments.mixed_precision != ("bf16" if arguments.bf16 else "no"):
        raise RecipeError(f"mixed_precision: {arguments.mixed_precision} of accelerate's file is not what the recipe "
                          f"says (bf16: {str(arguments.bf16).lower()}); write mixed_precision: 'no' in that file.")
    if arguments.n_gpu > 1:
        raise RecipeError(f"{arguments.n_gpu} GPUs are seen, but this is one process; launch as many (a file of "
                          "recipes/accelerate), or show it one GPU (CUDA_VISIBLE_DEVICES=0).")
    if arguments.max_steps == 0 or (arguments.max_steps < 0 and arguments.num_train_epochs <= 0):
        raise RecipeError(f"max_steps: {arguments.max_steps} with num_train_epochs: {arguments.num_train_epochs:g} is "
                          "no training; write a positive number for one of them.")
    if any(part in arguments.optim for part in REFUSED_OPTIMIZERS):
        raise RecipeError(f"optim: {arguments.optim.value} does not fit a step of several passes; write for example "
                          "adamw_torch.")
    evaluates = arguments.eval_strategy != "no"
    if arguments.save_strategy == "best" and not (arguments.metric_for_best_model and evaluates):
        raise RecipeError("save_strategy: best needs scores, and to know by which; write eval_strategy, and "
                          "metric_for_best_model: mean.")
    if arguments.eval_on_start and not evaluates:
        raise RecipeError("eval_on_start: true needs held-out rows; write eval_strategy, or leave it out.")
    kind = arguments.lr_scheduler_type
    if kind in HIGHER_IS_BETTER and (arguments.lr_scheduler_kwargs or {}).get("mode") != "max":
        raise RecipeError(f"lr_scheduler_type: {kind.value} takes a rising score for a bad one; write beside it "
                          "lr_scheduler_kwargs: {mode: max}.")
    if arguments.save_total_limit == 1:
        raise RecipeError("save_total_limit: 1 is not possible; the old checkpoint goes before all processes have "
                          "written the new one, and a kill between would lose both: write 2 or more.")


def check_model(model, longest: int, say: bool = True) -> None:
    """Raises [`RecipeError`] for weights in a type that small gradients or steps vanish in, and for a model without
    positions for texts of `longest` tokens, or with such as depend on the other texts."""
    if model.dtype == torch.float16:
        raise RecipeError("dtype: float16 is not possible, as small gradients would vanish in it; write dtype: "
                          "bfloat16 or float32.")
    coarse = [name for name, p in model.named_parameters() if p.requires_grad and p.dtype == torch.bfloat16]
    if coarse:
        raise RecipeError(f"lora_modules_to_save: '{coarse[0]}' would be trained in bfloat16, which is too coarse for "
                          "most steps; write dtype: float32, or leave it out.")
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    if longest > limit and not can_pack(model.config)[0]:  # its positions may be a table
        raise RecipeError(f"prompt_max_length: the model reads {limit} tokens, and texts may have {longest}; write "
                          "max_length and prompt_max_length within that.")
    alone = same_alone(model.config)
    if longest > alone:
        raise RecipeError(f"prompt_max_length: texts may have {longest} tokens, and of more than {alone} the rotary "
                          "positions of this model change all other texts beside them; write max_length and "
                          "prompt_max_length within that.")
    if longest > limit and say:
        logger.warning(f"Texts may have {longest} tokens, more than the {limit} that the model was made for.")


def check_schedule(arguments, steps: int) -> None:
    """Raises [`RecipeError`] if transformers cannot make the schedule of the learning rate, which it would find out
    after guides have embedded all texts, or if the only step is one of warm-up, whose learning rate is 0."""
    try:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=arguments.learning_rate)
        get_scheduler(arguments.lr_scheduler_type, optimizer, arguments.get_warmup_steps(steps), steps,
                      scheduler_specific_kwargs=arguments.lr_scheduler_kwargs)
    except (TypeError, ValueError) as error:
        name = SchedulerType(arguments.lr_scheduler_type).value
        raise RecipeError(f"lr_scheduler_type: {name} is not possible with learning_rate: {arguments.learning_rate:g} "
                          f"and lr_scheduler_kwargs: {arguments.lr_scheduler_kwargs} ({in_short(error)}); mend "
                          "these keys.") from None
    if steps == 1 and arguments.get_warmup_steps(1) and arguments.lr_scheduler_type != "constant":
        raise RecipeError(f"warmup_steps: {arguments.warmup_steps:g} makes the only step one of warm-up, at a "
                          "learning rate of 0; train for more steps (max_steps, num_train_epochs), or write "
                          "warmup_steps: 0.")


def check_trackers(names: list[str] | None) -> None:
    """Raises [`RecipeError`] for one of `report_to` that there is not, or whose package is not installed."""
    try:
        for tracker in get_reporting_integration_callbacks(names or []):
            tracker()
    except (ImportError, RuntimeError, ValueError) as error:
        raise RecipeError(f"report_to: {', '.join(names)} is not possible ({in_short(error)}); install what is "
                          "missing, or leave it out.") from None


def check_optimizer(trainer) -> None:
    """Makes the trainer's optimizer, which transformers keeps; it would do so after guides have embedded all texts.

    Raises:
        [`RecipeError`]: it cannot be made.
    """
    arguments = trainer.args
    try:
        trainer.create_optimizer()
    except (ImportError, ValueError, TypeError, RuntimeError) as error:
        raise RecipeError(f"optim: {arguments.optim.value} cannot be made with optim_args: {arguments.optim_args} and "
                          f"the keys that begin with adam_ ({in_short(error)}); mend these keys, or write optim: "
                          "adamw_torch.") from None


def check_task(name: str, task: dict, rows, tokenizer, config) -> None:
    """Raises [`RecipeError`] unless the rows of one task can be trained on.

    Args:
        name (`str`), task (`dict`): The task, its kind and instruction.
        rows (`Dataset`): Its triplets.
        tokenizer, config: As for [`~anna_embed.training.batch.build`].
    """
    if not len(rows):
        raise RecipeError(f"triplets: the task '{name}' has no rows; leave it out of the recipe, or mend its source.")
    prompt = len(tokenizer(query_prompt(task["instruction"]))["input_ids"])
    if prompt >= config.max_length:
        raise RecipeError(f"max_length: {config.max_length} leaves no room for a text after the instruction of "
                          f"'{name}', which takes {prompt} tokens; raise it.")
    if KINDS[task["kind"]].graded:
        for number, score in enumerate(rows["label_score"]):
            if score is None or not 0 <= score <= 1:  # NaN is neither
                raise RecipeError(f"triplets: row {number} of '{name}' has the label_score {score}, but graded pairs "
                                  "need a number from 0 to 1; mend the pairs and mine again.")


def check_soft_labels(name: str, rows, config) -> float:
    """Reads all teacher scores of one task before training.

    Returns:
        `float`: mean entropy of the soft labels as a share of the uniform distribution's; NaN if no row has negatives.

    Raises:
        [`RecipeError`]: a score is missing, NaN or infinite.
    """
    key, total, groups = f"teacher_{config.teacher}", 0.0, 0
    for start in range(0, len(rows), BLOCK):
        block = rows[start: start + BLOCK]
        scores = [_checked(name, key, *row) for row in zip(block[key], block["negative_ids"], block["query"])]
        scores = [s[: 1 + config.num_negatives] for s in scores if len(s) > 1 and config.num_negatives]
        if scores:
            table = torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s in scores], batch_first=True)
            present = torch.arange(table.shape[1]) < torch.tensor([[len(s)] for s in scores])
            total += target_entropy(table, present, config.teacher_temperature).item() * len(scores)
            groups += len(scores)
    return total / groups if groups else math.nan


def _checked(name, key, scores, negatives, query):
    if len(scores) != 1 + len(negatives):
        raise RecipeError(f"triplets: query '{query[:80]}' of '{name}' has {len(scores)} scores in {key} for "
                          f"{1 + len(negatives)} passages; score and mine again, or set soft_label_weight: 0.")
    if not all(map(math.isfinite, scores)):
        raise RecipeError(f"triplets: query '{query[:80]}' of '{name}' has a score in {key} that is not a finite "
                          f"number ({scores}); score and mine again, or choose another teacher.")
    return scores


def check_tasks(tasks: dict[str, dict], rows: dict, tokenizer, config, main_process: bool) -> dict[str, float]:
    """`check_task` for every task, and for those with soft labels their entropy; warns where it says nothing."""
    entropies = {}
    for name, table in rows.items():
        check_task(name, tasks[name], table, tokenizer, config)
        if has_soft_labels(tasks[name], config):
            entropies[name] = check_soft_labels(name, table, config)
            if entropies[name] > UNIFORM and main_process:
                logger.warning(
                    f"The soft labels of '{name}' are almost uniform: their mean entropy is {entropies[name]:.3f} of "
                    f"the highest possible, so they teach next to nothing. Lower teacher_temperature, now "
                    f"{config.teacher_temperature:g} (1 suits reranker logits, 0.05 cosines, 0.001 RRF), or choose "
                    f"another teacher than '{config.teacher}'.")
    return entropies
