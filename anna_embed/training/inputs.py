"""What training is made from: found before torch is imported, as a run's other stages ask for it too."""

from pathlib import Path

from anna_embed.artifacts import Located, locate
from anna_embed.parsing import RecipeError


def parents_of(config, given: dict) -> dict[str, Located]:
    """
    The inputs of a training run, by the keys that name them.

    Args:
        config ([`TrainConfig`]): the stage's keys.
        given (`dict`): all keys that the recipe states, also those of trl and transformers.

    Raises:
        [`RecipeError`]: one is missing, both guides are the same, or a second step would overwrite its first.
    """
    if not given.get("model_name_or_path"):
        raise RecipeError("model_name_or_path: names no base model; give a decoder-only model, a folder or a Hub id.")
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
