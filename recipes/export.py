"""Adapter to model: a SentenceTransformer that the stock library loads, with the recipe's prompts.

    python -m recipes.export --config recipes/own_data/export.yaml
    python -m recipes.export --config recipes/quickstart/export.yaml --mirror artifacts/mirror       # a laptop, 30 s

Reads      adapter (and the base model it names), triplets (texts to compare on)
Publishes  model (SentenceTransformer, merged weights)
"""

from recipes.publish import pushed

from anna_embed.artifacts import Stage, read_manifest
from anna_embed.config import ExportConfig, TrainConfig
from anna_embed.fetch import go_offline
from anna_embed.located import Located, at_commit, differ, locate
from anna_embed.parsing import RecipeError, one_sentence, parse


def plan(config: ExportConfig, given: dict) -> Stage:
    adapter, base = adapter_of("adapter", config.input("adapter"), config.mirror)
    parents = {"adapter": adapter, "base_model": locate("base_model", at_commit(base), "model", config.mirror),
               "triplets": locate("triplets", config.input("triplets"), "dataset", config.mirror)}
    for number, other in enumerate(config.average):
        parents[f"average.{number}"], its = adapter_of("average", other, config.mirror)
        if its["name"] != base["name"] or differ(its["digest"], base["digest"]):
            raise RecipeError(f"average: '{other}' was trained on {its['name']}, and '{adapter.reference}' on "
                              f"{base['name']}, or on another version of it; only adapters of one base can be "
                              "averaged.")
    return Stage("export", f"{config.artifacts}/model", given, parents)


def adapter_of(key: str, reference: str, mirrors: list[str]) -> tuple[Located, dict]:
    """An adapter, and what its manifest says of its base."""
    adapter = locate(key, reference, "model", mirrors)
    base = read_manifest(adapter.path).get("base_model", {})
    if not base.get("name"):
        raise RecipeError(f"{key}: '{reference}' holds no adapter with a manifest.json that names its base_model; "
                          "give an adapter made by the train stage.")
    return adapter, base


def main(config: ExportConfig, given: dict) -> None:
    if config.mirror:
        go_offline()
    stage = plan(config, given)
    if stage.is_current:
        return print(f"export: {stage.output} is up to date")

    from anna_embed.hub.cards import render
    from anna_embed.model.export import check, load_adapted, vectors_of, write_model
    from anna_embed.model.samples import sample_texts
    from anna_embed.model.stored_prompts import few_shot_prompts, prompts_of
    from anna_embed.tables import tasks_of
    from anna_embed.tokens import load_tokenizer

    # ---- read -------------------------------------------------------------------------------------------------------
    adapter = read_manifest(stage.parents["adapter"].path)
    base, triplets = stage.parents["base_model"].path, stage.parents["triplets"].path
    limit, tasks = config.max_seq_length, adapter["tasks"]
    room = limit - adapter["training"]["max_length"]
    config.require("max_seq_length", room > 0 or not config.num_examples,
                   f"write more than the {limit - room} tokens of a text in training, or num_examples: 0")
    work = stage.begin()
    for other in (parent.path for key, parent in stage.parents.items() if key.startswith("average")):
        tasks = read_manifest(other)["tasks"] | tasks
    # A second step may not have those of the first one's tasks, nor the adapter all that were mined since.
    with_rows = {task: t for task, t in tasks_of("triplets", triplets).items() if task in tasks}
    located = stage.parents["base_model"]
    if differ(adapter["base_model"]["digest"], located.digest):
        print("export: note: the base model here is not the one the adapter was trained on (its content differs)")
    adapters = [parent.path for key, parent in stage.parents.items() if key.startswith(("adapter", "average"))]
    model, tokenizer = load_adapted(base, adapters), load_tokenizer(base, limit)

    # ---- prompts: examples are cut as in training, and leave a text the room that it had there ----------------------
    shots = {}
    if config.num_examples:
        each = adapter["config"].get("example_max_length", TrainConfig.example_max_length)
        shots = few_shot_prompts(triplets, with_rows, tokenizer, config.num_examples, each, room, config.seed)
    prompts = prompts_of(tasks, shots)
    longest = max(map(len, tokenizer(list(prompts.values()), verbose=False)["input_ids"]))
    if longest >= limit:
        stage.discard()
    config.require("max_seq_length", longest < limit, f"the longest prompt takes {longest} tokens: write more")

    # ---- write, then prove it ---------------------------------------------------------------------------------------
    texts = sample_texts(triplets, with_rows, prompts, limit, config.seed)
    vectors = vectors_of(model, tokenizer, texts, limit)
    merged = write_model(model, tokenizer, work, config.dtype, limit, prompts)
    try:
        checks = check(vectors, merged, tokenizer, work, texts, limit, config.dtype)
    except RecipeError:
        stage.discard()
        raise
    for name, value in checks.items():
        print(f"export: {name}: {value:.2e}" if isinstance(value, float) else f"export: {name}: {value}")

    # ---- manifest and card ------------------------------------------------------------------------------------------
    manifest = stage.manifest({}, tasks=tasks, prompts=prompts, checks=checks, training=adapter["training"],
                              base_model=adapter["base_model"] | {"digest": located.digest, "commit": located.commit},
                              dtype=config.dtype, max_seq_length=limit,
                              dimension=merged.config.get_text_config().hidden_size)
    render(work, manifest)
    stage.finish(manifest)


if __name__ == "__main__":
    with one_sentence():
        config, given = parse(ExportConfig)
        with pushed(config, "model"):
            main(config, given)
