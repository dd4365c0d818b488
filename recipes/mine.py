"""Scores to triplets: hard negatives below 95 % of the positive's score, with all teacher scores beside them.

    python -m recipes.mine --config recipes/own_data/mine.yaml
    python -m recipes.mine --config recipes/quickstart/mine.yaml                                    # a laptop, seconds

Reads      pairs, scores
Publishes  triplets (dataset): one config per task; kinds that no teacher scores keep the dataset's own negatives
"""

from collections import Counter, defaultdict

from anna_embed.artifacts import Stage, go_offline, locate
from anna_embed.config import MineConfig
from anna_embed.parsing import one_sentence, parse


def plan(config: MineConfig, given: dict) -> Stage:
    parents = {"pairs": locate("pairs", config.input("pairs"), "dataset", config.mirror),
               "scores": locate("scores", config.input("scores"), "dataset", config.mirror)}
    return Stage("mine", f"{config.artifacts}/triplets", given, parents)


def main(config: MineConfig, given: dict) -> None:
    if config.mirror:
        go_offline()
    stage = plan(config, given)
    if stage.is_current:
        return print(f"mine: {stage.output} is up to date")

    from tqdm import tqdm

    from anna_embed.data.convert import text_id
    from anna_embed.hub.cards import render
    from anna_embed.kinds import KINDS
    from anna_embed.schema import PAIRS, SCORES, TRIPLETS
    from anna_embed.tables import columns_of, data_files, read_split, tasks_of, write_split
    from anna_embed.teacher.mine import Rule, keep_own_negatives, mine

    # ---- read -------------------------------------------------------------------------------------------------------
    work, pairs_folder = stage.begin(), stage.parents["pairs"].path
    tasks = tasks_of("pairs", pairs_folder)
    rule = Rule(config.num_negatives, config.margin, config.threshold_from, config.score_source, config.top_k,
                config.seed)
    rows, statistics = defaultdict(dict), {}

    # ---- mine -------------------------------------------------------------------------------------------------------
    for task in tqdm(tasks, desc="Mining", unit="task"):
        pairs, counts = read_split("pairs", pairs_folder, task, "train", PAIRS).to_list(), Counter()
        if KINDS[tasks[task]["kind"]].scored:
            scored = read_split("scores", stage.parents["scores"].path, task, "train", SCORES)
            by_query = {row["query_id"]: row for row in scored}
            mined = [mine(pair, by_query[pair["query_id"]], rule) for pair in pairs]
            triplets = [row for row, _ in mined]
            counts = sum((c for _, c in mined), Counter())
            counts["mean rank of the chosen"] = round(counts.pop("sum of ranks") / max(counts["negatives"], 1), 2)
        else:
            positives = defaultdict(set)
            for pair in pairs:
                positives[pair["query_id"]].add(pair["positive_id"])
            triplets = [keep_own_negatives(p, sorted(positives[p["query_id"]] - {p["positive_id"]}), text_id)
                        for p in pairs]
        rows[task]["train"] = write_split(work, task, "train", triplets, TRIPLETS)
        statistics[task] = dict(counts)

    # ---- manifest and card ------------------------------------------------------------------------------------------
    columns = {task: columns_of(TRIPLETS) for task in tasks}
    manifest = stage.manifest(rows, columns=columns, files=data_files(rows), tasks=tasks, statistics=statistics)
    render(work, manifest)
    stage.finish(manifest)


if __name__ == "__main__":
    with one_sentence():
        main(*parse(MineConfig))
