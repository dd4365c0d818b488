"""A release in pictures: one HTML page that loads nothing, from what the stages left in their folders.

    python -m recipes.report artifacts/quickstart --mirror artifacts/mirror                # a laptop, 1 min
    python -m recipes.report artifacts/own_data --held_out 0
    python -m recipes.report artifacts/quickstart --mirror artifacts/mirror --results artifacts/other/results

Reads      what there is of pairs, scores, triplets, adapter, model and results; for comparison the model's base
Publishes  report (`report.html`): scores, training, teacher and miner, vectors, costs
"""

import argparse
import tempfile
from pathlib import Path

from anna_embed.artifacts import ARTIFACTS, MANIFEST, Stage, read_manifest
from anna_embed.digests import digest
from anna_embed.fetch import go_offline
from anna_embed.located import Located, at_commit, locate
from anna_embed.parsing import RecipeError, one_sentence

FEWEST = 3  # pairs of a task that have a picture


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", type=Path, help="the folder that holds a run's artifacts")
    parser.add_argument("--mirror", action="append", default=[], metavar="FOLDER",
                        help="read the base model from this folder in Hub layout, never from the network")
    parser.add_argument("--results", action="append", default=[], metavar="FOLDER_OR_ID",
                        help="further results to set beside: an artifact, also of the Hub, or a folder of mteb's")
    parser.add_argument("--held_out", type=int, default=160, metavar="N",
                        help="held-out pairs to encode for the section on vectors; 0 leaves it out")
    parser.add_argument("--max_length", type=int, default=128, metavar="N", help="tokens of a text there")
    return parser


def plan(options: argparse.Namespace) -> Stage:
    if options.held_out < 0 or 0 < options.held_out < FEWEST:
        raise RecipeError(f"held_out: {options.held_out} is not possible; write {FEWEST} or more pairs, or 0 to leave "
                          "the section out.")
    if options.max_length < 8:
        raise RecipeError(f"max_length: {options.max_length} is not possible; write 8 or more tokens.")
    # The manifest names the content, and holds the times that the report shows besides.
    there = {name: options.artifacts / name / MANIFEST for name in ARTIFACTS
             if read_manifest(options.artifacts / name)}
    if not there:
        raise RecipeError(f"artifacts: '{options.artifacts}' holds none of {', '.join(ARTIFACTS)}; name a run's "
                          "folder.")
    if options.results and "results" not in there:
        raise RecipeError(f"results: '{options.artifacts}' has no results to set '{options.results[0]}' beside; run "
                          "the benchmark stage, or leave the option out.")
    parents = {name: Located(str(file.parent), str(file.parent), digest(file)) for name, file in there.items()}
    parents |= {f"results {path}": locate("results", path, "dataset", options.mirror) for path in options.results}
    if options.held_out and {"pairs", "model"} <= set(parents):
        base = at_commit(read_manifest(parents["model"].path)["base_model"])
        parents["base_model"] = locate("base_model", base, "model", options.mirror)
    given = {"held_out": options.held_out, "max_length": options.max_length}
    return Stage("report", f"{options.artifacts}/report", given, parents)


def main() -> None:
    options = arguments().parse_args()
    if options.mirror:
        go_offline()
    stage = plan(options)
    if stage.is_current:
        return print(f"report: {stage.output} is up to date")

    from anna_embed.evaluation.compare import read_scores

    more = [read_scores(stage.parents[f"results {path}"].path) for path in options.results]
    work = stage.begin()
    try:
        text = page_of(options, stage, more)
    except RecipeError:
        stage.discard()
        raise
    (work / "report.html").write_text(text, encoding="utf-8")
    stage.finish(stage.manifest({}))
    print(f"report: open {stage.output}/report.html")


def page_of(options: argparse.Namespace, stage: Stage, more: list) -> str:
    """The page, from the artifacts that are there and the scores of `more` models."""
    import pandas as pd

    from anna_embed.evaluation.report_costs import costs
    from anna_embed.evaluation.report_page import page
    from anna_embed.evaluation.report_scores import scores
    from anna_embed.evaluation.report_teacher import read_candidates, teacher
    from anna_embed.evaluation.report_training import training
    from anna_embed.teacher.mine import threshold

    there = {name: Path(stage.parents[name].path) for name in ARTIFACTS if name in stage.parents}
    manifests, sections = {name: read_manifest(folder) for name, folder in there.items()}, []
    if "results" in there and manifests["results"]["table"]:
        of_mteb = {record["task"] for record in manifests["results"].get("mteb", [])}
        sections.append(scores(manifests["results"]["table"], of_mteb, pd.concat(more) if more else None))
    if "adapter" in there:
        sections.append(training(there["adapter"]))
    if {"scores", "triplets"} <= set(there):
        tasks = [task for task in manifests["scores"]["rows"] if task in manifests["triplets"]["rows"]]
        sections.append(teacher([read_candidates(there["scores"], there["triplets"], task, threshold)
                                 for task in tasks]))
    if "base_model" in stage.parents:
        sections.append(vectors_of(options, there, manifests, stage.parents["base_model"].path))
    sections.append(costs(there, manifests))
    return page(manifests, [section for section in sections if section], options.artifacts.name)


def vectors_of(options: argparse.Namespace, there: dict[str, Path], manifests: dict[str, dict], base: str):
    """The section on vectors: the base model as training begins with it, and the model of the release."""
    from anna_embed.evaluation.heldout import read_held_out
    from anna_embed.evaluation.report_vectors import geometry, pairs_of, vectors
    from anna_embed.model.encode import lay_out_untrained, load_encoder
    from anna_embed.model.stored_prompts import prompt_names
    from anna_embed.precision import fastest_device, is_slow
    from anna_embed.prompts import query_prompt

    how = {"max_length": options.max_length, "batch_size": 128,
           "dtype": "float32" if is_slow("bfloat16", fastest_device()) else "bfloat16"}
    tasks = manifests["pairs"]["tasks"]
    pairs = pairs_of(read_held_out(str(there["pairs"]), tasks, manifests["pairs"]["rows"]), options.held_out)
    plain = {task: query_prompt(t["instruction"]) for task, t in tasks.items()}
    stored = manifests["model"]["prompts"]
    prompts = {task: stored.get(name, plain[task]) for task, name in prompt_names(tasks).items()}
    with tempfile.TemporaryDirectory() as folder:
        lay_out_untrained(base, Path(folder))
        before = geometry("base model", load_encoder(folder, **how), pairs, plain)
    after = geometry("trained model", load_encoder(str(there["model"]), **how), pairs, prompts)
    return vectors([before, after], pairs)


if __name__ == "__main__":
    with one_sentence():
        main()
