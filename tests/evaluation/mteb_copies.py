"""A mirror with small copies of mteb's datasets, in the layouts that the Hub has them in."""

from pathlib import Path

from datasets import Dataset
from small import SENTENCES

STS, BANKING, SCIFACT = (f"datasets/mteb/{name}" for name in ("stsbenchmark-sts", "banking77", "scifact"))


def write(folder: Path, name: str, rows: list[dict]) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(folder / name)


def write_mirror(mirror: Path) -> None:
    """STSBenchmark (pairs), Banking77 (labels) and SciFact (a corpus, queries, judgements)."""
    pairs = [{"sentence1": SENTENCES[n], "sentence2": SENTENCES[(n * 7 + 3) % 20], "score": n % 6 + 0.5}
             for n in range(20)]
    write(mirror / STS, "data/test-00000-of-00001.parquet", pairs)
    for split, size in (("train", 24), ("test", 12)):
        labelled = [{"text": f"{SENTENCES[n]} {split}", "label": n % 2, "label_text": "even odd".split()[n % 2]}
                    for n in range(size)]
        write(mirror / BANKING, f"data/{split}-00000-of-00001.parquet", labelled)
    passages = [{"_id": f"d{n}", "title": f"Title {n}", "text": text} for n, text in enumerate(SENTENCES)]
    queries = [{"_id": f"q{n}", "text": SENTENCES[n * 3].split(" ", 1)[1]} for n in range(6)]
    write(mirror / SCIFACT, "corpus/corpus-00000-of-00001.parquet", passages)
    write(mirror / SCIFACT, "queries/queries-00000-of-00001.parquet", queries)
    for split, which in (("train", range(4)), ("test", range(2, 6))):
        judged = [{"query-id": f"q{n}", "corpus-id": f"d{n * 3}", "score": 1} for n in which]
        write(mirror / SCIFACT, f"data/{split}-00000-of-00001.parquet", judged)
    (mirror / SCIFACT / "README.md").write_text("""---
configs:
- {config_name: corpus, data_files: [{split: corpus, path: corpus/*}]}
- {config_name: queries, data_files: [{split: queries, path: queries/*}]}
- config_name: default
  data_files: [{split: train, path: data/train-*}, {split: test, path: data/test-*}]
---
""")
