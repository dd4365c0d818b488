"""The table of sources: the report's words, the Hub's names, and every shape of rows that they come in."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import ClassLabel, Features, List, Value

from anna_embed.__main__ import main
from anna_embed.artifacts import digest
from anna_embed.data.locate import locate_source
from anna_embed.data.pairs import read_pairs
from anna_embed.data.source import Source
from anna_embed.data.sources import SOURCES
from anna_embed.data.tasks import KNOWN, read_tasks
from anna_embed.kinds import KINDS
from anna_embed.located import Located
from anna_embed.parsing import RecipeError
from dataset_folders import write_dataset

MIRROR = Path(__file__).parents[2].parent / "shared" / "mirror"
# LG-ANNA-Embedding, Table 1, with every slip.
TABLE_1 = """
ArguAna	Given a claim, find documents that refute the claim.
ELI5	Provided a user question, retrieve the highest voted answers on Reddit ELI5 forum.
FEVER	Given a claim, retrieve documents that support or refute the claim.
FiQA2018	Given a financial question, retrieve user replies that best answer the question.
HotpotQA	Given a multi-hop question, retrieve documents that can help answer the question.
MSMARCO	Given a web search query, retrieve relevant passages that answer the query.
Natural Question	Given a question, retrieve Wikipedia passages that answer the question.
QuoraDupQuestion	Given a question, retrieve questions that are semantically equivalent to the given question.
SQuAD	Given a question, retrieve passages that answer the question
STS12	Retrieve semantically similar text.
STS22	Retrieve semantically similar text.
STSBenchmark	Retrieve semantically similar text.
AmazonCounterfactualClassification	Classify a given Amazon customer review text as either counterfactual or \
not-counterfactual.
AmazonReviewsClassification	Classify the given Amazon review into its appropriate rating category.
Banking77Classification	Given a online banking query, find the corresponding intents.
EmotionClassification	Classify the emotion expressed in the given Twitter message into one of the six emotions: \
anger, fear, joy, love, sadness, and surprise.
ImdbClassification	Classify the sentiment expressed in the given movie review text from the IMDB dataset.
MTOPIntentClassification	Classify the intent of the given utterance in task-oriented conversation.
ToxicConversationsClassification	Classify the given comments as either toxic or not toxic.
TweetSentimentExtractionClassification	Classify the sentiment of a given tweet as either positive, negative, or \
neutral.
ArxivClusteringP2P	Identify the main and secondary category of Arxiv papers based on the titles and abstracts.
ArxivClusteringS2S	Identify the main and secondary category of Arxiv papers based on the titles.
BiorxivClusteringP2P	Identify the main category of Biorxiv papers based on the titles and abstracts.
BiorxivClusteringS2S	Identify the main category of Biorxiv papers based on the titles.
MedrxivClusteringP2P	Identify the main category of Medrxiv papers based on the titles and abstracts.
MedrxivClusteringS2S	Identify the main category of Medrxiv papers based on the titles.
RedditClustering	Identify the topic or theme of Reddit posts based on the titles.
RedditClusteringS2S	Identify the topic or theme of Reddit posts based on the titles and posts.
StackexchangeClustering	Identify the topic or theme of StackExchange posts based on the titles.
StackexchangeClusteringP2P	Identify the topic or theme of StackExchange posts based on the given paragraphs.
TwentyNewsgroupsClustering	Identify the topic or theme of the given news articles.
SciDocsRR	Given a title of a scientific paper, retrieve the titles of other relevant papers.
StackOverflowDupQuestions	Retrieve duplicate questions from StackOverflow forum.
"""
REPORT = dict(line.split("\t") for line in TABLE_1.strip().splitlines())
# The 20 of the 41 tasks of MTEB(eng, v2) that the report's mixture has training data for.
IN_DOMAIN = set("""
    ArguAna FEVERHardNegatives FiQA2018 HotpotQAHardNegatives AmazonCounterfactualClassification
    Banking77Classification ImdbClassification ToxicConversationsClassification TweetSentimentExtractionClassification
    ArXivHierarchicalClusteringP2P ArXivHierarchicalClusteringS2S BiorxivClusteringP2P.v2 MedrxivClusteringP2P.v2
    MedrxivClusteringS2S.v2 StackExchangeClustering.v2 StackExchangeClusteringP2P.v2 TwentyNewsgroupsClustering.v2
    STS12 STS22.v2 STSBenchmark""".split())


def read(source, mirror):
    at = locate_source(source, [str(mirror)])[source.name]
    return read_pairs(source, at, source.split, 42)


# ---- the table -------------------------------------------------------------------------------------------------


def test_report_is_quoted_verbatim():
    """A literal reproduction needs the report's very words; a silent correction would be no reproduction."""
    assert len(REPORT) == 33
    assert {name: KNOWN[name].literal_instruction or KNOWN[name].instruction for name in REPORT} == REPORT
    slips = {source.name for source in SOURCES if source.literal_instruction}
    assert slips == {"Banking77Classification", "RedditClusteringS2S", "SQuAD"}


def test_literal_instruction_on_request():
    """`instruction: literal` is how the literal recipe says it; where the report does not slip it changes nothing."""
    tasks = read_tasks([{"name": name, "instruction": "literal"} for name in REPORT])
    assert {task.name: task.instruction for task in tasks} == REPORT
    assert read_tasks([{"name": "SQuAD"}])[0].instruction == REPORT["SQuAD"] + "."


def test_every_row_of_the_table_is_complete():
    """A card that cannot name licence or origin of its rows cannot be published."""
    assert len(KNOWN) == len(SOURCES) >= 33 + 2
    for source in SOURCES:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", source.path), source.name
        assert source.instruction and source.licence != "unknown" and source.notes, source.name
        assert source.split.startswith("train") or "split" in source.notes, source.name  # no training split: said


def test_mixture_covers_the_tasks_that_mteb_counts():
    """The zero-shot share that a model card states is computed from these names."""
    covered = {task for name in REPORT for task in KNOWN[name].mteb_tasks}
    assert IN_DOMAIN <= covered


@pytest.mark.slow
def test_mteb_knows_the_tasks():
    """A misspelt task is silently not counted as seen (mteb's own registry has two)."""
    import mteb

    for name in {task for source in SOURCES for task in source.mteb_tasks}:
        assert mteb.get_task(name).metadata.name == name  # which raises for a name that it does not know
    panel = {task.metadata.name for task in mteb.get_benchmark("MTEB(eng, v2)").tasks}
    assert panel & {task for name in REPORT for task in KNOWN[name].mteb_tasks} == IN_DOMAIN


def test_command_prints_the_table(capsys):
    """The table is what people choose their sources from."""
    main(["sources"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(SOURCES) and lines[0].split() == ["TASK", "KIND", "DATASET", "SPLIT", "LICENCE"]
    column = lines[0].index("KIND")
    assert all(line[column:].split()[0] in KINDS and line[column - 1] == " " for line in lines[1:])
    main(["sources", "SQuAD", "FEVER"])
    out = capsys.readouterr().out
    assert "rajpurkar/squad" in out and REPORT["FEVER"] in out and "FEVERHardNegatives" in out
    with pytest.raises(RecipeError, match="'Squad' is not in the table .did you mean 'SQuAD'"):
        main(["sources", "Squad"])


# ---- what a recipe may say -----------------------------------------------------------------------------------


OWN = {"name": "mine", "kind": "retrieval", "path": "p", "columns": {"query": "q", "positive": "p"}}


@pytest.mark.parametrize(("task", "message"), [
    ({"name": "Boolq"}, "tasks: 'Boolq' is not in the sources table (did you mean 'BoolQ'?); take a name that"),
    ({"kind": "sts"}, "has no 'name'"),
    ({"name": 3}, "tasks: name: 3 is no text; put it in quotation marks: name: '3'."),
    ({"name": "BoolQ", "limt": 5}, "tasks: BoolQ: unknown key 'limt' (value 5) (did you mean 'limit'?)"),
    ({"name": "BoolQ", "limit": "many"}, "tasks: BoolQ: limit: 'many' is not of type int | None"),
    ({"name": "BoolQ", "limit": 0}, "tasks: BoolQ: limit: 0 is not possible; write 1 or more"),
    ({"name": "BoolQ", "test_split": "train"}, "tasks: BoolQ: test_split: 'train' is not possible; the same rows"),
    ({**OWN, "kind": "retreival"}, "tasks: mine: kind: 'retreival' is not possible; the kinds are retrieval,"),
    ({**OWN, "name": "a/b"}, "tasks: a/b: name: 'a/b' is not possible; it names a folder"),
    ({**OWN, "name": "document"}, "tasks: document: name: 'document' is not possible; exported models have prompts"),
    ({**OWN, "name": "my-query"}, "tasks: my-query: name: 'my-query' is not possible; exported models"),
    ({**OWN, "name": "x-corpus"}, "tasks: x-corpus: name: 'x-corpus' is not possible"),
    ({**OWN, "name": "x" * 61}, "it names a folder beside manifest.json, README.md, training_log.json: write anothe"),
    ({**OWN, "name": "README.md"}, "tasks: README.md: name: 'README.md' is not possible; it names a folder beside"),
    ({**OWN, "split": "train[:x]"}, "tasks: mine: split: 'train[:x]' is not possible; write a split's name, or"),
    ({**OWN, "test_split": "train[5]"}, "tasks: mine: test_split: 'train[5]' is not possible"),
    ({**OWN, "columns": {"query": "q"}}, "tasks: mine: columns: {'query': 'q'} is not possible; 'positive' is missin"),
    ({**OWN, "columns": {"query": "q", "positive": "p", "premise": "x"}}, "columns: 'premise' is not possible; kind"),
    ({**OWN, "columns": {"query": "q", "positive": 3}}, "columns: {'query': 'q', 'positive': 3} is not of type dict"),
    ({**OWN, "corpus": {"id": "_id"}}, "tasks: mine: corpus: {'id': '_id'} is not possible; write {config"),
    ({**OWN, "test_path": "p"}, "tasks: mine: test_path: 'p' is not possible; the same rows cannot be trained on"),
    ({**OWN, "kind": "sts", "columns": {"sentence1": "a", "sentence2": "b", "score": "c"},
      "corpus": {"id": "i", "text": "t"}}, "is not possible; ids are looked up for rows that are pairs"),
    ({**OWN, "score_range": [5, 1]}, "tasks: mine: score_range: [5, 1] is not possible; write [lowest, highest]"),
    ({**OWN, "score_range": [0, math.inf]}, "tasks: mine: score_range: [0, inf] is not possible"),
    ({**OWN, "label_pattern": "("}, "tasks: mine: label_pattern: '(' is not possible; write a regular expression"),
    ({**OWN, "instruction": "literal"}, "tasks: mine: instruction: 'literal' is for tasks of the table"),
    ({**OWN, "on_missing_id": "ignore"}, "tasks: mine: on_missing_id: 'ignore' is not of type"),
    ({**OWN, "kind": "sts"}, "tasks: mine: columns: 'query' is not possible; kind sts knows"),
])
def test_bad_tasks_are_refused(task, message):
    """Found late, each of these costs the hours of the stages before it."""
    with pytest.raises(RecipeError) as refused:
        read_tasks([task])
    assert message in str(refused.value) and str(refused.value).endswith(".")


def test_a_task_stands_once():
    """The second would overwrite the rows of the first."""
    with pytest.raises(RecipeError, match="'BoolQ' stands twice"):
        read_tasks([{"name": "BoolQ"}, {"name": "BoolQ", "limit": 5}])


# ---- every shape of rows, as the Hub's copies have them ---------------------------------------------------------


def labelled(names):
    return [{"text": f"text {i}", "label": i % len(names), "label_text": names[i % len(names)]} for i in range(12)]


PAPERS = [{"id": str(i), "title": f"Title {i}", "abstract": f"  Abstract {i}.\n", "category": "abc"[i % 3],
           "categories": ["cs.CL cs.AI", "cs.CL", "math.CO"][i % 3]} for i in range(12)]
JUDGEMENTS = [{"query-id": "q1", "corpus-id": "d1", "score": 1.0}, {"query-id": "q1", "corpus-id": "d2", "score": 0.0}]
TABLES = {("queries", "queries"): [{"_id": "q1", "text": "question"}, {"_id": "q2", "text": "other"}],
          ("corpus", "corpus"): [{"_id": "d1", "title": "Title", "text": "answer"},
                                 {"_id": "d2", "title": "", "text": "more"}]}
BEIR = {("default", "train"): JUDGEMENTS, **TABLES}
SHAPES = {  # read in the datasets' cards and viewers, in mteb's scripts that made them, or in code that loads them
    "FEVER": BEIR, "FiQA2018": BEIR, "MSMARCO": BEIR, "HotpotQA": BEIR,
    "ArguAna": {("default", "test"): JUDGEMENTS, **TABLES},
    "STS22": {("en", "train"): [{"id": "1", "sentence1": "a", "sentence2": "b", "score": 4.0},
                                {"id": "2", "sentence1": "a", "sentence2": "c", "score": 1.0}]},
    "AmazonReviewsClassification": {("en", "train"): [{"text": f"review {i}", "label": i % 5} for i in range(10)]},
    "AmazonCounterfactualClassification": {("en", "train"): labelled(["not-counterfactual", "counterfactual"])},
    "ToxicConversationsClassification": {("default", "train"): labelled(["not toxic", "toxic"])},
    "MTOPIntentClassification": {"en/train.jsonl": labelled(["GET_A", "GET_B"]), "mtop_intent.py": [],
                                 "en/test.jsonl": labelled(["TEST", "X"]), "de/train.jsonl": labelled(["DE", "Y"])},
    "BiorxivClusteringP2P": {"train_0.jsonl.gz": PAPERS}, "MedrxivClusteringS2S": {"train_0.jsonl.gz": PAPERS},
    "ArxivClusteringP2P": {"train_0.jsonl.gz": PAPERS},
    "RedditClustering": {f"reddit_title_text_{year}.jsonl.gz": [
        {"title": f"title {year} {i}", "body": "b", "subreddit": "ab"[i % 2]} for i in range(8)]
        for year in (2010, 2021)},
    "StackexchangeClustering": {"valid.jsonl": [{"sentences": ["a", "b", "c", "d"], "labels": ["x", "x", "y", "y"]},
                                                {"sentences": ["e", "a"], "labels": ["y", "x"]}]},
    "StackexchangeClusteringP2P": {"cs.stackexchange.com.jsonl.gz": [
        {"texts": [f"title {i}", f"body {i}"], "tags": ["ab"[i % 2], "c"]} for i in range(8)], "other.jsonl.gz": []},
    "SciDocsRR": {"validation.jsonl.gz": [{"query": "q", "positive": ["a", "b"], "negative": ["c", "d"]}]},
    "StackOverflowDupQuestions": {"train.jsonl.gz": [{"query": "q", "positive": ["a"], "negative": ["c", "d"]}]},
}


@pytest.mark.parametrize("name", SHAPES)
def test_shape_of_the_hubs_copy(name, tmp_path):
    """Each of these is a schema that a converter for `query, positive` rows alone would stumble over."""
    source = KNOWN[name]
    write_dataset(tmp_path / "datasets" / source.path, SHAPES[name])
    pairs, corpus, dropped, steps = read(source, tmp_path)
    assert pairs and steps["rows"] == len(pairs) + dropped.total()
    texts = [(p["query"], p["positive"], p["label"], p["negatives"]) for p in pairs]
    if ("corpus", "corpus") in SHAPES[name]:
        assert texts == [("question", "Title answer", None, [])] and dropped == {"judged not relevant": 1}
        assert set(corpus.values()) == {"Title answer", "more"}
    if name == "STS22":
        assert [p["label_score"] for p in pairs] == [1.0, 0.0]
    if name == "AmazonReviewsClassification":
        assert texts[1][:3] == ("review 1", "2 stars", "2 stars")
        assert set(texts[1][3]) == {"1 star", "3 stars", "4 stars", "5 stars"}
    if name == "MTOPIntentClassification":
        assert {p["label"] for p in pairs} == {"GET_A", "GET_B"}
    if name == "ArxivClusteringP2P":
        assert {p["label"] for p in pairs} == {"cs.CL", "math.CO"}
        assert "Title 0 Abstract 0." in {p["query"] for p in pairs}
    if name == "RedditClustering":
        assert {p["query"][:10] for p in pairs} == {"title 2010"}
    if name == "StackexchangeClustering":
        assert {p["query"] for p in pairs} == set("abcde") and dropped == {"repeated row": 1}
    if name == "StackexchangeClusteringP2P":
        assert {p["label"] for p in pairs} == {"a", "b"} and "title 0 body 0" in {p["query"] for p in pairs}
    if name == "SciDocsRR":
        assert [(p["positive"], p["negatives"]) for p in pairs] == [("a", ["c", "d"]), ("b", ["c", "d"])]


def read_own(folder, rows, features=None, **task):
    path = write_dataset(folder, {("default", "train"): rows}, features)
    source = Source(**{"name": "mine", "path": path, **task})
    return read_pairs(source, Located(path, path, digest(Path(path))), "train", 0)


def test_rows_that_are_pairs_already(tmp_path):
    """bge-full-data has query, pos, neg for every kind; its labels' names would otherwise have to be rebuilt."""
    rows = [{"query": "q", "pos": ["p1", "p2"], "neg": ["n"], "category": "c", "pos_scores": [1.0, 2.0]}]
    columns = {"query": "query", "positive": "pos", "negatives": "neg", "label": "category"}
    for kind in ("clustering", "nli", "retrieval", "reranking", "classification"):
        pairs = read_own(tmp_path / kind, rows, kind=kind, columns=columns)[0]
        assert [(p["positive"], p["negatives"], p["label"]) for p in pairs] == [("p1", ["n"], "c"), ("p2", ["n"], "c")]


def test_labels_of_rows_that_are_pairs_get_their_names(tmp_path):
    """A few-shot example would show the response "1"."""
    rows = [{"q": "a", "p": "b", "label": 0}, {"q": "c", "p": "d", "label": 1}]
    columns = {"query": "q", "positive": "p", "label": "label"}
    pairs = read_own(tmp_path, rows, kind="clustering", columns=columns, labels={0: "sport", 1: "the arts"},
                     label_pattern=r"\w+$")[0]
    assert [p["label"] for p in pairs] == ["sport", "arts"]


def test_class_labels_get_their_names(tmp_path):
    """The Hub stores labels as numbers beside their names: a number as label text teaches nothing."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = [{"text": "a", "label": 0}, {"text": "b", "label": 1}, {"text": "c", "label": None}]
    pairs = read_own(tmp_path, rows, features, kind="classification", columns={"text": "text", "label": "label"})[0]
    assert [(p["query"], p["positive"]) for p in pairs] == [("a", "no"), ("b", "yes")]


def test_class_labels_inside_other_values(tmp_path):
    """go_emotions has a list of class labels: its rows would be trained to say "27"."""
    kinds = ClassLabel(names=["joy", "fear"])
    features = Features({"text": Value("string"), "labels": List(kinds), "of": {"kind": kinds},
                         "many": List({"kind": kinds})})
    rows = [{"text": text, "labels": [n, 1], "of": {"kind": n}, "many": [{"kind": n}]} for n, text in enumerate("ab")]
    for column in ("labels.0", "of.kind", "many.kind.0", "many.0.kind"):
        pairs = read_own(tmp_path / column, rows, features, kind="classification",
                         columns={"text": "text", "label": column})[0]
        assert [(p["query"], p["positive"]) for p in pairs] == [("a", "joy"), ("b", "fear")], column
    rows = [{"text": ["a", "b"], "labels": [0, 1]}]
    features = Features({"text": List(Value("string")), "labels": List(kinds)})
    pairs = read_own(tmp_path / "both", rows, features, kind="classification",
                     columns={"text": "text", "label": "labels"})[0]
    assert [(p["query"], p["positive"]) for p in pairs] == [("a", "joy"), ("b", "fear")]


def test_nested_columns(tmp_path):
    """SQuAD's answers and a post's tags lie inside other values."""
    rows = [{"q": "q", "answers": {"text": ["x", "y"]}, "evidence": [{"title": "t1"}, {"title": "t2"}]}]
    found = {"answers.text": ["x", "y"], "answers.text.1": ["y"], "evidence.title": ["t1", "t2"]}
    for column, positives in found.items():
        pairs = read_own(tmp_path / column, rows, kind="retrieval", columns={"query": "q", "positive": column})[0]
        assert [p["positive"] for p in pairs] == positives
    refused = {"answers": "holds .*, no plain value", "answers.txt": "there is no 'txt' in",
               "evidence": "no plain value", "ansers": "has no column 'ansers'; name one that it has: q, ans"}
    for column, message in refused.items():
        for columns in (column, ["q", column]):  # joined they would be text that looks like Python
            with pytest.raises(RecipeError, match=message):
                read_own(tmp_path / column, rows, kind="retrieval", columns={"query": "q", "positive": columns})


def test_text_that_was_taken_for_dates_is_refused(tmp_path):
    """`datasets` reads "2021-03-04T10:00:00Z" of a JSON file as a time: the text would be another one, in silence."""
    for suffix, values in (("Z", ["2021-03-04T10:00:00Z"] * 2), ("mixed", ["2021-03-04", "in March"])):
        rows = [{"q": "when?", "p": value} for value in values]
        path = write_dataset(tmp_path / suffix, {"data.jsonl": rows})
        source = Source("mine", "retrieval", path, {"query": "q", "positive": "p"}, files=["data.jsonl"])
        if suffix == "mixed":
            assert [p["positive"] for p in read_pairs(source, Located(path, path, ""), "train", 0)[0]] == values
            continue
        with pytest.raises(RecipeError, match="positive: 'p' holds the time '2021-03-04 10:00:00.*column as text"):
            read_pairs(source, Located(path, path, ""), "train", 0)


def test_passages_in_sentences_are_refused(tmp_path):
    """SciFact's own corpus has its abstracts as lists: "['One.', 'Two.']" would be embedded, scored and published."""
    tables = {("default", "train"): [{"q": "q", "d": 1}],
              ("corpus", "corpus"): [{"id": 1, "abstract": ["One.", "Two."]}]}
    path = write_dataset(tmp_path, tables)
    source = Source("mine", "retrieval", path, {"query": "q", "positive_id": "d"},
                    corpus={"config": "corpus", "split": "corpus", "id": "id", "text": ["abstract"]})
    with pytest.raises(RecipeError, match="'abstract' holds .*'One.'.* no plain value; name a part of it"):
        read_pairs(source, Located(path, path, ""), "train", 0)


def test_slices_and_patterns_of_files(tmp_path):
    """Of a dataset of 127 million rows a part has to be readable, and a pattern that finds nothing has to say so."""
    parts = {f"data/part{i}.jsonl": [{"q": f"q{i}{j}", "p": "p"} for j in range(5)] for i in range(3)}
    path = write_dataset(tmp_path, parts)
    source = Source("mine", "retrieval", path, {"query": "q", "positive": "p"}, files=["data/part[01].jsonl"])
    at = Located(path, path, "")
    assert len(read_pairs(source, at, "train", 0)[0]) == 10
    assert [p["query"] for p in read_pairs(source, at, "train[4:6]", 0)[0]] == ["q04", "q10"]
    with pytest.raises(RecipeError, match="files: nothing.* matches no data file in"):
        read_pairs(replace(source, files="nothing.*"), at, "train", 0)


# ---- the real rows ---------------------------------------------------------------------------------------------


ELSEWHERE = {  # the mirror has no training split of these
    "SNLI": {"split": "validation"}, "MultiNLI": {"split": "validation_matched"}, "FiQA2018": {"split": "test"}}
ROWS = {"STS12": 2234, "STSBenchmark": 5749, "Banking77Classification": 10003, "EmotionClassification": 16000,
        "MTOPIntentClassification": 15667, "TweetSentimentExtractionClassification": 27480, "SNLI": 9831,
        "SciFact": 919,
        "TwentyNewsgroupsClustering": 11314, "MassiveIntentClassification": 11514, "SQuAD": 11877, "HotpotQA": 200}


@pytest.mark.slow
@pytest.mark.skipif(not MIRROR.is_dir(), reason="no mirror of real datasets beside the checkout")
@pytest.mark.parametrize("name", [s.name for s in SOURCES if (MIRROR / "datasets" / s.path).is_dir()])
def test_real_rows(name):
    """Fixtures show what we think the Hub's copies look like; these are their rows."""
    source = replace(KNOWN[name], **ELSEWHERE.get(name, {}))
    pairs, corpus, dropped, steps = read(source, MIRROR)
    kept = steps["contradictions kept as hard negatives"]
    assert steps["rows"] == ROWS.get(name, steps["rows"]) == len(pairs) + dropped.total() + kept
    assert len(pairs) > 0.9 * steps["rows"] or source.kind == "nli"
    assert bool(corpus) == KINDS[source.kind].scored
    assert not corpus or {p["positive_id"] for p in pairs} <= set(corpus)
    if source.kind in ("classification", "clustering"):
        assert not any(p["label"].isdigit() for p in pairs)


@pytest.mark.slow
@pytest.mark.skipif(not MIRROR.is_dir(), reason="no mirror of real datasets beside the checkout")
@pytest.mark.parametrize(("config", "kind"), [
    ("AmazonClassification", "classification"), ("Banking77Classification", "classification"),
    ("arXiv_title", "clustering"), ("bioRXiv_title", "clustering"), ("msmarco", "retrieval"), ("nq", "retrieval"),
    ("nli", "nli"), ("sts", "nli")])
def test_real_rows_of_bge(config, kind):
    """The bundle that the report follows, in all of its kinds."""
    source = Source("mine", kind, "cfli/bge-full-data", {"query": "query", "positive": "pos", "negatives": "neg"},
                    config=config)
    pairs, _, dropped, steps = read(source, MIRROR)
    assert steps["rows"] == len(pairs) + dropped.total() and len({p["query"] for p in pairs}) >= 9
    assert all(p["negatives"] for p in pairs)
