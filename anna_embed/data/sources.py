"""Where training rows come from: one table of known sources, and sources described in a recipe."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_type_hints

from anna_embed.kinds import KINDS
from anna_embed.parsing import RecipeError, check_type

# Which of our column names each kind needs; their values in `Source.columns` are the dataset's own names.
COLUMNS = {
    "retrieval": ("query", "positive"), "reranking": ("query", "positive"), "nli": ("premise", "hypothesis", "label"),
    "sts": ("sentence1", "sentence2", "score"), "classification": ("text", "label"), "clustering": ("text", "label"),
}
OPTIONAL = ("negatives", "query_id", "positive_id")


@dataclass(frozen=True)
class Source:
    """One task: a dataset, how to read it, and what it is.

    Args:
        name (`str`): The task's name; also the config of its rows in every artifact.
        kind (`str`): Decides conversion, negatives, loss and prompts (`kinds.KINDS`).
        instruction (`str`): What stands behind `Instruct: `.
        path (`str`): A JSONL, CSV or parquet file, a dataset folder, or a Hub id.
        columns (`dict[str, str]`): Our column names (`COLUMNS`) to the dataset's. A retrieval dataset with a corpus
            names `positive_id` (and `query_id` with `queries`) instead of texts.
        corpus, queries (`dict`): `{config, split, id, text}` of the tables that ids refer to; `text` may be a list of
            columns, joined by a space.
        labels (`dict`): The dataset's label values to readable ones (NLI: entailment, neutral, contradiction).
        score_range (`list[float]`): Lowest and highest score of graded pairs.
        test_path, test_split (`str`): Rows that are held out: written as the `test` split, never trained on.
        limit, test_limit, corpus_limit (`int`): Queries, held-out passages or rows, corpus passages at most; which
            ones depends on their text and the seed, not on their order.
        on_missing_id (`str`): `error`, or `drop` the rows whose passage id no passage has.
        licence (`str`): The data's own terms.
        mteb_tasks (`list[str]`): MTEB tasks that the rows are in-domain for.
        notes (`str`): Traps.
    """

    name: str
    kind: str
    path: str
    columns: dict[str, str]
    instruction: str = ""
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    corpus: dict[str, Any] | None = None
    queries: dict[str, Any] | None = None
    labels: dict[Any, str] = field(default_factory=dict)
    score_range: list[float] = field(default_factory=lambda: [0.0, 5.0])
    test_path: str | None = None
    test_split: str | None = None
    limit: int | None = None
    test_limit: int | None = None
    corpus_limit: int | None = None
    on_missing_id: Literal["error", "drop"] = "error"
    licence: str = "unknown"
    mteb_tasks: list[str] = field(default_factory=list)
    notes: str = ""

    def __post_init__(self):
        hints = get_type_hints(type(self))
        for f in fields(self):
            check_type(f"tasks: {self.name}: {f.name}", getattr(self, f.name), hints[f.name])
        if self.kind not in KINDS:
            raise RecipeError(f"tasks: {self.name}: kind {self.kind!r} is not known; the kinds are {', '.join(KINDS)}.")
        known = {c for kind_columns in COLUMNS.values() for c in kind_columns} | set(OPTIONAL)
        for column in self.columns:
            if column not in known:
                raise RecipeError(f"tasks: {self.name}: columns: '{column}' is not known for kind {self.kind}; it has "
                                  f"{', '.join(COLUMNS[self.kind])} and perhaps {', '.join(OPTIONAL)}.")
        for column in self.needed:
            if column not in self.columns:
                raise RecipeError(f"tasks: {self.name}: columns lacks '{column}'; write {column}: <the dataset's column>.")

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that must be there; ids stand for texts where there is a table to look them up in."""
        looked_up = {"positive": "positive_id" if self.corpus else "positive",
                     "query": "query_id" if self.queries else "query"}
        return tuple(looked_up.get(c, c) for c in COLUMNS[self.kind])

    @property
    def holds_out(self) -> bool:
        return self.test_path is not None or self.test_split is not None


def read_tasks(tasks: list[dict[str, Any]]) -> list[Source]:
    """The `tasks` of a recipe as sources: a known name with what differs, or a whole description.

    Raises:
        [`RecipeError`]: no name, an unknown name without a path, an unknown key, or the same name twice.
    """
    known, found = {s.name: s for s in SOURCES}, {}
    names = {f.name for f in fields(Source)}
    for task in tasks:
        name = task.get("name")
        for key in task:
            if key not in names:
                raise RecipeError(f"tasks: {name}: unknown key '{key}'; the keys are {', '.join(sorted(names))}.")
        if not isinstance(name, str) or not name:
            raise RecipeError(f"tasks: {task!r} has no 'name'; add one, for example name: my_pairs.")
        if name in found:
            raise RecipeError(f"tasks: '{name}' stands twice; give the second a name of its own.")
        if name not in known and not {"kind", "path", "columns"} <= set(task):
            raise RecipeError(f"tasks: '{name}' is not in the sources table ({', '.join(sorted(known))}); describe it "
                              "with kind, path and columns.")
        found[name] = replace(known[name], **task) if name in known else Source(**task)
    return list(found.values())


NLI_LABELS = {0: "entailment", 1: "neutral", 2: "contradiction"}

SOURCES = (
    Source("BoolQ", "retrieval", "google/boolq", {"query": "question", "positive": "passage"},
           "Given a question, retrieve Wikipedia passages that answer the question.",
           test_split="validation", licence="CC BY-SA 3.0"),
    Source("SNLI", "nli", "stanfordnlp/snli", {"premise": "premise", "hypothesis": "hypothesis", "label": "label"},
           "Retrieve semantically similar text.", config="plain_text", labels=NLI_LABELS, licence="CC BY-SA 4.0"),
    Source("MultiNLI", "nli", "nyu-mll/multi_nli",
           {"premise": "premise", "hypothesis": "hypothesis", "label": "label"},
           "Retrieve semantically similar text.", labels=NLI_LABELS, licence="OANC; parts CC BY-SA 3.0, CC BY 3.0"),
    Source("STSBenchmark", "sts", "mteb/stsbenchmark-sts",
           {"sentence1": "sentence1", "sentence2": "sentence2", "score": "score"},
           "Retrieve semantically similar text.", licence="CC BY-SA 4.0", mteb_tasks=["STSBenchmark"]),
)
