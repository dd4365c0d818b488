"""The adapter that training begins with: a new one, or in a second step that of a first."""

import errno
import re
from dataclasses import replace
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import AutoModel
from trl import get_peft_config

from anna_embed.adapter_folder import not_finite, put_on, read_config
from anna_embed.artifacts import read_manifest
from anna_embed.located import Located, differ
from anna_embed.origin import licence_of
from anna_embed.parsing import RecipeError, in_short
from anna_embed.training.lora import fuse_lora
from anna_embed.weights import check_weights

# Keys of `trl.ModelConfig` that may be said again, if they say what the adapter has; all others it brings along.
HAS = {"lora_r": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}
BRINGS = ("lora_target_modules", "lora_target_parameters", "lora_modules_to_save", "use_dora", "use_rslora")


def load_base(path: str, model_args):
    """The base model in the type that the recipe says.

    Raises:
        [`RecipeError`]: it is damaged or lacks weights, or there is no such type or attention, or what it needs is not
            installed.
    """
    try:
        model = AutoModel.from_pretrained(path, dtype=model_args.dtype,
                                          attn_implementation=model_args.attn_implementation)
    except (ImportError, AttributeError, ValueError, OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise RecipeError(f"model_name_or_path: '{path}' cannot be loaded ({in_short(error)}); mend that folder, or "
                          f"the keys dtype: {model_args.dtype} and attn_implementation: "
                          f"{model_args.attn_implementation}.") from None
    check_weights(model, path, "model_name_or_path")
    return model


def with_adapter(model, parents: dict[str, Located], given: dict, model_args) -> tuple[PeftModel, dict, dict]:
    """
    The base model with a new adapter, or with the one that the recipe's `adapter` names.

    Args:
        model ([`~transformers.PreTrainedModel`]): the base model.
        parents (`dict[str, Located]`): the inputs of the training run.
        given (`dict`): the keys that the recipe states.
        model_args ([`~trl.ModelConfig`]): LoRA's settings.

    Returns:
        `tuple`: the model; what the manifest says of earlier steps, and their tasks (both empty if there are none).
    """
    if "adapter" not in parents:
        try:
            config = get_peft_config(replace(model_args, use_peft=True, lora_task_type="FEATURE_EXTRACTION"))
            named = config.target_modules
            # Of a list of one trl makes a string, a regular expression to peft: a mere name would fit nothing.
            if isinstance(named, str) and named != "all-linear" and re.fullmatch(r"[\w.]+", named):
                config.target_modules = {named}
            return get_peft_model(model, fuse_lora(config)), {}, {}
        except ValueError as error:
            raise RecipeError(f"train: peft refuses LoRA's settings ({in_short(error)}); mend the keys that begin "
                              "with lora_.") from None
    folder = parents["adapter"].path
    earlier, learnt = check_adapter(folder, given, parents["model_name_or_path"].digest)
    return continued(model, folder), {"goes_on_from": earlier}, learnt


def check_adapter(folder: str, given: dict[str, Any], digest: str) -> tuple[dict[str, Any], dict[str, dict]]:
    """
    What there is to know of an adapter before training goes on from it.

    Args:
        folder (`str`): of the adapter.
        given (`dict`): the keys that the recipe states.
        digest (`str`): of the base model's content.

    Returns:
        `tuple`: for the manifest `steps` and `rows` of the first step, as far as its own manifest says them, and what
        it went on from, or of an adapter from elsewhere the licence; and the tasks of all steps before.

    Raises:
        [`RecipeError`]: there is no LoRA adapter, or none that can be read, a key says something else than it, or it
            has another base model.
    """
    config = read_config(folder)
    if config.peft_type != "LORA":
        raise RecipeError(f"adapter: '{folder}' is of the kind {config.peft_type}; name a LoRA adapter.")
    for key, name in HAS.items():
        if given.get(key, getattr(config, name)) != getattr(config, name):
            raise RecipeError(f"{key}: {given[key]} is not possible with the adapter of '{folder}', which has "
                              f"{getattr(config, name)}; write that, or leave {key} out.")
    for key in BRINGS:
        if key in given:
            raise RecipeError(f"{key}: {given[key]} is not possible beside adapter, which has its own; leave it out.")
    manifest = read_manifest(folder)
    base, training = manifest.get("base_model", {}), manifest.get("training", {})
    if differ(base.get("digest", digest), digest):
        raise RecipeError(f"adapter: '{folder}' was trained on another base model ({base['name']}, or another "
                          "version of it) than model_name_or_path; give that one.")
    rows = {task: splits.get("train") for task, splits in manifest.get("rows", {}).items()}
    earlier = {key: training[key] for key in ("goes_on_from",) if key in training}
    licence = {} if "tasks" in manifest else {"licence": licence_of(folder)}
    return {"steps": training.get("steps"), "rows": rows, **earlier, **licence}, manifest.get("tasks", {})


def continued(model: torch.nn.Module, folder: str) -> PeftModel:
    """
    The base model with an adapter that was trained before and is trained on.

    Raises:
        [`RecipeError`]: they do not fit together, or the adapter is damaged or no number.
    """
    model = put_on(model, folder, fuse_lora(read_config(folder)), is_trainable=True)
    spoilt = not_finite(model)
    if spoilt:
        raise RecipeError(f"adapter: '{folder}' has weights that are no finite numbers (for example {spoilt[0]}); "
                          "fetch it again, or name another.")
    return model
