"""Triplets to a LoRA adapter: soft InfoNCE with in-batch negatives and few-shot examples.

    accelerate launch --config_file recipes/accelerate/gpu8.yaml -m recipes.train --config recipes/own_data/train.yaml
    python -m recipes.train --config recipes/quickstart/train.yaml --mirror artifacts/mirror         # a laptop, 5 min
    python -m recipes.train --config recipes/quickstart/train.yaml --mirror artifacts/mirror --dry_run true

Reads      triplets, a decoder-only base model; if named, a guide, and an adapter to go on from; with eval_strategy,
           the pairs' held-out rows
Publishes  adapter (PEFT, and a SentenceTransformer that loads the base beside it); `training_log.json` in it holds
           every logged line
"""

import os
import tempfile
from pathlib import Path

from recipes.publish import pushed

from anna_embed.artifacts import Stage
from anna_embed.config import TrainConfig
from anna_embed.fetch import go_offline
from anna_embed.parsing import one_sentence, parse
from anna_embed.training.inputs import parents_of


def plan(config: TrainConfig, given: dict) -> Stage:
    return Stage("train", f"{config.artifacts}/adapter", given, parents_of(config, given))


def main(config: TrainConfig, training_args, model_args, given: dict) -> None:
    if config.mirror:
        go_offline()
    stage = plan(config, given)
    from accelerate import PartialState

    with PartialState().main_process_first():  # it may wait for another run that is making the artifact
        current = not config.dry_run and stage.is_current
    if current:
        return print(f"train: {stage.output} is up to date")

    from transformers import set_seed

    from anna_embed.evaluation.in_training import HeldOutScores
    from anna_embed.hub.cards import render
    from anna_embed.hub.names import hub_id
    from anna_embed.model.layout import portable_tokenizer, write_layout
    from anna_embed.model.stored_prompts import prompts_of
    from anna_embed.precision import note_if_slow
    from anna_embed.schema import TRIPLETS
    from anna_embed.tables import read_split, tasks_of
    from anna_embed.teacher.guide_vectors import guide_of, texts_of_steps
    from anna_embed.teacher.shards import Processes
    from anna_embed.tokens import load_tokenizer
    from anna_embed.training.adapter import load_base, with_adapter
    from anna_embed.training.checkpoints import keep_progress, last_complete, step_of
    from anna_embed.training.forecast import announce
    from anna_embed.training.held_out import SEED, few_shot, read_samples
    from anna_embed.training.saving import check_learnt, exit_if_stopped, facts_of, save_adapter
    from anna_embed.training.trainer import EmbeddingTrainer

    # ---- read -------------------------------------------------------------------------------------------------------
    path = {key: parent.path for key, parent in stage.parents.items()}
    with PartialState().main_process_first():
        if not config.dry_run:
            keep_progress(stage)
        work = Path(tempfile.gettempdir()) if config.dry_run else stage.begin()
        tasks = tasks_of("triplets", path["triplets"])
        rows = {task: read_split("triplets", path["triplets"], task, "train", TRIPLETS) for task in tasks}
        held_out = score = None
        if "pairs" in path:
            held_out = read_samples(path["pairs"], config.eval_rows, SEED)
            held_out += few_shot(held_out, rows, config.eval_examples, training_args.seed)
            score = HeldOutScores({sample.name: sample.kind for sample in held_out})

    # ---- model ------------------------------------------------------------------------------------------------------
    if PartialState().is_main_process:
        rounded = training_args.bf16 or model_args.dtype == "bfloat16"
        note_if_slow("bfloat16" if rounded else "float32", training_args.device.type, "--dtype float32 --bf16 false")
    set_seed(training_args.seed)  # the adapter's initial weights
    tokenizer = load_tokenizer(path["model_name_or_path"], config.prompt_max_length)
    model = load_base(path["model_name_or_path"], model_args)
    model, before, learnt = with_adapter(model, stage.parents, given, model_args)
    guide = guide_of(config, stage.parents, "bfloat16" if training_args.bf16 else "float32")

    # ---- train ------------------------------------------------------------------------------------------------------
    training_args.output_dir = str(work / ".checkpoints")
    # Not into output_dir, whose checkpoints are removed when the stage ends.
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", f"{config.artifacts}/runs/{stage.key[:12]}")
    trainer = EmbeddingTrainer(config, tasks, rows, guide, model=model, args=training_args, processing_class=tokenizer,
                               eval_dataset=held_out, compute_metrics=score)
    texts = texts_of_steps(trainer.steps, trainer.steps.until_the_end(training_args)) if guide else []
    announce(trainer, guide, texts)
    if config.dry_run:
        return
    if guide:
        guide.embed(texts, Processes(work / ".failed"))
        del texts
    checkpoint = last_complete(training_args.output_dir)
    trainer.train(resume_from_checkpoint=checkpoint)
    exit_if_stopped(trainer)
    check_learnt(trainer)

    # ---- write ------------------------------------------------------------------------------------------------------
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        save_adapter(trainer, work, given["model_name_or_path"])
        portable_tokenizer(work)
        prompts = prompts_of(learnt | tasks, {})
        write_layout(work, model.config.get_text_config().hidden_size, config.prompt_max_length, prompts)
        guided = {key: hub_id(given[key]) or "a folder of this machine" for key in guide.models} if guide else {}
        resumed = {"resumed_at": step_of(checkpoint)} if checkpoint else {}  # times and speeds are of later steps
        manifest = stage.manifest({task: {"train": len(table)} for task, table in rows.items()}, tasks=learnt | tasks,
                                  prompts=prompts, **facts_of(trainer, stage.parents["model_name_or_path"],
                                                              given["model_name_or_path"],
                                                              before | guided | resumed))
        render(work, manifest)
        stage.finish(manifest)
    trainer.accelerator.wait_for_everyone()


if __name__ == "__main__":
    with one_sentence():
        from trl import ModelConfig

        from anna_embed.training.arguments import Arguments

        config, *others = parse((TrainConfig, Arguments, ModelConfig))
        with pushed(config, "adapter"):
            main(config, *others)
