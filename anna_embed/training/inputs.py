"""What training is made from: found before torch is imported, as a run's other stages ask for it too."""

from pathlib import Path

from anna_embed.located import Located, locate
from anna_embed.parsing import RecipeError


# Keys of `trl.ModelConfig` that have one possible value here, and a remedy.
ONLY = {
    "use_peft": (True, "what is trained is an adapter: leave it out"),
    "lora_task_type": ("FEATURE_EXTRACTION", "there is no other for an embedder: leave it out"),
    "model_revision": ("main", "write it behind the model's name: model_name_or_path: org/name@revision"),
    "load_in_8bit": (False, "the base model is not quantised: leave it out"),
    "load_in_4bit": (False, "the base model is not quantised: leave it out"),
    "output_dir": (None, "the stage writes into the folder that artifacts names: leave it out"),
    "hub_token": (None, "it would be written into the manifest: set HF_TOKEN, or log in with `hf auth login`"),
}


def check_keys(given: dict) -> None:
    """Raises [`RecipeError`] for a key of trl's that is not followed or possible, and if there is no base model."""
    for key, (only, remedy) in ONLY.items():
        if given.get(key, only) != only:
            value = "a token" if key == "hub_token" else repr(given[key])
            raise RecipeError(f"{key}: {value} is not possible; {remedy}.")
    for key, good, remedy in (("lora_alpha", given.get("lora_alpha", 1) > 0, "a positive number, for example 32"),
                              ("lora_dropout", 0 <= given.get("lora_dropout", 0) < 1, "0 or more, and less than 1")):
        if not good:
            raise RecipeError(f"{key}: {given[key]} is not possible, as nothing would be learnt; write {remedy}.")
    if not given.get("model_name_or_path"):
        raise RecipeError("model_name_or_path: names no base model; give a decoder-only model, a folder or a Hub id.")


def parents_of(config, given: dict) -> dict[str, Located]:
    """
    The inputs of a training run, by the keys that name them.

    Args:
        config ([`TrainConfig`]): the stage's keys.
        given (`dict`): all keys that the recipe states, also those of trl and transformers.

    Raises:
        [`RecipeError`]: one is missing, both guides are the same, a second step would overwrite its first, or what
            `check_keys` refuses.
    """
    check_keys(given)
    parents = {"triplets": locate("triplets", config.input("triplets"), "dataset", config.mirror),
               "model_name_or_path": locate("model_name_or_path", given["model_name_or_path"], "model", config.mirror)}
    for key in ("guide", "second_guide", "adapter"):
        if given.get(key):
            parents[key] = locate(key, given[key], "model", config.mirror)
    if "second_guide" in parents and parents["second_guide"].digest == parents["guide"].digest:
        raise RecipeError(f"second_guide: '{given['second_guide']}' is the guide too; name another model, or leave it "
                          "out.")
    if given.get("adapter") and Path(given["adapter"]).resolve() == Path(config.artifacts, "adapter").resolve():
        raise RecipeError(f"adapter: '{given['adapter']}' is what this stage makes; let a second step have artifacts "
                          "of its own.")
    if config.evaluates(given):
        parents["pairs"] = locate("pairs", config.input("pairs"), "dataset", config.mirror)
    return parents
