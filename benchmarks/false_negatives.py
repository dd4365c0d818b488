"""False negatives with ground truth: what share of hidden positives does each rule of mining take for negatives?

    python -m benchmarks.false_negatives --pairs artifacts/smollm2_135m/pairs --mirror mirror artifacts/mirror

Of queries with several labelled positives all but one are hidden (all but two, to tell the own positive from the
minimum), and negatives are mined as if the hidden ones were not known. Reads any pairs artifact and the vectors that
its score stage left; what is missing is embedded. The last line is all of it as JSON.
"""

from dataclasses import dataclass, field
from pathlib import Path

from anna_embed.config.base import described
from anna_embed.parsing import RecipeError, check_type, one_sentence, parse

MARGINS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


@dataclass
class Settings:
    """What is hidden, where.

    Args:
        pairs (`str`): Folder of the pairs; the vectors are in `.cache/vectors` beside it.
        least_queries (`int`): Tasks with fewer queries of several positives are left out.
        draws (`int`): Times that other positives are hidden.
    """

    pairs: str = field(default="artifacts/smollm2_135m/pairs", **described("Folder of the pairs."))
    model: str = field(default="sentence-transformers/all-MiniLM-L6-v2", **described("Folder or Hub id."))
    mirror: list[str] = field(default_factory=list, **described("Folders in Hub layout."))
    dtype: str = field(default="bfloat16", **described("Of the weights, as in the score stage's recipe."))
    depth: int = field(default=100, **described("Candidates of a query."))
    draws: int = field(default=5, **described("Times that other positives are hidden."))
    least_queries: int = field(default=20, **described("With several positives, for a task to count."))
    plot: str = field(default="", **described("A picture's file; none to leave it out."))

    def __post_init__(self):
        check_type("mirror", self.mirror, list[str])
        for key in ("depth", "draws", "least_queries"):
            if getattr(self, key) < 1:
                raise RecipeError(f"{key}: {getattr(self, key)} is not possible; write 1 or more.")


def retrieve(config: Settings, task: str, model, digest: str) -> dict | None:
    """
    What dense retrieval finds for the queries of a task that have several positives.

    Returns:
        `dict[str, hidden.Found]`: by the query's id; `None` where there are too few of them.
    """
    from anna_embed.schema import CORPUS, PAIRS
    from anna_embed.tables import read_split
    from anna_embed.teacher import dense
    from anna_embed.teacher.candidates import group_queries, with_places
    from anna_embed.teacher.corpus import Corpus
    from anna_embed.teacher.nearest import similarity
    from benchmarks.hidden import Found

    known = read_split("pairs", config.pairs, task, "train", PAIRS)
    queries = group_queries(known.select_columns(["query_id", "query", "positive_id"]).to_list())
    several = [query for query in queries if len(query["positive_ids"]) > 1]
    if len(several) < config.least_queries:
        return None
    corpus = Corpus(read_split("pairs", config.pairs, f"{task}-corpus", "train", CORPUS))
    cache = Path(config.pairs).parent / ".cache/vectors"
    passages, asked = (dense.encode_cached(cache, digest, model, texts, "", 64) for texts in (
        list(corpus.all_texts()), [query["query"] for query in several]))
    near, scores = dense.top_k(asked, passages, config.depth)
    return {query["query_id"]: Found(near[n], scores[n], dict(zip(
        query["places"], similarity(asked[n], passages[query["places"]]).tolist())))
        for n, query in enumerate(with_places(several, corpus))}


def measure(found: dict, draws: int) -> dict:
    """Both experiments, and the share of the hidden by margin."""
    from benchmarks import hidden as h

    def rows(rule, keep):
        made = []
        for query, one in found.items():
            for number in range(draws) if len(one.positives) > keep else ():
                made += h.rows_of(one, *h.split(list(one.positives), keep, f"{number}:{query}"), rule)
        return h.summary(made) if made else None

    kinds = {"absolute margin 0.05": (h.absolute, 0.05), "percentage 0.95": (h.percentage, 0.95)}
    one = {"naive top-k": h.naive(), **{name: kind(number) for name, (kind, number) in kinds.items()}}
    two = {"naive top-k": h.naive(), **{f"{name}, {of}": kind(number, of) for of in ("own", "min")
                                        for name, (kind, number) in kinds.items()}}
    return {"one_known": {name: rows(rule, 1) for name, rule in one.items()},
            "two_known": {name: rows(rule, 2) for name, rule in two.items()},
            "by_margin": {kind: {str(margin): rows(make(margin), 1) for margin in MARGINS} for kind, make in (
                ("absolute", h.absolute), ("percentage", lambda margin: h.percentage(1 - margin)))}}


def draw(facts: dict, file: str) -> None:
    """Hidden positives taken against how hard the negatives are, a panel for each task."""
    from matplotlib.figure import Figure

    figure = Figure((3.2 * len(facts), 3.2), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, len(facts), squeeze=False)[0], facts.items()):
        for kind, color, marker in (("absolute", "#D55E00", "s"), ("percentage", "#0072B2", "o")):
            points = found["by_margin"][kind].values()
            axes.plot([p["mean_score_of_the_hardest"] for p in points],
                      [100 * p["hidden_among_the_hardest"] for p in points], color=color, marker=marker, label=kind)
        naive = found["one_known"]["naive top-k"]
        axes.plot(naive["mean_score_of_the_hardest"], 100 * naive["hidden_among_the_hardest"], "kx", label="naive")
        axes.set(title=name, xlabel="mean cosine of the negatives", ylabel="hidden taken, %", ylim=(0, None))
    axes.legend()
    figure.savefig(file)


def main(config: Settings, given: dict) -> None:
    from anna_embed.fetch import go_offline
    from anna_embed.kinds import KINDS
    from anna_embed.located import locate
    from anna_embed.tables import tasks_of
    from anna_embed.teacher import dense
    from benchmarks import timing

    if config.mirror:
        go_offline()
    at, facts = locate("model", config.model, "model", config.mirror), {}
    model = dense.load(at.path, config.dtype)
    for name, task in tasks_of("pairs", config.pairs).items():
        found = retrieve(config, name, model, at.digest) if KINDS[task["kind"]].scored else None
        if found:
            facts[name] = {"queries": len(found), **measure(found, config.draws)}
            print(f"\n{name}: {len(found):,} queries with several positives", flush=True)
            for part in ("one_known", "two_known"):
                for rule, said in facts[name][part].items():
                    print(f"  {part}  {rule:28}{said}", flush=True)
    if not facts:
        raise RecipeError(f"pairs: no task of '{config.pairs}' has {config.least_queries} queries with several "
                          "positives; name others, or write a smaller least_queries.")
    if config.plot:
        draw(facts, config.plot)
    timing.report({"benchmark": "false_negatives", "given": given, "results": facts})


if __name__ == "__main__":
    with one_sentence():
        main(*parse(Settings))
