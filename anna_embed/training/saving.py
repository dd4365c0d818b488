"""What a training run leaves: the adapter as peft loads it, the tokenizer, and every logged line."""

import json
import signal
from pathlib import Path

from anna_embed.adapter_folder import not_finite
from anna_embed.artifacts import LOG
from anna_embed.located import Located
from anna_embed.origin import licence_of
from anna_embed.parsing import RecipeError
from anna_embed.training.held_out import scores_of


def exit_if_stopped(trainer) -> None:
    """Ends the process, with the exit code of SIGTERM, if that stopped training before its last step."""
    if trainer.save_on_term.stopped:
        done = f"step {trainer.state.global_step} of {trainer.state.max_steps}"
        if trainer.is_world_process_zero():
            print(f"train: stopped by SIGTERM; {done} is saved, the same command goes on from there", flush=True)
        raise SystemExit(128 + signal.SIGTERM)


def check_learnt(trainer) -> None:
    """Raises [`RecipeError`] unless the adapter holds finite numbers, and the steps have changed it: a loss tells only
    of the step before, and `B` begins at 0."""
    rate, steps = f"learning_rate: {trainer.args.learning_rate:g}", trainer.state.global_step
    check_finite(trainer.model, rate, steps)
    changes = [weight for name, weight in trainer.model.named_parameters() if "lora_B" in name]
    if changes and not any(weight.any() for weight in changes):
        raise RecipeError(f"{rate} has taught nothing in {steps} steps (every lora_B is still 0); raise it, or look "
                          "at lora_alpha, lora_dropout, temperature and the triplets.")


def check_finite(model, rate: str, steps: int) -> None:
    """Raises [`RecipeError`] if a trained weight is NaN or infinite, which a logged loss need not tell.

    Args:
        model ([`~torch.nn.Module`]): after training.
        rate (`str`): the learning rate, as the recipe has it.
        steps (`int`): that were trained.
    """
    spoilt = not_finite(model)
    if spoilt:
        raise RecipeError(f"{rate} led to weights that are not finite in step {steps} (for example {spoilt[0]}); "
                          "lower it, or check the base model.")


def save_adapter(trainer, folder: Path, base_name: str) -> None:
    """
    Writes adapter, tokenizer and log.

    Args:
        trainer ([`EmbeddingTrainer`]): after training.
        folder (`Path`): takes the files.
        base_name (`str`): of the base model as the recipe has it: a folder or a Hub id, perhaps with `@revision`.
    """
    peft_config = trainer.model.peft_config["default"]
    name, _, revision = (base_name, "", "") if Path(base_name).exists() else base_name.partition("@")
    peft_config.base_model_name_or_path, peft_config.revision = name, revision or None
    if isinstance(peft_config.target_modules, set):  # in whatever order; the same adapter should be the same file
        peft_config.target_modules = sorted(peft_config.target_modules)
    trainer.model.save_pretrained(str(folder), save_embedding_layers=False)  # True or "auto" would ask the Hub
    trainer.processing_class.save_pretrained(str(folder))
    (folder / LOG).write_text(json.dumps(trainer.state.log_history, indent=1) + "\n", encoding="utf-8")


def facts_of(trainer, base: Located, base_name: str, more: dict) -> dict[str, dict]:
    """
    What the manifest says of the base model and of the training.

    Args:
        trainer ([`EmbeddingTrainer`]): after training.
        base ([`Located`]): the base model.
        base_name (`str`): its name as the recipe has it.
        more (`dict`): what else is to be said of the training: the steps before this one, and who guided.

    Returns:
        `dict`: `base_model` and `training`.
    """
    config, args, final = trainer.config, trainer.args, dict(trainer.state.log_history[-1])
    if more.get("resumed_at") == trainer.state.global_step:  # no step was left: transformers calls that a loss of 0
        final.pop("train_loss", None)
    measured = {"held_out": scores_of(trainer.state, args.load_best_model_at_end)} if trainer.eval_dataset else {}
    return {"base_model": {"name": base_name, "digest": base.digest, "commit": base.commit,
                           "licence": licence_of(base.path)},
            "training": {"steps": trainer.state.global_step, "processes": trainer.accelerator.num_processes,
                         "max_length": config.max_length, "prompt_max_length": config.prompt_max_length,
                         "example_max_length": config.example_max_length, **more, **measured,
                         "final": final}}
