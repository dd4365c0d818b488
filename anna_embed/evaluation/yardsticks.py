"""Held-out rows of the pairs: the model's scores, and those of what it is measured by (its base, its teachers)."""

import tempfile
from pathlib import Path

from anna_embed.artifacts import read_manifest
from anna_embed.evaluation.heldout import read_held_out, score_all
from anna_embed.evaluation.teachers import teacher_scores
from anna_embed.kinds import KINDS
from anna_embed.model.encode import lay_out_untrained, load_encoder
from anna_embed.prompts import query_prompt
from anna_embed.tables import tasks_of
from anna_embed.teacher import reranker
from anna_embed.teacher.bm25 import BM25
from anna_embed.teacher.fusion import rrf


def held_out_scores(config, path: dict[str, str], model, kept: Path) -> list[dict]:
    """
    Scores on the test splits of a pairs artifact.

    Args:
        config ([`BenchmarkConfig`]): with `baselines`, base model and teachers are scored as well.
        path (`dict[str, str]`): folders of the `pairs`; for the yardsticks of `base_model`, `dense_model`, `reranker`.
        model ([`ScoredModel`]): what is measured.
        kept (`Path`): holds the scores of each model that is finished, for a run that was killed.

    Returns:
        `list[dict]`: rows of the results table.
    """
    few, tasks = config.rerank_queries, tasks_of("pairs", path["pairs"])
    held_out = read_held_out(path["pairs"], tasks, read_manifest(path["pairs"])["rows"])
    how = {"max_length": config.max_length, "batch_size": config.batch_size, "dtype": config.dtype}

    def evaluate(name, load, prompts):
        return score_all(name, load, held_out, prompts, few, kept)

    table = evaluate(model.name, model.load, model.prompts)
    if not config.baselines:
        return table
    table += evaluate("dense teacher", lambda: load_encoder(path["dense_model"], **how), dict.fromkeys(tasks, ""))
    with tempfile.TemporaryDirectory() as folder:
        lay_out_untrained(path["base_model"], Path(folder))
        plain = {task: query_prompt(t["instruction"]) for task, t in tasks.items()}
        table += evaluate("base model", lambda: load_encoder(folder, **how), plain)
    retrieval = [task for task in held_out if KINDS[task.kind].scored]
    if retrieval:
        dense = load_encoder(path["dense_model"], **how)
        cross_encoder = reranker.load(path["reranker"], config.max_length, config.dtype)
    for task in retrieval:
        cosines = dense(list(task.queries.values())[:few], "") @ dense(task.passages, "").T
        table += teacher_scores(task, BM25(task.passages).scores, cosines,
                                lambda pairs: reranker.score(cross_encoder, pairs, config.batch_size, True), rrf,
                                config.rerank_depth, few)
    return table
