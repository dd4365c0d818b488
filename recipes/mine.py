"""Scores to triplets: hard negatives below 95 % of the positive's score, with all teacher scores beside them.

    accelerate launch --config_file recipes/accelerate/cpu2.yaml -m recipes.mine --config recipes/own_data/mine.yaml
    python -m recipes.mine --config recipes/quickstart/mine.yaml                                    # a laptop, seconds

Reads      pairs, scores
Publishes  triplets (dataset): one config per task; kinds that no teacher scores keep the dataset's own negatives
"""

from recipes.publish import pushed

from anna_embed.artifacts import Stage
from anna_embed.config import MineConfig
from anna_embed.fetch import go_offline
from anna_embed.located import locate
from anna_embed.parsing import one_sentence, parse


def plan(config: MineConfig, given: dict) -> Stage:
    from anna_embed.kinds import KINDS
    from anna_embed.tables import check_made_from, tasks_of

    parents = {"pairs": locate("pairs", config.input("pairs"), "dataset", config.mirror)}
    if any(KINDS[task["kind"]].scored for task in tasks_of("pairs", parents["pairs"].path).values()):
        parents["scores"] = locate("scores", config.input("scores"), "dataset", config.mirror)
        check_made_from("scores", parents["scores"], "pairs", parents["pairs"])
    return Stage("mine", f"{config.artifacts}/triplets", given, parents)


def main(config: MineConfig, given: dict) -> None:
    from anna_embed.teacher.shards import Processes

    if config.mirror:
        go_offline()
    stage = plan(config, given)
    processes = Processes(stage.work / ".failed")
    with processes.state.main_process_first():  # it may wait for another run that is making the artifact
        current = stage.is_current
    if current:
        return print(f"mine: {stage.output} is up to date")

    from anna_embed.data.texts import text_id
    from anna_embed.hub.cards import render
    from anna_embed.kinds import KINDS
    from anna_embed.schema import PAIRS, SCORES, TRIPLETS
    from anna_embed.tables import columns_of, data_files, read_split, tasks_of
    from anna_embed.teacher.mine import FromScores, OwnNegatives, Rule, summary

    # ---- read -------------------------------------------------------------------------------------------------------
    with processes.state.main_process_first():
        work = stage.begin()
    pairs_folder = stage.parents["pairs"].path
    tasks = tasks_of("pairs", pairs_folder)
    rule = Rule(config.num_negatives, config.margin, config.threshold_from, config.score_source, config.top_k,
                config.seed)
    rows, statistics = {}, {}

    # ---- mine, in shards that the processes share -------------------------------------------------------------------
    for task in tasks:
        with processes.together():
            pairs = read_split("pairs", pairs_folder, task, "train", PAIRS)
            scored = KINDS[tasks[task]["kind"]].scored
            miner = (FromScores(read_split("scores", stage.parents["scores"].path, task, "train", SCORES), rule)
                     if scored else OwnNegatives(pairs, text_id))
        written, counts = processes.write_rows(
            work, task, len(pairs), config.shard_size,
            lambda part: miner.rows(pairs.select(range(part.start, part.stop)).to_list()), TRIPLETS,
            f"Mining {task}", "row")
        rows[task] = {"train": written}
        statistics[task] = summary(counts, len(pairs.unique("query_id"))) if scored else {}

    # ---- manifest and card ------------------------------------------------------------------------------------------
    if processes.state.is_main_process:
        columns = {task: columns_of(TRIPLETS) for task in tasks}
        manifest = stage.manifest(rows, columns=columns, files=data_files(rows), tasks=tasks, statistics=statistics)
        render(work, manifest)
        stage.finish(manifest)
    processes.state.wait_for_everyone()


if __name__ == "__main__":
    with one_sentence():
        config, given = parse(MineConfig)
        with pushed(config, "triplets"):
            main(config, given)
