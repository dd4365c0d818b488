"""What each idea of the recipe buys: the same few steps of training, each variant with one thing changed.

    python -m benchmarks.ablations --mirror mirror artifacts/mirror                  # after convert and score; hours
    python -m benchmarks.ablations --mirror mirror artifacts/mirror --variants margin dense_labels --steps 4

Every variant trains by `recipes.train` on the pairs and scores of a recipe, most of all on its retrieval tasks, and is
scored at its end on held-out rows of its pairs (`eval_strategy`). A killed run continues: what is done is not trained
again. The last line is all of it as JSON.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from anna_embed.config.base import described
from anna_embed.parsing import RecipeError, check_type, one_sentence, parse

NAIVE, MARGIN = {"margin": 1.0, "top_k": 7}, {"margin": 0.95, "top_k": 7}
# InfoNCE with one positive, nothing in front of a query; None takes a key out of the recipe.
HARD = {"soft_label_weight": 0.0, "teacher": "dense", "teacher_temperature": 0.05, "max_examples": 0, "guide": None,
        "second_guide": None, "guide_weight": None, "guide_temperature": None, "guide_softening": None}
DENSE = HARD | {"soft_label_weight": 1.0}
SHOWN = {"eval_examples": 2}  # scored once more with two examples in front of every held-out query
# Name: what it is, keys of the mine stage, keys of the train stage, and what it is compared with.
VARIANTS = {
    "in_batch": ("hard InfoNCE, in-batch negatives alone", MARGIN, HARD | {"num_negatives": 0}, None),
    "naive": ("+ hard negatives from the best 7 below the positive", NAIVE, HARD, "in_batch"),
    "margin": ("+ margin of 95 %", MARGIN, HARD, "naive"),
    "dense_labels": ("+ soft labels, dense teacher", MARGIN, DENSE | SHOWN, "margin"),
    "dense_labels_2": ("the same, another seed", MARGIN, DENSE | {"seed": 43}, "dense_labels"),
    "reranker_labels": ("soft labels of the reranker instead", MARGIN,
                        DENSE | {"teacher": "reranker", "teacher_temperature": 1.0}, "dense_labels"),
    "rrf_labels": ("soft labels of RRF, as the report has it", MARGIN,
                   DENSE | {"teacher": "rrf", "teacher_temperature": 1.0}, "dense_labels"),
    "guide": ("a dense model's similarities over the batch, no mined soft labels", MARGIN,
              HARD | {"guide": "sentence-transformers/all-MiniLM-L6-v2"}, "margin"),
    "softer_guide": ("+ the guide once more, temperatures and weight three times as high", MARGIN,
                     HARD | {"guide": "sentence-transformers/all-MiniLM-L6-v2", "guide_softening": 3.0}, "guide"),
    "rank_64": ("the same with LoRA of rank 64 instead of 16", MARGIN, DENSE | {"lora_r": 64, "lora_alpha": 128},
                "dense_labels"),
    "examples": ("+ none to 2 examples in front of queries, drawn for every 8", MARGIN,
                 DENSE | SHOWN | {"max_examples": 2}, "dense_labels"),
    "fixed_examples": ("+ the task's same 2 examples in front of every query", MARGIN,
                       DENSE | SHOWN | {"max_examples": 2, "fixed_examples": True}, "examples"),
    "no_nli": ("without NLI", MARGIN, DENSE, "dense_labels"),
}
KEPT = 3072  # tokens: a whole step at 64 tokens a text, in 6 GB; two variants can be trained side by side in 24
RARE = 0.01  # weight of what is left out: a row of a hundred
KINDS = {"retrieval": 1.0, "nli": 0.2, "sts": 0.1, "classification": RARE, "clustering": RARE}


@dataclass
class Settings:
    """What is trained, on what.

    Args:
        recipe (`str`): Folder of a recipe; its `mine.yaml` and `train.yaml` hold what no variant changes.
        artifacts (`str`): Folder with its pairs and scores.
        steps (`int`): Of each variant; the learning rate falls to 0 within them.
    """

    recipe: str = field(default="recipes/smollm2_135m", **described("Folder of a recipe."))
    artifacts: str = field(default="artifacts/smollm2_135m", **described("Folder with its pairs and scores."))
    mirror: list[str] = field(default_factory=list, **described("Folders in Hub layout."))
    variants: list[str] = field(default_factory=lambda: list(VARIANTS), **described(f"Of {', '.join(VARIANTS)}."))
    steps: int = field(default=40, **described("Of training."))
    max_length: int = field(default=64, **described("Tokens of a text."))
    eval_rows: int = field(default=200, **described("Held-out rows of each task."))
    folder: str = field(default="artifacts/ablations", **described("Where it trains."))

    def __post_init__(self):
        for key in ("mirror", "variants"):
            check_type(key, getattr(self, key), list[str])
        for name in self.variants:
            if name not in VARIANTS:
                raise RecipeError(f"variants: there is no '{name}'; name some of {', '.join(VARIANTS)}.")
        for key, least in (("steps", 1), ("max_length", 8), ("eval_rows", 2)):
            if getattr(self, key) < least:
                raise RecipeError(f"{key}: {getattr(self, key)} is not possible; write {least} or more.")


def run(config: Settings, stage: str, name: str, keys: dict) -> Path:
    """Runs a stage with keys of its own above those of the recipe; returns the folder of its artifact."""
    import yaml

    folder = Path(config.folder, name)
    folder.mkdir(parents=True, exist_ok=True)
    stated = yaml.safe_load(Path(config.recipe, f"{stage}.yaml").read_text(encoding="utf-8"))
    file = folder / f"{stage}.yaml"
    keys = {key: value for key, value in (stated | {"artifacts": str(folder)} | keys).items() if value is not None}
    file.write_text(yaml.safe_dump(keys), encoding="utf-8")
    mirrors = [word for mirror in config.mirror for word in ("--mirror", mirror)]
    done = subprocess.run([sys.executable, "-m", f"recipes.{stage}", "--config", str(file), *mirrors])
    if done.returncode:
        raise RecipeError(f"variants: '{name}' ended in {stage} with exit code {done.returncode}; what it said stands "
                          "above. The same command continues.")
    return folder


def train(config: Settings, name: str) -> dict:
    """Trains a variant; what it is, what it cost, and its scores."""
    from anna_embed.artifacts import read_manifest
    from anna_embed.tables import tasks_of

    what, mine_keys, train_keys, beside = VARIANTS[name]
    inputs = {key: f"{config.artifacts}/{key}" for key in ("pairs", "scores")}
    triplets = run(config, "mine", f"mined_{mine_keys['margin']}", mine_keys | inputs) / "triplets"
    tasks = tasks_of("triplets", str(triplets))
    weights = KINDS | ({"nli": RARE} if name == "no_nli" else {})
    keys = {"triplets": str(triplets), "pairs": inputs["pairs"], "max_length": config.max_length,
            "max_steps": config.steps, "eval_strategy": "steps", "eval_steps": config.steps, "save_steps": 10,
            "eval_rows": config.eval_rows, "kept_tokens": KEPT,
            "task_weights": {task: weights[t["kind"]] for task, t in tasks.items()}}
    adapter = run(config, "train", name, keys | train_keys) / "adapter"
    log = json.loads((adapter / "training_log.json").read_text(encoding="utf-8"))
    last = next(line for line in reversed(log) if "eval_mean" in line)
    tokens = max(line.get("distinct_tokens", 0) for line in log)
    scores = {key.removeprefix("eval_"): round(value, 4) for key, value in last.items()
              if key.removeprefix("eval_").startswith(tuple(trained(tasks)))}
    few_shot = {key: value for key, value in scores.items() if "_examples_" in key}
    scores = {key: value for key, value in scores.items() if key not in few_shot}
    shown = {"few_shot": few_shot, "few_shot_mean": mean(few_shot)} if few_shot else {}
    return {"what": what, "beside": beside, "mine": mine_keys, "train": train_keys, "scores": scores,
            "mean": mean(scores), **shown, "distinct_tokens": tokens, "seconds": read_manifest(adapter)["seconds"]}


def mean(scores: dict[str, float]) -> float:
    return round(sum(scores.values()) / len(scores), 4)


def trained(tasks: dict) -> list[str]:
    """The tasks that every variant but one trains on, and that are judged."""
    return [name for name, task in tasks.items() if KINDS[task["kind"]] > RARE]


def main(config: Settings, given: dict) -> None:
    from benchmarks import timing

    results = {name: train(config, name) for name in config.variants}
    for name, said in results.items():
        other = results.get(said["beside"])
        change = f"{said['mean'] - other['mean']:+.4f} from {said['beside']}" if other else ""
        shown = f"{said['few_shot_mean']:.4f} with examples" if "few_shot" in said else ""
        print(f"{name:16} {said['mean']:.4f}  {change:28}  {shown:20}  {said['what']}")
    timing.report({"benchmark": "ablations", "given": given, "steps": config.steps, "results": results})


if __name__ == "__main__":
    with one_sentence():
        main(*parse(Settings))
