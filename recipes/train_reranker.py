"""Pairs to the teacher's cross-encoder, for those who have none: ListNet on dense-teacher targets.

    python -m recipes.train_reranker --config recipes/own_data/train_reranker.yaml
    python -m recipes.train_reranker --config recipes/quickstart/train_reranker.yaml --mirror artifacts/mirror  # 3 min

Reads      pairs, a SentenceTransformer (hard negatives and targets), an encoder to start from
Publishes  reranker (a sentence-transformers CrossEncoder)
"""

from pathlib import Path

from recipes.publish import pushed

from anna_embed.artifacts import Stage
from anna_embed.config import RerankerConfig
from anna_embed.fetch import go_offline
from anna_embed.located import locate
from anna_embed.parsing import RecipeError, one_sentence, parse

# Dropout costs a CPU half its speed (attention leaves the fused kernel) and bought nothing in runs of minutes.
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def plan(config: RerankerConfig, given: dict) -> Stage:
    parents = {"pairs": locate("pairs", config.input("pairs"), "dataset", config.mirror),
               "base_model": locate("base_model", config.base_model, "model", config.mirror),
               "dense_model": locate("dense_model", config.dense_model, "model", config.mirror)}
    return Stage("train_reranker", f"{config.artifacts}/reranker", given, parents)


def main(config: RerankerConfig, given: dict) -> None:
    if config.mirror:
        go_offline()
    stage = plan(config, given)
    if stage.is_current:
        return print(f"train_reranker: {stage.output} is up to date")

    import torch
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import ListNetLoss
    from transformers.trainer_utils import set_seed

    from anna_embed.data.pairs import sample
    from anna_embed.hub.cards import render
    from anna_embed.kinds import KINDS
    from anna_embed.origin import licence_of
    from anna_embed.precision import note_if_slow
    from anna_embed.schema import CORPUS, PAIRS
    from anna_embed.tables import read_split, tasks_of
    from anna_embed.teacher import dense, reranker
    from anna_embed.teacher.lists import training_lists
    from anna_embed.training.checkpoints import MarkComplete, keep_progress, last_complete
    from anna_embed.training.saving import check_finite
    from anna_embed.weights import check_weights

    # ---- read -------------------------------------------------------------------------------------------------------
    pairs_folder = stage.parents["pairs"].path
    tasks = {name: task for name, task in tasks_of("pairs", pairs_folder).items() if KINDS[task["kind"]].scored}
    if not tasks:
        raise RecipeError(f"pairs: '{pairs_folder}' has no retrieval or reranking task, so nothing to rerank; add "
                          "one to convert.yaml, or leave this stage out.")
    keep_progress(stage)

    # ---- model ------------------------------------------------------------------------------------------------------
    base = stage.parents["base_model"].path
    reranker.check_length(base, config.max_length, "base_model")
    note_if_slow(config.dtype, "cuda" if torch.cuda.is_available() else "cpu", "--dtype float32")
    set_seed(config.seed)  # the head's initial weights
    # On a CPU the backward pass of SDPA's kernel takes longer than all the rest: 2,800 tokens/s against 4,100.
    attention = {} if torch.cuda.is_available() else {"attn_implementation": "eager"}
    model = reranker.read("base_model", base, config.max_length, model_kwargs={"dtype": "float32", **attention},
                          config_kwargs=NO_DROPOUT)
    check_weights(model.transformers_model.base_model, base, "base_model")  # less its head

    # ---- lists of one positive and hard negatives, with soft targets ------------------------------------------------
    work = stage.begin()
    teacher = stage.parents["dense_model"]
    dense_model = dense.load(teacher.path, config.dtype)
    cache, lists = Path(config.artifacts) / ".cache" / "vectors", []
    for task in tasks:
        pairs = read_split("pairs", pairs_folder, task, "train", PAIRS).to_list()
        pairs, _ = sample(pairs, config.max_queries, config.seed)
        corpus = read_split("pairs", pairs_folder, f"{task}-corpus", "train", CORPUS)
        ids, texts = corpus["id"][:], corpus["text"][:]
        passages = dense.encode_cached(cache, teacher.digest, dense_model, texts, config.dense_document_prompt, 64)
        queries = dense.encode_cached(cache, teacher.digest, dense_model, [p["query"] for p in pairs],
                                      config.dense_query_prompt, 64)
        lists += training_lists(pairs, ids, texts, queries, passages, config)

    # ---- train ------------------------------------------------------------------------------------------------------
    # Half the parameters of a small encoder, and minutes of training move them hardly at all.
    model.model.get_input_embeddings().weight.requires_grad_(False)
    checkpoints = work / ".checkpoints"
    arguments = CrossEncoderTrainingArguments(
        str(checkpoints), num_train_epochs=config.epochs, per_device_train_batch_size=config.batch_size,
        learning_rate=config.reranker_learning_rate, warmup_steps=0.1, bf16=config.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(), seed=config.seed, data_seed=config.seed, logging_steps=5, save_steps=20,
        save_total_limit=2, report_to="none")
    arguments._n_gpu = min(1, arguments.n_gpu)  # of several, DataParallel would multiply the batch size
    trainer = CrossEncoderTrainer(model=model, args=arguments, train_dataset=Dataset.from_list(lists),
                                  loss=ListNetLoss(model), callbacks=[MarkComplete()])
    trainer.train(resume_from_checkpoint=last_complete(checkpoints))
    check_finite(model, f"reranker_learning_rate: {config.reranker_learning_rate:g}", trainer.state.global_step)

    # ---- write ------------------------------------------------------------------------------------------------------
    model.save_pretrained(str(work), create_model_card=False)
    logged = [line["loss"] for line in trainer.state.log_history if "loss" in line]  # of all steps, also before a kill
    loss = sum(logged) / len(logged) if logged else trainer.state.log_history[-1]["train_loss"]
    manifest = stage.manifest({"lists": len(lists)}, metrics={"mean ListNet loss": round(loss, 4)},
                              tasks=tasks,
                              base_model={"name": config.base_model, "commit": stage.parents["base_model"].commit,
                                          "licence": licence_of(stage.parents["base_model"].path)})
    render(work, manifest)
    stage.finish(manifest)


if __name__ == "__main__":
    with one_sentence():
        config, given = parse(RerankerConfig)
        with pushed(config, "reranker"):
            main(config, given)
