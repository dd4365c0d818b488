"""A mirror of every dataset that the recipes for 7B name: a few rows each, with the columns and types of the Hub's
copies (their cards, or rows of the copies; those of MTEB's as its own loaders read them), and English sentences."""

import json
import random
from pathlib import Path

from datasets import ClassLabel, Features, Value
from dataset_folders import write_dataset

ROOT = Path(__file__).parents[1]
ROWS = 10  # of each split
DRAW = random.Random(0)
INTENTS = ["card_arrival", "lost_or_stolen_card", "exchange_rate", "top_up_failed"]
TOPICS = ["cs.CL", "math.CO", "hep-th", "q-bio.NC"]
NLI = Features({"premise": Value("string"), "hypothesis": Value("string"),
                "label": ClassLabel(names=["entailment", "neutral", "contradiction"])})


def sentences() -> list[str]:
    """Real English sentences, from the sample data of the quickstart."""
    found = {}
    for file in sorted((ROOT / "recipes" / "quickstart" / "data").glob("*.train.jsonl")):
        rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        found |= dict.fromkeys(value for row in rows for value in row.values() if " " in str(value))
    return list(found)


POOL = sentences()


def text(count: int = 2) -> str:
    """Some sentences; two are enough for no text to come twice."""
    return " ".join(DRAW.sample(POOL, count))


def texts(number: int = ROWS, count: int = 2) -> list[str]:
    return [text(count) for _ in range(number)]


# ---- the shapes ----------------------------------------------------------------------------------------------------

def beir(*splits: str, positives: int = 1) -> dict:
    """Judgements by id for each split, and tables of queries and passages that all splits share."""
    tables = {("queries", "queries"): [], ("corpus", "corpus"): []}
    for split in splits:
        names = [f"{split}-{n}" for n in range(ROWS)]
        judged = [{"query-id": name, "corpus-id": f"{name}-{p}", "score": 1.0} for name in names
                  for p in range(positives)]
        tables["default", split] = judged
        tables["queries", "queries"] += [{"_id": name, "text": text()} for name in names]
        tables["corpus", "corpus"] += [{"_id": row["corpus-id"], "title": text(1), "text": text(3)} for row in judged]
    return tables


def labelled(names: list[str], *splits: str, config: str = "default", text_label: bool = True, **more) -> dict:
    """Texts with numbers as labels and, mostly, their names; `more` are columns of the same value everywhere."""
    return {(config, split): [
        {**more, "text": t, "label": n % len(names), **({"label_text": names[n % len(names)]} if text_label else {})}
        for n, t in enumerate(texts())] for split in splits}


def scored(*splits: str, config: str = "default", low: float = 0.0, count: int = 2, **more) -> dict:
    """Graded pairs, from `low` upwards."""
    return {(config, split): [{**more, "sentence1": text(count), "sentence2": text(count), "score": low + n % 4}
                              for n in range(ROWS)] for split in splits}


def papers() -> dict:
    return {"train_0.jsonl.gz": [{"id": str(n), "title": text(1), "abstract": text(3), "category": TOPICS[n % 4],
                                  "categories": f"{TOPICS[n % 4]} cs.AI"} for n in range(ROWS)]}


def clusters(*splits: str) -> dict:
    """A row holds a whole set: lists of texts and of labels."""
    return {("default", split): [{"sentences": texts(), "labels": [TOPICS[n % 4] for n in range(ROWS)]}
                                 for _ in range(2)] for split in splits}


def ranked(file: str) -> dict:
    return {file: [{"query": text(), "positive": texts(2), "negative": texts(4)} for _ in range(ROWS)]}


def pairs(first: str, second: str) -> dict:
    return {("pair", "train"): [{first: text(), second: text()} for _ in range(ROWS)]}


def pair_lists() -> dict:
    return {("default", "test"): [{"sentence1": texts(), "sentence2": texts(), "labels": [0, 1] * (ROWS // 2)}]}


# ---- the datasets --------------------------------------------------------------------------------------------------

def squad() -> dict:
    """Two questions share a passage."""
    passages = [text(4) for _ in range(ROWS // 2)]
    return {("plain_text", "train"): [
        {"id": str(n), "title": "A title", "context": passages[n // 2], "question": text(),
         "answers": {"text": ["words"], "answer_start": [0]}} for n in range(ROWS)]}


def nli() -> dict:
    """Every premise with an entailment, a neutral hypothesis and a contradiction, and rows without a gold label."""
    rows = [{"premise": premise, "hypothesis": text(1), "label": label} for premise in texts() for label in (0, 1, 2)]
    return rows + [{"premise": text(), "hypothesis": text(1), "label": -1}]


def stackexchange() -> dict:
    sites = ("biology", "chemistry", "cooking", "cs", "security")
    return {f"{site}.stackexchange.com.jsonl.gz": [
        {"texts": [text(1), text(3)], "tags": [f"{site}-{n % 2}", "other"]} for n in range(4)] for site in sites}


def datasets() -> dict[str, dict]:
    """Tables by Hub id, as `dataset_folders.write_dataset` takes them."""
    hub = {f"mteb/{name}": beir("test") for name in (
        "arguana", "climate-fever", "cqadupstack-gaming", "cqadupstack-unix", "scidocs", "trec-covid",
        "webis-touche2020-v3")}
    hub |= {f"mteb/{name}": clusters("test") for name in (
        "arxiv-clustering-p2p", "arxiv-clustering-s2s", "biorxiv-clustering-p2p", "medrxiv-clustering-p2p",
        "medrxiv-clustering-s2s", "stackexchange-clustering-p2p", "twentynewsgroups-clustering")}
    hub |= {f"mteb/{name}-sts": scored("test") for name in ("biosses", "sickr", "sts13", "sts14", "sts15")}
    hub |= {f"mteb/{name}-pairclassification": pair_lists()
            for name in ("sprintduplicatequestions", "twittersemeval2015", "twitterurlcorpus")}
    hub |= {f"mteb/raw_{name}": papers() for name in ("arxiv", "biorxiv", "medrxiv")}
    hub |= {f"mteb/{name}": labelled(INTENTS, "test", config="en", id="1", lang="en") for name in (
        "MTOPDomainClassification", "amazon_massive_intent", "amazon_massive_scenario")}
    return hub | {
        "mteb/fever": beir("train", "test"), "mteb/fiqa": beir("train", "test"), "mteb/msmarco": beir("train"),
        "mteb/hotpotqa": beir("train", "test", positives=2), "rajpurkar/squad": squad(),
        "sentence-transformers/eli5": pairs("question", "answer"),
        "sentence-transformers/natural-questions": pairs("query", "answer"),
        "sentence-transformers/quora-duplicates": pairs("anchor", "positive"),
        "mteb/sts12-sts": scored("train", "test"),
        "mteb/sts17-crosslingual-sts": scored("test", config="en-en", lang="en-en"),
        "mteb/sts22-crosslingual-sts": scored("train", "test", config="en", low=1.0, count=60, id="1", lang="en"),
        "mteb/stsbenchmark-sts": scored("train", "validation", "test", split="s", genre="news", dataset="MSRpar",
                                        year="2012test", sid="1"),
        "mteb/amazon_counterfactual": labelled(["not-counterfactual", "counterfactual"], "train", "test", config="en"),
        "mteb/AmazonReviewsClassification": labelled(list("12345"), "train", config="en", text_label=False, id="en_1"),
        "mteb/banking77": labelled(INTENTS, "train", "test"),
        "mteb/emotion": labelled(["sadness", "joy", "love", "anger", "fear", "surprise"], "train"),
        "mteb/imdb": labelled(["neg", "pos"], "train", "test"),
        "mteb/mtop_intent": {f"en/{split}.jsonl": labelled(INTENTS, split, id="1")["default", split]
                             for split in ("train", "test")} | {"mtop_intent.py": []},
        "mteb/toxic_conversations_50k": labelled(["not toxic", "toxic"], "train", "test"),
        "mteb/tweet_sentiment_extraction": labelled(["negative", "neutral", "positive"], "train", "test", id="1"),
        "mteb/stackexchange-clustering": clusters("validation", "test"),
        "SetFit/20_newsgroups": labelled(["sci.space", "rec.autos", "alt.atheism"], "train"),
        "sentence-transformers/reddit-title-body": {"reddit_title_text_2010.jsonl.gz": [
            {"title": text(), "body": text(3), "subreddit": ["AskReddit", "science"][n % 2]} for n in range(ROWS)]},
        "flax-sentence-embeddings/stackexchange_title_body_jsonl": stackexchange(),
        "mteb/scidocs-reranking": ranked("validation.jsonl.gz"),
        "mteb/stackoverflowdupquestions-reranking": ranked("train.jsonl.gz"),
        "mteb/askubuntudupquestions-reranking": ranked("test.jsonl.gz"), "mteb/mind_small": ranked("test.jsonl.gz"),
        "mteb/summeval": {("default", "test"): [
            {"id": "1", "text": text(4), "human_summaries": texts(2), "machine_summaries": texts(2),
             "relevance": [1.0, 2.0]} for _ in range(3)]},
    }


def write_mirror(folder: Path) -> dict[str, dict]:
    """Writes `folder/datasets`, with some rows that occur in a test set, and returns the tables.

    As on the Hub, STSBenchmark's training split holds test pairs of STS13, and ArguAna has a test split only.
    """
    tables = datasets()
    there = tables["mteb/sts13-sts"]["default", "test"]
    tables["mteb/stsbenchmark-sts"]["default", "train"][:3] = [
        {**row, **there[n]} for n, row in enumerate(tables["mteb/stsbenchmark-sts"]["default", "train"][:3])]
    tables["mteb/banking77"]["default", "train"][0]["text"] = tables["mteb/banking77"]["default", "test"][0]["text"]
    for path, some in tables.items():
        write_dataset(folder / "datasets" / path, some)
    for path, config, splits in (("stanfordnlp/snli", "plain_text", ["train"]), ("nyu-mll/multi_nli", "default",
                                                                                 ["train"])):
        tables[path] = {(config, split): nli() for split in splits}
        write_dataset(folder / "datasets" / path, tables[path], NLI)
    return tables
