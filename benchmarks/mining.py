"""Time and memory of hard-negative mining, beside sentence-transformers' `mine_hard_negatives`.

    python -m benchmarks.mining --mirror mirror artifacts/mirror
    python -m benchmarks.mining --mirror mirror artifacts/mirror --passages 2000 --repeats 1    # a look
    python -m benchmarks.mining --random_vectors 1000000                         # the search alone: no data, no model

Duplicate questions are mined among passages that are other titles: the same model, vectors, candidates, margin and
number of negatives for both, in turns, each run in a process of its own. The last line is all of it as JSON.
"""

from dataclasses import dataclass, field
from pathlib import Path

from anna_embed.config.base import described
from anna_embed.parsing import RecipeError, check_type, one_sentence, parse

TITLES = ("stackexchange/cqadupstack-titles:text", "paperscape/arxiv-titles:title", "jacoxu/StackOverflow:text")


@dataclass
class Settings:
    """What is mined.

    Args:
        titles (`list[str]`): `dataset:column`, what the corpus is filled up with; none if the pairs fill it.
        passages (`list[int]`): Sizes of the corpus. A quarter of it at most are positives, so queries grow with it.
        embed_up_to (`int`): Up to this size, runs that embed all texts are measured, too.
        blocks (`list[int]`): Queries whose scores sentence-transformers holds at a time; 16384 is its default.
        random_vectors (`int`): If not 0, nothing is mined, but so many random vectors are searched.
    """

    pairs: str = field(default="sentence-transformers/stackexchange-duplicates", **described("Pairs of texts."))
    titles: list[str] = field(default_factory=lambda: list(TITLES), **described("Further passages, dataset:column."))
    model: str = field(default="sentence-transformers/all-MiniLM-L6-v2", **described("Folder or Hub id."))
    mirror: list[str] = field(default_factory=list, **described("Folders in Hub layout."))
    passages: list[int] = field(default_factory=lambda: [10_000, 50_000], **described("Sizes of the corpus."))
    embed_up_to: int = field(default=10_000, **described("Sizes with embedding included; 0 for none."))
    max_length: int = field(default=32, **described("Tokens of a text; titles have few."))
    most_positives: int = field(default=5, **described("Positives of a query; further ones are left out."))
    depth: int = field(default=55, **described("Candidates of a query."))
    num_negatives: int = field(default=7, **described("Hard negatives of a row."))
    blocks: list[int] = field(default_factory=lambda: [16384, 1024], **described("faiss_batch_size of theirs."))
    repeats: int = field(default=3, **described("Rounds of alternating runs; with embedding there is one."))
    memory_gb: float = field(default=4.0, **described("What ours may take for blocks, as in the score stage."))
    random_vectors: int = field(default=0, **described("Search so many random vectors, and nothing else."))
    random_queries: int = field(default=1000, **described("Queries among random vectors."))
    dim: int = field(default=384, **described("Of random vectors."))
    folder: str = field(default="artifacts/mining_benchmark", **described("Where vectors and results are kept."))

    def __post_init__(self):
        for key, kind in (("titles", list[str]), ("mirror", list[str]), ("passages", list[int]),
                          ("blocks", list[int])):
            check_type(key, getattr(self, key), kind)
        for name in self.titles:
            if name.count(":") != 1:
                raise RecipeError(f"titles: '{name}' names no column; write dataset:column.")
        if self.depth <= self.most_positives + self.num_negatives:
            raise RecipeError(f"depth: {self.depth} leaves no choice; write more than most_positives + num_negatives.")
        for size in self.passages:
            if size < 1:
                raise RecipeError(f"passages: {size} is not possible; write 1 or more.")
        for key in ("repeats", "max_length", "most_positives", "num_negatives", "random_queries", "dim"):
            if getattr(self, key) < 1:
                raise RecipeError(f"{key}: {getattr(self, key)} is not possible; write 1 or more.")


def embed_once(folder: str, model_folder: str, config: Settings) -> int:
    """Embeds what the runs without embedding are given: a store for ours, two arrays for theirs; how many texts."""
    import numpy as np

    from anna_embed.teacher import dense
    from benchmarks import titles
    from benchmarks.miners import loaded, vectors_name

    model, _ = loaded(model_folder, config.max_length)
    queries, passages = titles.read(folder)
    cache, name = Path(folder).parent / "vectors", vectors_name(model_folder, config)
    for file, texts in (("passages", passages), ("queries", queries)):
        np.save(Path(folder, f"{file}.npy"), dense.encode_cached(cache, name, model, texts, "", 64))
    return len(passages) + len(queries)


def compare(config: Settings, folder: Path, model: str, embed: bool) -> dict:
    """Ours and theirs in turns; all figures of one size."""
    from benchmarks import miners, timing

    arguments = (str(folder), model, config, embed)
    runs, figures = {"ours": (miners.ours, *arguments)}, {}
    for block in config.blocks if not embed else config.blocks[:1]:
        runs[f"theirs, {block} queries a block"] = (miners.theirs, *arguments, block)

    def run(name):
        figures.setdefault(name, []).append(timing.in_fresh_process(*runs[name])[0])
        print(f"    {figures[name][-1]}", flush=True)
        return figures[name][-1]["seconds"]

    timing.alternate({name: lambda name=name: run(name) for name in runs}, 1 if embed else config.repeats)
    facts = {name: {key: timing.spread([f[key] for f in found])
                    for key in ("seconds", "processor_seconds", "start_gb", "peak_gb")} for name, found in
             figures.items()}
    facts["ours"]["parts"] = {part: timing.spread([f["parts"][part] for f in figures["ours"]])
                              for part in figures["ours"][0]["parts"]}
    for name in list(facts)[1:]:
        facts[name]["ours_takes"] = {key: timing.short(facts["ours"][key]["median"] / facts[name][key]["median"])
                                     for key in ("seconds", "processor_seconds", "peak_gb")}
    return facts | {"agreement": miners.agreement(str(folder))}


def search_alone(config: Settings) -> dict:
    """The search among random vectors; the process that writes them is not the one that is measured."""
    from benchmarks import random_vectors, timing

    shape = (f"{config.folder}/random", config.random_vectors, config.dim)
    timing.in_fresh_process(random_vectors.write, *shape)
    found, _ = timing.in_fresh_process(random_vectors.find, *shape, config.random_queries, config.depth,
                                       config.memory_gb)
    facts = {"passages": config.random_vectors, "queries": config.random_queries, "dim": config.dim, "k": config.depth,
             "memory_gb": config.memory_gb, **{key: timing.short(value) for key, value in found.items()}}
    return facts | {"queries_per_processor_second": timing.short(config.random_queries / found["processor_seconds"])}


def titles_mined(config: Settings) -> dict:
    """Every size, without and with embedding."""
    from anna_embed.fetch import go_offline
    from anna_embed.located import locate
    from benchmarks import timing, titles

    if config.mirror:
        go_offline()
    facts, model = {}, locate("model", config.model, "model", config.mirror).path
    folders = titles.write(config.folder, config.pairs, config.titles, config.mirror, config.passages,
                           config.most_positives)
    for size, folder in folders.items():
        texts, _ = timing.in_fresh_process(embed_once, str(folder), model, config)
        for embed in (False, True) if size <= config.embed_up_to else (False,):
            name = f"{size} passages, embedding {'included' if embed else 'excluded'}"
            print(f"\n{name}", flush=True)
            facts[name] = {"texts": texts, **compare(config, folder, model, embed)}
            print(f"  {facts[name]}", flush=True)
    return facts


def main(config: Settings, given: dict) -> None:
    from benchmarks import timing

    facts = search_alone(config) if config.random_vectors else titles_mined(config)
    timing.report({"benchmark": "mining", "given": given, "results": facts})


if __name__ == "__main__":
    with one_sentence():
        main(*parse(Settings))
