"""Adapter to model: a SentenceTransformer that the stock library loads, with the recipe's prompts.

    python -m recipes.export --config recipes/mistral_7b/export.yaml
    python -m recipes.export --config recipes/quickstart/export.yaml --mirror artifacts/mirror       # a laptop, 30 s

Reads      adapter (and the base model it names), triplets (texts to compare on)
Publishes  model (SentenceTransformer, merged weights)
"""

from anna_embed.artifacts import Stage, go_offline, locate, read_manifest
from anna_embed.config import ExportConfig
from anna_embed.parsing import RecipeError, one_sentence, parse


def plan(config: ExportConfig, given: dict) -> Stage:
    adapter = locate("adapter", config.input("adapter"), "model", config.mirror)
    base = read_manifest(adapter.path).get("base_model", {}).get("name")
    if not base:
        raise RecipeError(f"adapter: '{adapter.reference}' has no manifest.json that names its base_model; give an adapter "
                          "made by the train stage.")
    parents = {"adapter": adapter, "base_model": locate("base_model", base, "model", config.mirror),
               "triplets": locate("triplets", config.input("triplets"), "dataset", config.mirror)}
    return Stage("export", f"{config.artifacts}/model", given, parents)


def main(config: ExportConfig, given: dict) -> None:
    if config.mirror:
        go_offline()
    stage = plan(config, given)
    if stage.is_current:
        return print(f"export: {stage.output} is up to date")

    import torch

    from anna_embed.engine import embed
    from anna_embed.hub.cards import render
    from anna_embed.model.export import check, load_adapted, prompts_of, write_model
    from anna_embed.model.samples import sample_texts
    from anna_embed.tokens import load_tokenizer, tokenize

    # ---- read --------------------------------------------------------------------------------------------------------
    work, adapter = stage.begin(), read_manifest(stage.parents["adapter"].path)
    base = stage.parents["base_model"].path
    if adapter["base_model"]["digest"] != stage.parents["base_model"].digest:
        print("export: note: the base model here is not the one the adapter was trained on (its content differs)")
    model, tokenizer = load_adapted(base, stage.parents["adapter"].path), load_tokenizer(base, config.max_seq_length)
    prompts = prompts_of(adapter["tasks"])

    # ---- write, then prove it ----------------------------------------------------------------------------------------
    texts = sample_texts(stage.parents["triplets"].path, prompts, config.seed)
    with torch.no_grad():
        vectors = embed(model, tokenize(tokenizer, texts, config.max_seq_length), 4096)
    merged = write_model(model, tokenizer, work, config.dtype, config.max_seq_length, prompts)
    checks = check(vectors, merged, tokenizer, work, texts, config.max_seq_length)
    for name, value in checks.items():
        print(f"export: {name}: {value:.2e}" if isinstance(value, float) and value < 0.5 else f"export: {name}: {value}")

    # ---- manifest and card -------------------------------------------------------------------------------------------
    manifest = stage.manifest({}, tasks=adapter["tasks"], prompts=prompts, checks=checks, training=adapter["training"],
                              base_model=adapter["base_model"], dtype=config.dtype, max_seq_length=config.max_seq_length,
                              dimension=merged.config.hidden_size)
    render(work, manifest)
    stage.finish(manifest)


if __name__ == "__main__":
    with one_sentence():
        main(*parse(ExportConfig))
