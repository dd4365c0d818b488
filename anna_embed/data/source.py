"""What a source of training rows is: a dataset, how to read it, and what it is."""

import math
import re
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, get_type_hints

from anna_embed.data.texts import clean
from anna_embed.digests import DESCRIBING
from anna_embed.kinds import KINDS
from anna_embed.parsing import RecipeError, check_type

# Which of our column names each kind needs; their values in `Source.columns` are the dataset's own names.
COLUMNS = {
    "retrieval": ("query", "positive"), "reranking": ("query", "positive"), "nli": ("premise", "hypothesis", "label"),
    "sts": ("sentence1", "sentence2", "score"), "classification": ("text", "label"), "clustering": ("text", "label"),
}
READY = ("query", "positive")  # rows that are pairs already serve every kind but the graded one
OPTIONAL = ("negatives", "label", "relevance", "query_id", "positive_id")
TABLE_KEYS = {"config", "split", "id", "text"}
LONGEST_NAME = 60  # characters, of up to four bytes; a folder's name may have 255
SPLIT = re.compile(r"[^\[\]]+(\[(-?[\d_]+%?)?:(-?[\d_]+%?)?\][^\[\]]*)*")


@dataclass(frozen=True)
class Source:
    """One task: a dataset, how to read it, and what it is.

    Args:
        name (`str`): The task's name; also the config of its rows in every artifact.
        kind (`str`): Decides conversion, negatives, loss and prompts (`kinds.KINDS`).
        path (`str`): A JSONL, CSV or parquet file, a dataset folder, or a Hub id.
        columns (`dict`): Our column names (`COLUMNS`) to the dataset's. Several columns (a list) are joined by a
            space; a dot goes into a nested value (`answers.text`, `tags.0`). A dataset with a corpus names
            `positive_id` (and `query_id` with `queries`) instead of texts. Rows that are pairs already name `query`,
            `positive` and perhaps `negatives` and `label`, whatever their kind. Lists of positives become a row each,
            and so do lists of texts with a list of labels beside them. Rows whose `relevance` is not above 0 are no
            positives.
        instruction (`str`): What stands behind `Instruct: `; `literal` takes `literal_instruction`.
        literal_instruction (`str`): The report's words where they slip and `instruction` mends them.
        config, split, revision (`str`): Which rows of the dataset; `train[:100000]` reads the first of them.
        files (`str` or `list[str]`): Patterns of data files in the dataset (`en/{split}*`), for repositories with a
            loading script, which `datasets` no longer runs, or with far more files than needed.
        leave_out (`dict`): Training rows that are not read: a column of the dataset and values of it
            (`{year: ['2015', '2016']}`).
        corpus, queries (`dict`): `{config, split, id, text}` of the tables that ids refer to.
        labels (`dict`): The dataset's label values to readable ones (NLI: entailment, neutral, contradiction).
        label_pattern (`str`): The part of a label that counts, as a regular expression.
        score_range (`list[float]`): Lowest and highest score of graded pairs.
        test_path, test_split (`str`): Rows that are held out: written as the `test` split, never trained on.
        limit, test_limit, corpus_limit (`int`): Queries, held-out passages or rows, corpus passages at most; which
            ones depends on their text and the seed, not on their order.
        on_missing_id (`str`): `error`, or `drop` the rows whose id is in no table.
        licence (`str`): The data's own terms.
        mteb_tasks (`list[str]`): MTEB tasks that the rows are in-domain for.
        notes (`str`): Traps.
    """

    name: str
    kind: str
    path: str
    columns: dict[str, str | list[str]]
    instruction: str = ""
    literal_instruction: str | None = None
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    files: str | list[str] | None = None
    leave_out: dict[str, list[str]] = field(default_factory=dict)
    corpus: dict[str, Any] | None = None
    queries: dict[str, Any] | None = None
    labels: dict[Any, str] = field(default_factory=dict)
    label_pattern: str | None = None
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
            check_type(f"{self.key}: {f.name}", getattr(self, f.name), hints[f.name])
        self._require(re.fullmatch(r"\w[\w .+-]*", self.name) and not self.name.endswith("-corpus"), "name", self.name,
                      "it names a folder: write letters, digits, '-', '_' or '.', and no '-corpus' at the end")
        self._require(len(self.name) <= LONGEST_NAME and self.name not in DESCRIBING, "name", self.name,
                      f"it names a folder beside {', '.join(DESCRIBING)}: write another name, of {LONGEST_NAME} "
                      "characters at most")
        self._require(self.name not in ("query", "document") and not self.name.endswith(("-query", "-document")),
                      "name", self.name, "exported models have prompts of such names that belong to no task: call it "
                      "otherwise")
        self._require(self.kind in KINDS, "kind", self.kind, f"the kinds are {', '.join(KINDS)}")
        known = {*COLUMNS[self.kind], *OPTIONAL, *(() if KINDS[self.kind].graded else READY)}
        for ours in self.columns:
            self._require(ours in known, "columns", ours, f"kind {self.kind} knows {', '.join(sorted(known))}")
        for key, table in (("corpus", self.corpus), ("queries", self.queries)):
            self._require(table is None or {"id", "text"} <= set(table) <= TABLE_KEYS, key, table,
                          "write {config: ..., split: ..., id: <column>, text: <column>}")
            for part in ("id", "text") if table else ():
                check_type(f"{self.key}: {key}: {part}", table[part], str if part == "id" else str | list[str])
            self._require(table is None or self.is_ready, key, table, "ids are looked up for rows that are pairs: "
                          "write columns: {query: ..., positive_id: ...}, or leave it out")
        for ours in self.needed:
            self._require(ours in self.columns, "columns", self.columns,
                          f"'{ours}' is missing: write {ours}: <the dataset's column>")
        self._require(not isinstance(self.columns.get("negatives"), list), "columns", self.columns,
                      "several columns of negatives would be joined to one text: name one column that holds a list")
        low_high = self.score_range
        self._require(len(low_high) == 2 and -math.inf < low_high[0] < low_high[1] < math.inf, "score_range", low_high,
                      "write [lowest, highest]")
        for key in ("split", "test_split"):
            value = getattr(self, key)
            self._require(value is None or SPLIT.fullmatch(value), key, value,
                          "write a split's name, or a part of it, for example 'train[:1000]' or 'train[90%:]'")
        for key in ("limit", "test_limit", "corpus_limit"):
            value = getattr(self, key)
            self._require(value is None or value >= 1, key, value, "write 1 or more, or leave the key out for no "
                                                                   "limit")
        held_out = self.test_path or self.path, self.test_split or self.split.partition("[")[0]
        key = "test_split" if self.test_path is None else "test_path"
        self._require(not self.holds_out or held_out != (self.path, self.split), key, getattr(self, key),
                      "the same rows cannot be trained on and held out: name another split, or a test_path")
        self._require(_compiles(self.label_pattern), "label_pattern", self.label_pattern,
                      "write a regular expression, for example '^\\S+' for the first word")

    def _require(self, good, key, value, remedy):
        if not good:
            raise self.error(f"{key}: {value!r} is not possible; {remedy}.")

    @property
    def key(self) -> str:
        """What an error message about it begins with."""
        return f"tasks: {self.name}"

    def error(self, text: str) -> RecipeError:
        return RecipeError(f"{self.key}: {text}")

    def renames(self, value: Any) -> bool:
        """Whether `labels` has a name for a label."""
        return value in self.labels or clean(value) in self._labels_by_text

    def labels_are(self, names: list[str]) -> bool:
        """Whether the keys of `labels` are classes by name, not by number, though the names may be numbers, too."""
        by_name = bool(names) and self._labels_by_text.keys() <= {clean(name) for name in names}
        return by_name or any(isinstance(key, bool) for key in self.labels)

    def label_of(self, value: Any) -> str:
        """A label in words; the keys of `labels` may be numbers where the data has them as text, and the reverse.

        Raises:
            [`RecipeError`]: it is a fraction that `labels` says nothing of.
        """
        if value in self.labels:
            return clean(self.labels[value])
        if clean(value) in self._labels_by_text:
            return clean(self._labels_by_text[clean(value)])
        if isinstance(value, float) and value % 1 > 0:  # of a CSV file 1.1 and 1.10 are one number
            raise self.error(f"labels: the label {value} is a number and may stand for several (a CSV file's 1.1 and "
                             "1.10); say here what it means in words, or store the labels as text in JSONL.")
        return clean(value)

    @cached_property
    def _labels_by_text(self):
        return {clean(value): name for value, name in self.labels.items()}

    @property
    def is_ready(self) -> bool:
        """Whether its rows are pairs already."""
        return "query" in self.columns or "query_id" in self.columns

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that must be there; ids stand for texts where there is a table to look them up in."""
        looked_up = {"positive": "positive_id" if self.corpus else "positive",
                     "query": "query_id" if self.queries else "query"}
        return tuple(looked_up.get(c, c) for c in (READY if self.is_ready else COLUMNS[self.kind]))

    @property
    def holds_out(self) -> bool:
        return self.test_path is not None or self.test_split is not None

    def files_of(self, split: str) -> list[str]:
        """The patterns of a split's data files; empty if `datasets` is to find them itself."""
        patterns = [self.files] if isinstance(self.files, str) else self.files or []
        return [pattern.replace("{split}", split.partition("[")[0]) for pattern in patterns]


def _compiles(pattern):
    try:
        return pattern is None or re.compile(pattern)
    except re.error:
        return False
