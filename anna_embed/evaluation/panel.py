"""Which mteb tasks a benchmark run scores: named ones, a whole benchmark, or one of two panels."""

from dataclasses import dataclass
from functools import cache

from anna_embed.located import Located, locate, with_splits
from anna_embed.parsing import RecipeError

BENCHMARK = "MTEB(eng, v2)"


@dataclass(frozen=True)
class Part:
    """An mteb task, or a part of one.

    Args:
        task (`str`): mteb's name of it.
        split (`str`): Scored instead of the test split: then nothing that is tuned on it has seen test rows.
        queries, documents (`int`): The first queries only, and their right documents with the first others.
    """

    task: str
    split: str = "test"
    queries: int | None = None
    documents: int | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        sizes = [f"{n} {what}" for what in ("queries", "documents") if (n := getattr(self, what))]
        differs = [self.split, *sizes] if self.split != "test" or sizes else []
        return f"{self.task} ({', '.join(differs)})" if differs else self.task


# The tasks of MTEB(eng, v2) whose real data can be had without the Hub, with SciFact and Emotion beside them.
PANEL = tuple(map(Part, (
    "STSBenchmark", "SICK-R", "STS12", "STS13", "STS14", "Banking77Classification", "EmotionClassification",
    "TweetSentimentExtractionClassification", "MassiveIntentClassification", "MassiveScenarioClassification",
    "SciFact", "CQADupstackGamingRetrieval")))

# For choosing settings: no test rows, and small.
DEV_PANEL = (Part("STSBenchmark", "validation"), Part("MassiveScenarioClassification", "validation"),
             Part("SciFact", "train", queries=200, documents=400))


@cache
def _of_benchmark():
    """The tasks of MTEB(eng, v2) by name: they are restricted to English subsets and the test split."""
    import mteb

    return {task.metadata.name: task for task in mteb.get_benchmark(BENCHMARK).tasks}


def load_task(part: Part):
    """A task object of mteb's, English only, with the one split of `part`.

    Raises:
        [`RecipeError`]: mteb knows no such task, or only as a sum of others, or in other languages.
    """
    import mteb

    known = _of_benchmark().get(part.task)
    chosen = {"hf_subsets": known.hf_subsets} if known else {"languages": ["eng"], "exclusive_language_filter": True}
    try:
        task = mteb.get_task(part.task, **chosen)
    except KeyError as error:
        raise RecipeError(f"tasks: mteb has no task '{part.task}'{_meant(error)}; `mteb available-tasks` lists "
                          "them.") from None
    except ValueError:
        raise RecipeError(f"tasks: '{part.task}' has no English part; leave it out.") from None
    if task.is_aggregate:
        parts = ", ".join(t.metadata.name for t in task.metadata.tasks)
        raise RecipeError(f"tasks: '{part.task}' is the mean of several tasks; name them instead: {parts}.")
    splits = list(task.metadata.eval_splits)
    wanted = splits if part.split == "test" and "test" not in splits else [part.split]
    return task.filter_eval_splits(wanted)


def _meant(error):
    """mteb's guess at what was meant, in brackets; nothing if it has none."""
    guess = error.args[0].partition("not found. ")[2]
    return f" ({guess})" if guess else ""


def parts_of(tasks: list[str], benchmark: str | None, panel: bool, dev_panel: bool) -> list[Part]:
    """What the keys of a recipe ask for, each once.

    Raises:
        [`RecipeError`]: mteb has no such benchmark, or it scores what this stage does not.
    """
    parts = [Part(name) for name in tasks]
    if benchmark:
        import mteb

        try:
            tasks_of_it = mteb.get_benchmark(benchmark).tasks
        except KeyError as error:
            raise RecipeError(f"benchmark: mteb has no benchmark '{benchmark}'{_meant(error)}; write for example "
                              f"'{BENCHMARK}'.") from None
        for task in (part for whole in tasks_of_it for part in _parts_of(whole)):
            _check_same(benchmark, task)
            parts.append(Part(task.metadata.name))
    parts += PANEL if panel else ()
    parts += DEV_PANEL if dev_panel else ()
    return list(dict.fromkeys(parts))


def _parts_of(task):
    """The tasks whose mean a task is; itself, if it is none."""
    return task.metadata.tasks if task.is_aggregate else [task]


def _check_same(benchmark, task):
    """Raises [`RecipeError`] unless a benchmark scores the subsets and splits of a task that `load_task` gives."""
    ours = load_task(Part(task.metadata.name))
    for what, theirs, here in (("subsets", task.hf_subsets, ours.hf_subsets),
                               ("splits", task.eval_splits, ours.eval_splits)):
        if set(theirs) != set(here):
            raise RecipeError(f"benchmark: '{benchmark}' scores {task.metadata.name} on the {what} "
                              f"{', '.join(theirs)}, and this stage on {', '.join(here)}; name tasks instead, or a "
                              f"benchmark of English ones, for example '{BENCHMARK}'.")


def locate_parts(parts: list[Part], mirrors: list[str], named: list[str] = (),
                 benchmark: str | None = None) -> dict[Part, Located]:
    """The dataset of each task: part of what the results are made from. What only a panel asks for and no mirror holds
    is left out.

    Args:
        parts (`list[Part]`): From `parts_of`.
        mirrors (`list[str]`): Folders in Hub layout.
        named (`list[str]`): Tasks that were asked for by name, whether a panel has them or not.
        benchmark (`str`, *optional*): What the others belong to.

    Raises:
        [`RecipeError`]: the data of a named task, of one of the benchmark's, or of every task is nowhere, or its card
            is broken.
    """
    found, asked = {}, {*parts_of(named, benchmark, False, False)}
    for part in parts:
        dataset = load_task(part).metadata.dataset
        reference = dataset["path"] if mirrors else f"{dataset['path']}@{dataset['revision']}"
        key = "benchmark" if benchmark and part.task not in named else "tasks"
        try:
            at = locate(f"{key}: {part.task}", reference, "dataset", mirrors, download=False)
        except RecipeError:
            last_hope = part == parts[-1] and not found
            if not mirrors or part in asked or part not in PANEL + DEV_PANEL or last_hope:
                raise
        else:
            found[part] = with_splits(f"{key}: {part.task}", at)
    return found


def test_sets(part: Part) -> list[dict[str, str]]:
    """The configs and splits of its dataset that a task is scored on, as `convert` takes them."""
    task = load_task(part)
    dataset = {"path": task.metadata.dataset["path"]}
    configs = task.hf_subsets if task.metadata.is_multilingual else [task.metadata.dataset.get("name")]
    return [dataset | ({"config": config} if config else {}) | {"split": split}
            for config in configs for split in task.eval_splits]


def mean_of(benchmark: str | None, records: list[dict]) -> list[dict]:
    """The mean over all tasks of a benchmark, as one more row; none if some are not there."""
    if not benchmark:
        return []
    import mteb

    known, used, values = {record["task"]: record for record in records}, [], []
    tasks = mteb.get_benchmark(benchmark).tasks
    for task in tasks:
        names = [part.metadata.name for part in _parts_of(task)]
        if not set(names) <= set(known):
            return []
        values.append(sum(known[name]["value"] for name in names) / len(names))
        used += names
    is_noted = any(known[name].get("note") for name in used)
    note = "some of them on data that is not mteb's, or was not checked" if is_noted else None
    return [{"task": f"{benchmark}, all tasks", "metric": "mean", "value": round(sum(values) / len(values), 6),
             "n": len(tasks), "note": note}]
