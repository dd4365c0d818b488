"""mteb's own tasks on any encode function: each task once for everything that its score depends on."""

import hashlib
import json
import logging
import math
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import mteb
import numpy as np
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.types import PromptType

from anna_embed.evaluation import copies
from anna_embed.evaluation.estimate import Estimate, show_minutes
from anna_embed.evaluation.faults import faults_of
from anna_embed.evaluation.heldout import Encode
from anna_embed.evaluation.mteb_files import drop_broken
from anna_embed.evaluation.mteb_prompts import TaskPrompt
from anna_embed.evaluation.panel import Part, load_task
from anna_embed.located import Located
from anna_embed.parsing import RecipeError


@dataclass
class Candidate:
    """A model to score.

    Args:
        name (`str`): `org/name`, under which mteb files its results.
        made_from (`dict`): All that its vectors depend on: content, type of the weights, longest text.
        load (`Callable`): Gives its encode function; called for the first text that no kept result answers.
        prompt_of (`Callable`): A task's metadata to its prompts.
    """

    name: str
    made_from: dict[str, Any]
    load: Callable[[], Encode]
    prompt_of: Callable[[Any], TaskPrompt]

    @cached_property
    def encode(self) -> Encode:
        return self.load()

    def revision(self, part: Part, prompt: TaskPrompt, data: str) -> str:
        """Names one result. mteb files results by name and revision: two local models would share one entry."""
        made_from = [self.made_from, asdict(part), asdict(prompt), data, version("mteb")]
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:40]


class MtebEncoder(AbsEncoder):
    """A candidate as mteb sees it, for one task. Both sides of pairs are looked up among the same vectors.

    While the model itself runs `is_at_work` is true: what it raises then is no fault of the task's data.
    """

    def __init__(self, candidate: Candidate, prompt: TaskPrompt, revision: str):
        self.candidate, self.prompt, self.known, self.is_at_work = candidate, prompt, {}, False
        self.mteb_model_meta = ModelMeta.create_empty(overwrites={"name": candidate.name, "revision": revision})

    def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs) -> np.ndarray:
        """Vectors of all texts of mteb's data loader, (texts, dim)."""
        texts = [text for batch in inputs for text in batch["text"]]
        if prompt_type is not None:
            prompt = self.prompt.query if prompt_type == PromptType.query else self.prompt.document
            return self._vectors(texts, prompt)
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known.update(zip(new, self._vectors(new, self.prompt.text)))
        return np.stack([self.known[text] for text in texts])

    def _vectors(self, texts, prompt):
        self.is_at_work = True
        vectors = self.candidate.encode(texts, prompt)
        self.is_at_work = False
        return vectors


def run_tasks(candidate: Candidate, located: dict[Part, Located], cache: Path) -> list[dict]:
    """Main scores; what is finished is kept in `cache` and not run again, so that a kill costs one task at most.

    Args:
        candidate (`Candidate`): The model.
        located (`dict[Part, Located]`): What to score, and where its data is: from `panel.locate_parts`.
        cache (`Path`): Keeps mteb's results (`results/<name>/<revision>/<task>.json`) and our record of each.

    Returns:
        `list[dict]`: `task`, `metric`, `value`, `n`, `note` (how the data differs from mteb's, or that it was not
        checked, or None), and how the score was made: `prompt`, `data`, `split`, `seconds`, `differs`.

    Raises:
        [`RecipeError`]: the Hub does not give the data of a task, or mteb cannot make a score of this copy of it.
    """
    logging.getLogger("mteb").setLevel(logging.ERROR)  # what it warns of is that a task has a newer version
    warnings.filterwarnings("ignore", message="The task '.*' is superseded")
    kept, prompts = {}, {part: candidate.prompt_of(load_task(part).metadata) for part in located}
    for part, at in located.items():
        kept[part] = cache / "records" / f"{candidate.revision(part, prompts[part], at.digest)}.json"
    to_do = [part for part in located if not finished(kept[part])]
    if to_do:
        estimate = Estimate(candidate.encode, {part: prompts[part] for part in to_do})
        each = ", ".join(f"{part.name} {show_minutes(estimate.seconds[part])}" for part in to_do)
        print(f"benchmark: {len(to_do)} of {len(located)} mteb tasks to run, about {show_minutes(estimate.left)} of "
              f"encoding (classifiers take longer): {each}", flush=True)
    for part in to_do:
        record = _run(part, candidate, prompts[part], located[part], kept[part].stem, cache)
        kept[part].parent.mkdir(parents=True, exist_ok=True)
        kept[part].with_suffix(".tmp").write_text(json.dumps(record), encoding="utf-8")
        kept[part].with_suffix(".tmp").rename(kept[part])
        estimate.done(part, record["seconds"])
        print(f"benchmark: {part.name}: {record['metric']} {record['value']:.4f} in {record['seconds']:.0f} s"
              + (f" ({record['note']})" if record["note"] else "")
              + f"; about {show_minutes(estimate.left)} left", flush=True)
    return [finished(file) for file in kept.values()]


def finished(file: Path) -> dict | None:
    """The record of a task; None if the task is not done, or the file is broken or no such record."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(record, dict) and {"value", "note", "task", "mteb_task", "revision"} <= record.keys()
    return record if whole and math.isfinite(record["value"]) else None


def _run(part, candidate, prompt, at, revision, cache) -> dict:
    task, model = load_task(part), MtebEncoder(candidate, prompt, revision)
    if Path(at.path).exists():
        dataset = {**task.metadata.dataset, "path": str(Path(at.path).resolve())}
        task.metadata = task.metadata.model_copy(update={"dataset": dataset})
    with faults_of(part.name, at.path, lambda: model.is_at_work):
        with _cache_of(at):
            task.load_data()
        counted = copies.statistics(task)
    differs = copies.differences(task, counted)
    described = all(copies.described(task, split, subset) for split in task.eval_splits for subset in task.hf_subsets)
    note = copies.note(differs) or (copies.UNCHECKED if Path(at.path).exists() and not described else None)
    if part.queries or part.documents:
        cut(task, part)
        counted = copies.statistics(task)
    drop_broken(cache / "results", revision)
    with faults_of(part.name, at.path, lambda: model.is_at_work):
        (result,) = mteb.evaluate(model, task, cache=mteb.ResultCache(cache), co2_tracker=False,
                                  show_progress_bar=False, overwrite_strategy="only-missing").task_results
    value = round(float(result.get_score()), 6)  # as mteb keeps it: the same after a resumed run
    if not math.isfinite(value):
        raise RecipeError(f"tasks: {part.name}: its score is {value}: the labels in '{at.path}' hold NaN or are all "
                          "equal, or the model has one vector for all texts; fetch the data again, or leave the task "
                          "out.")
    scored = [counts for (split, _), counts in counted.items() if split in task.eval_splits]
    return {"task": part.name, "metric": task.metadata.main_score,
            "value": value, "n": sum(counts.get("num_queries", counts["num_samples"]) for counts in scored),
            "note": note, "mteb_task": part.task, "type": task.metadata.type,
            "split": ", ".join(task.eval_splits), "subsets": list(task.hf_subsets), "prompt": asdict(prompt),
            "data": {"reference": at.reference, "digest": at.digest, "described_by_mteb": described},
            "differs": differs, "seconds": round(result.evaluation_time or 0, 1), "revision": revision}


@contextmanager
def _cache_of(at):
    """`datasets` knows local folders by their last name only: each content of one gets a cache of its own."""
    shared = datasets.config.HF_DATASETS_CACHE
    if Path(at.path).is_dir():
        datasets.config.HF_DATASETS_CACHE = Path(shared) / at.digest[:32]
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = shared


def cut(task, part: Part) -> None:
    """Leaves the first queries of a retrieval task, their right documents, and the first others."""
    for data in (data for of_subset in task.dataset.values() for data in of_subset.values()):
        ids = data["queries"]["id"][:][:part.queries]
        data["relevant_docs"] = {i: data["relevant_docs"][i] for i in ids}
        data["queries"] = data["queries"].filter(lambda row: row["id"] in data["relevant_docs"])
        right = {i for judged in data["relevant_docs"].values() for i in judged}
        others = [i for i in data["corpus"]["id"][:] if i not in right]
        room = max((part.documents or len(data["corpus"])) - len(right), 0)
        left = right.union(others[:room])
        data["corpus"] = data["corpus"].filter(lambda row: row["id"] in left)
