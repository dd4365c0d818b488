"""Triplets to a LoRA adapter: soft InfoNCE with in-batch negatives and few-shot examples.

    accelerate launch --config_file recipes/accelerate/gpu8.yaml -m recipes.train --config recipes/own_data/train.yaml
    python -m recipes.train --config recipes/quickstart/train.yaml --mirror artifacts/mirror         # a laptop, 5 min
    python -m recipes.train --config recipes/quickstart/train.yaml --mirror artifacts/mirror --dry_run true

Reads      triplets, a decoder-only base model; if named, a guide, and an adapter to go on from; with eval_strategy,
           the pairs' held-out rows
Publishes  adapter (PEFT); `training_log.json` beside it holds every logged line
"""

import json
import signal
import tempfile
from pathlib import Path

from recipes.publish import pushed

from anna_embed.artifacts import Stage, go_offline, locate
from anna_embed.config import TrainConfig
from anna_embed.parsing import RecipeError, one_sentence, parse

EVAL_SEED = 42  # whatever the seed of training: or seeds could not be compared


def plan(config: TrainConfig, given: dict) -> Stage:
    if not given.get("model_name_or_path"):
        raise RecipeError("model_name_or_path: names no base model; give a decoder-only model, a folder or a Hub id.")
    parents = {"triplets": locate("triplets", config.input("triplets"), "dataset", config.mirror),
               "model_name_or_path": locate("model_name_or_path", given["model_name_or_path"], "model", config.mirror)}
    for key in ("guide", "second_guide", "adapter"):
        if given.get(key):
            parents[key] = locate(key, given[key], "model", config.mirror)
    if given.get("adapter") and Path(given["adapter"]).resolve() == Path(config.artifacts, "adapter").resolve():
        raise RecipeError(f"adapter: '{given['adapter']}' is what this stage makes; let a second step have artifacts "
                          "of its own.")
    if config.evaluates(given):
        parents["pairs"] = locate("pairs", config.input("pairs"), "dataset", config.mirror)
    return Stage("train", f"{config.artifacts}/adapter", given, parents)


def main(config: TrainConfig, training_args, model_args, given: dict) -> None:
    if config.mirror:
        go_offline()
    stage = plan(config, given)
    if stage.is_current:
        return print(f"train: {stage.output} is up to date")

    from accelerate import PartialState
    from peft import get_peft_model
    from transformers import AutoModel, set_seed
    from trl import get_peft_config

    from anna_embed.hub.cards import render
    from anna_embed.hub.names import hub_id
    from anna_embed.kinds import KINDS
    from anna_embed.origin import licence_of
    from anna_embed.schema import TRIPLETS
    from anna_embed.tables import read_split, tasks_of
    from anna_embed.teacher.guide_vectors import Guide, texts_of
    from anna_embed.teacher.shards import Processes
    from anna_embed.tokens import load_tokenizer
    from anna_embed.training.checkpoints import last_complete
    from anna_embed.training.forecast import as_text, forecast
    from anna_embed.training.held_out import read_samples, scores_of
    from anna_embed.training.lora import shortened
    from anna_embed.training.second_step import check_adapter, continued
    from anna_embed.training.trainer import EmbeddingTrainer

    # ---- read -------------------------------------------------------------------------------------------------------
    triplets, base = stage.parents["triplets"].path, stage.parents["model_name_or_path"].path
    with PartialState().main_process_first():
        work = Path(tempfile.gettempdir()) if config.dry_run else stage.begin()
        tasks = tasks_of("triplets", triplets)
        rows = {task: read_split("triplets", triplets, task, "train", TRIPLETS) for task in tasks}
        held_out = score = None
        if "pairs" in stage.parents:
            from anna_embed.evaluation.in_training import HeldOutScores

            held_out = read_samples(stage.parents["pairs"].path, config.eval_rows, EVAL_SEED)
            score = HeldOutScores({sample.name: sample.kind for sample in held_out})

    # ---- model ------------------------------------------------------------------------------------------------------
    set_seed(training_args.seed)  # the adapter's initial weights
    tokenizer = load_tokenizer(base, config.prompt_max_length)
    model = AutoModel.from_pretrained(base, dtype=model_args.dtype, attn_implementation=model_args.attn_implementation)
    before, learnt = {}, {}  # what is said of earlier steps, and their tasks
    if "adapter" in stage.parents:
        adapter = stage.parents["adapter"].path
        earlier, learnt = check_adapter(adapter, given, stage.parents["model_name_or_path"].digest)
        before = {"goes_on_from": earlier}
        model = continued(model, adapter)
    else:
        model = get_peft_model(model, shortened(get_peft_config(model_args)))

    # ---- train ------------------------------------------------------------------------------------------------------
    training_args.output_dir = str(work / ".checkpoints")
    guides = {key: parent for key, parent in stage.parents.items() if key in ("guide", "second_guide")}
    guided = {key: hub_id(getattr(config, key)) or "a folder of this machine" for key in guides}
    guide, texts = None, []
    if guides:
        dtype = "bfloat16" if training_args.bf16 else "float32"
        guide = Guide(guides, Path(config.artifacts) / ".cache" / "vectors", config.max_length, dtype)
        ungraded = [table for task, table in rows.items() if not KINDS[tasks[task]["kind"]].graded]
        texts = texts_of(ungraded, config.num_negatives)
    trainer = EmbeddingTrainer(config, tasks, rows, guide, model=model, args=training_args, processing_class=tokenizer,
                               eval_dataset=held_out, compute_metrics=score)
    facts = forecast(trainer)
    if trainer.is_world_process_zero():
        print(f"train: {trainer.accelerator.num_processes} process(es)\n{as_text(facts)}", flush=True)
        if guide:
            left = guide.missing(texts)
            print(f"  guide          {left:,} vectors of {len(texts):,} texts to make first", flush=True)
    if config.dry_run:
        return
    if guide:
        guide.embed(texts, Processes(work / ".failed"))
        del texts
    trainer.train(resume_from_checkpoint=last_complete(training_args.output_dir))
    if trainer.save_on_term.stopped:
        done = f"step {trainer.state.global_step} of {trainer.state.max_steps}"
        print(f"train: stopped by SIGTERM; {done} is saved, the same command goes on from there", flush=True)
        raise SystemExit(128 + signal.SIGTERM)

    # ---- write ------------------------------------------------------------------------------------------------------
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        base_name = given["model_name_or_path"]
        peft_config = model.peft_config["default"]
        peft_config.base_model_name_or_path = base_name  # a Hub id, never a folder of this machine
        if isinstance(peft_config.target_modules, set):  # in whatever order; the same adapter should be the same file
            peft_config.target_modules = sorted(peft_config.target_modules)
        model.save_pretrained(str(work), save_embedding_layers=False)  # True or "auto" would ask the Hub
        tokenizer.save_pretrained(str(work))
        history = trainer.state.log_history
        (work / "training_log.json").write_text(json.dumps(history, indent=1) + "\n", encoding="utf-8")
        measured = {"held_out": scores_of(trainer.state, training_args.load_best_model_at_end)} if held_out else {}
        manifest = stage.manifest(
            {task: {"train": len(table)} for task, table in rows.items()}, tasks=learnt | tasks,
            base_model={"name": base_name, "digest": stage.parents["model_name_or_path"].digest,
                        "commit": stage.parents["model_name_or_path"].commit, "licence": licence_of(base)},
            training={"steps": trainer.state.global_step, "processes": trainer.accelerator.num_processes,
                      "max_length": config.max_length, "prompt_max_length": config.prompt_max_length,
                      **before, **guided, **measured, "final": history[-1]})
        render(work, manifest)
        stage.finish(manifest)
    trainer.accelerator.wait_for_everyone()


if __name__ == "__main__":
    with one_sentence():
        from transformers import TrainingArguments
        from trl import ModelConfig

        config, *others = parse((TrainConfig, TrainingArguments, ModelConfig))
        with pushed(config, "adapter"):
            main(config, *others)
