"""mteb's `ModelMeta` of an exported model: what its registry says of it, training data included."""

import re
from pathlib import Path

from anna_embed.artifacts import read_manifest
from anna_embed.lineage import told_now
from anna_embed.parsing import RecipeError
from anna_embed.prompts import query_prompt

TEMPLATE = query_prompt("{instruction}")
IMPORTS = """from mteb.models.instruct_wrapper import InstructSentenceTransformerModel
from mteb.models.model_meta import ModelMeta, ScoringFunction
"""


def training_datasets(tasks: dict[str, dict]) -> set[str]:
    """mteb's names of the data that a model was trained on: what the sources table says that its tasks cover.

    mteb compares them with the tasks of a benchmark and says how far a model is zero-shot there. A name that it does
    not know counts for nothing, so that a slip in one would look like clean training (the registry's entry of the
    report's own model has two of them).

    Args:
        tasks (`dict[str, dict]`): Those of the model's manifest, with `mteb_tasks`.

    Raises:
        [`RecipeError`]: mteb has no task of such a name.
    """
    import mteb

    for task, known in tasks.items():
        for name in known.get("mteb_tasks", []):
            try:
                mteb.get_task(name)
            except KeyError:
                raise RecipeError(f"tasks: {task}: mteb_tasks: mteb has no task '{name}'; write its name as "
                                  "`mteb available-tasks` lists it, or leave it out.") from None
    return {name for known in tasks.values() for name in known.get("mteb_tasks", [])}


def model_meta(model: str, name: str, revision: str, prompts: dict[str, str], dtype: str,
               licence: str | None = None, release_date: str | None = None):
    """mteb's description of an exported model, with which mteb itself loads it and asks it as we do.

    Args:
        model (`str`): The exported model's folder.
        name, revision (`str`): Its Hub id, and the commit there.
        prompts (`dict[str, str]`): The whole prompt of each mteb task that was scored.
        dtype (`str`): The type of weights with which it was.
        licence, release_date (`str`): As mteb writes them: `apache-2.0`, `2026-11-22`.

    Returns:
        `mteb.models.ModelMeta`

    Raises:
        [`RecipeError`]: the folder is no exported model, or name, revision, licence or date are not as mteb has them.
    """
    from mteb.models import ModelMeta
    from mteb.models.instruct_wrapper import InstructSentenceTransformerModel
    from pydantic import ValidationError

    manifest = read_manifest(model)
    if manifest.get("stage") != "export":
        raise RecipeError(f"model: '{model}' was not made by the export stage; name the folder of an exported model.")
    manifest = told_now(model, manifest)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise RecipeError(f"name: '{name}' is no Hub id; write org/name.")
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise RecipeError(f"revision: '{revision}' is no commit; write the 40 digits that the Hub shows for it.")
    base = manifest["base_model"]
    try:
        return ModelMeta(
            loader=InstructSentenceTransformerModel, name=name, revision=revision, release_date=release_date,
            loader_kwargs={"instruction_template": TEMPLATE, "apply_instruction_to_passages": False,
                           "prompts_dict": {task: instruction_of(task, p) for task, p in sorted(prompts.items())},
                           "model_kwargs": {"dtype": dtype}},
            languages=["eng-Latn"], **_weights(Path(model)), max_tokens=manifest["max_seq_length"],
            embed_dim=manifest["dimension"], license=licence, open_weights=True, public_training_code=None,
            public_training_data=None, framework=["Sentence Transformers", "PyTorch", "Transformers", "safetensors"],
            reference=f"https://huggingface.co/{name}", similarity_fn_name="cosine", use_instructions=True,
            training_datasets=training_datasets(manifest["tasks"]), adapted_from=base["name"].partition("@")[0])
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"{first['loc'][0]}: {first['input']!r} is not as mteb has it; {first['msg']}.") from error


def instruction_of(task: str, prompt: str) -> str:
    """What stands where mteb's template puts the instruction: with few-shot examples, these as well.

    Raises:
        [`RecipeError`]: the prompt is not of our format.
    """
    before, after = TEMPLATE.split("{instruction}")
    if not (prompt.startswith(before) and prompt.endswith(after)):
        raise RecipeError(f"prompts: that of {task}, {prompt!r}, is not of the form {TEMPLATE!r}, which is what "
                          "mteb's loader builds; score the model with prompts of that form.")
    return prompt[len(before): -len(after)]


def _weights(model):
    """Number of parameters, those of the embedding table, and the weights' size, from the files' headers."""
    from safetensors import safe_open

    total, table, size = 0, 0, 0
    for file in sorted(model.glob("*.safetensors")):
        size += file.stat().st_size
        with safe_open(file, "np") as weights:
            for key in weights.keys():
                number = 1
                for length in weights.get_slice(key).get_shape():
                    number *= length
                total += number
                table += number if key.endswith("embed_tokens.weight") else 0
    return {"n_parameters": total, "n_embedding_parameters": table, "memory_usage_mb": round(size / 2**20)}


def as_code(meta, tasks: dict[str, dict], max_length: int) -> str:
    """The Python to add to mteb: `ModelMeta(...)`, and what its fields cannot say as comments.

    Args:
        meta (`mteb.models.ModelMeta`): From `model_meta`.
        tasks (`dict[str, dict]`): What the model was trained on.
        max_length (`int`): Tokens of a text, beside its prompt, when it was scored.
    """
    other = sorted(task for task, known in tasks.items() if not known.get("mteb_tasks"))
    comments = f"# Scored on the first {max_length} tokens of each text.\n"
    comments += f"# Trained on as well, no task of mteb's: {', '.join(other)}.\n" if other else ""
    variable = re.sub(r"\W", "_", meta.name.partition("/")[2]).lower()
    return f"{IMPORTS}\n{comments}{variable} = {meta.to_python()}\n"
