"""Queries a second and memory of a training step, beside sentence-transformers and FlagEmbedding.

    python -m benchmarks.train_step                                              # BoolQ and sample pairs: no download
    python -m benchmarks.train_step --queries 8 --pairs 16 --negatives 3 --repeats 2 --max_length 128    # minutes

Every system trains the same global batch by its own trainer, in turns, the peers with the mini-batch that a short
search found fastest. The last line is all of it as JSON. README.md says what is measured, and how.
"""

from dataclasses import dataclass, field, replace
from importlib.util import find_spec

from anna_embed.config.base import described
from anna_embed.parsing import RecipeError, check_type, one_sentence, parse

SETTINGS = ("retrieval", "retrieval_examples", "symmetric")
PROFILED = 8  # queries in the step whose time is broken down; a profile of more takes long to sum up


@dataclass
class Settings:
    """What is compared, on what.

    Args:
        recipe (`str`): A convert recipe; `retrieval` and `symmetric` name tasks of it.
        peers (`list[str]`): `FlagEmbedding` is no requirement of this repository: README.md says how to add it.
        search_queries, search_negatives (`int`): The search for the mini-batch is shorter for as few of both.
        memory_factor (`int`): Memory is measured at the batch and at so many times the batch; 0 for no such runs.
    """

    settings: list[str] = field(default_factory=lambda: list(SETTINGS), **described(f"Of {', '.join(SETTINGS)}."))
    peers: list[str] = field(default_factory=lambda: ["sentence-transformers"], **described("Who is beside us."))
    model: str = field(default="HuggingFaceTB/SmolLM2-135M-Instruct", **described("Base model, folder or Hub id."))
    recipe: str = field(default="recipes/quickstart/convert.yaml", **described("A convert recipe with the tasks."))
    retrieval: str = field(default="BoolQ", **described("Retrieval task of the recipe."))
    symmetric: str = field(default="sample-nli", **described("NLI task of the recipe."))
    mirror: list[str] = field(default_factory=lambda: ["artifacts/mirror"], **described("Folders in Hub layout."))
    dtype: str = field(default="bfloat16", **described("Of the base: bfloat16, with autocast, or float32."))
    queries: int = field(default=64, **described("Global batch of the retrieval settings."))
    negatives: int = field(default=7, **described("Hard negatives of each query."))
    search_queries: int = field(default=16, **described("As many in the search for the peers' mini-batch."))
    search_negatives: int = field(default=1, **described("Negatives of each of those."))
    pairs: int = field(default=128, **described("Global batch of the symmetric setting."))
    examples: int = field(default=5, **described("Few-shot examples in front of each query."))
    example_max_length: int = field(default=64, **described("Tokens of each side of an example."))
    max_length: int = field(default=512, **described("Tokens of a text, its instruction and EOS included."))
    token_budget: int = field(default=1024, **described("Of our rows."))
    kept_tokens: int = field(default=2048, **described("Tokens whose activations ours keeps between the passes."))
    rank: int = field(default=16, **described("Of LoRA on all linear layers."))
    repeats: int = field(default=5, **described("Rounds of alternating runs."))
    memory_factor: int = field(default=8, **described("Memory at the batch and at so many times it; 0 for none."))

    def __post_init__(self):
        from benchmarks.trainers import PEERS

        for key in ("settings", "peers", "mirror"):
            check_type(key, getattr(self, key), list[str])
        for key, known in (("settings", SETTINGS), ("peers", PEERS)):
            for value in getattr(self, key):
                if value not in known:
                    raise RecipeError(f"{key}: there is no '{value}'; name some of {', '.join(known)}.")
        if self.dtype not in ("bfloat16", "float32"):
            raise RecipeError(f"dtype: there is no '{self.dtype}'; write bfloat16 or float32.")
        if "FlagEmbedding" in self.peers and find_spec("FlagEmbedding") is None:
            raise RecipeError("peers: FlagEmbedding is not installed; run `pip install --target DIR --no-deps "
                              "FlagEmbedding`, and this with PYTHONPATH=DIR.")
        for key, least in (("queries", 4), ("pairs", 4), ("search_queries", 4), ("repeats", 1), ("memory_factor", 0),
                           ("negatives", 0)):
            if getattr(self, key) < least:
                raise RecipeError(f"{key}: {getattr(self, key)} is not possible; write {least} or more.")


def workload(config: Settings, setting: str, factor: int = 1):
    """The batch of a setting, or one of so many times as many queries, or as many as the task has."""
    from benchmarks.workload import make

    symmetric = setting == "symmetric"
    return make(setting, config.recipe, config.mirror, config.symmetric if symmetric else config.retrieval,
                factor * (config.pairs if symmetric else config.queries), at_most=factor > 1,
                num_negatives=0 if symmetric else config.negatives, token_budget=config.token_budget,
                kept_tokens=config.kept_tokens, max_examples=0 if setting == "retrieval" else config.examples,
                max_length=config.max_length, example_max_length=config.example_max_length)


def measure(config: Settings, setting: str, path: str, rate: float) -> dict:
    """All figures of one setting."""
    import torch

    from anna_embed.engine import count
    from benchmarks import one_step, timing, trainers
    from benchmarks.workload import as_strings

    work = workload(config, setting)
    limits, adapter = (work.config.max_length, work.config.prompt_max_length), (config.rank, config.dtype)
    trainer = trainers.ours(path, work, *adapter).trainer
    batch = trainer.steps.batch(0, last=True)[1]
    strings = as_strings(batch, trainer.processing_class)
    sizes = [len(tokens) for tokens in batch.tokens]
    repeated = sum(sizes[i] for i in [*batch.query.tolist(), *batch.passages[batch.group].flatten().tolist()])
    facts = {"task": work.rows[0]["task"], "queries": len(strings[0]), "passages_per_query": len(strings[1][0]),
             "tokens": repeated, "distinct_tokens": count(batch.tokens).distinct,
             "mean_query_tokens": timing.short(sum(sizes[i] for i in batch.query.tolist()) / len(strings[0]))}
    print(f"\n{setting}: {facts}", flush=True)

    # ---- the peers' mini-batches, on fewer texts --------------------------------------------------------------------
    steps, chosen, tried = {"ours": one_step.Alone(trainers.ours, path, work, *adapter)}, {}, {}
    searched = None
    for peer in config.peers:
        build = trainers.PEERS[peer]
        fewer = [group[:1 + config.search_negatives] for group in strings[1][:config.search_queries]]
        searched = build(path, *limits, (strings[0][:len(fewer)], fewer), *adapter)
        chosen[peer], tried[peer] = one_step.fastest(searched)
        print(f"  {peer}: {chosen[peer]} of {tried[peer]} s", flush=True)
        steps[peer] = one_step.Alone(peer_step, peer, path, *limits, strings, *adapter, chosen[peer])
    del trainer, searched

    # ---- one counted run each, which warms up; then in turns, each in its own process -------------------------------
    counted = {name: step.ask("count") for name, step in steps.items()}
    seconds = timing.alternate(steps, config.repeats)
    systems = facts["systems"] = {}
    for name, step in steps.items():
        medians = timing.spread(seconds[name])
        systems[name] = {
            "queries_per_second": timing.spread([facts["queries"] / s for s in seconds[name]]),
            "seconds": medians, "positions": counted[name]["positions"], "operations": counted[name]["operations"],
            "share_of_matrix_rate": round(counted[name]["operations"] / medians["median"] / rate, 3),
            "processor_seconds_of_last": timing.short(step.clock["busy"]), "loss": step.clock["loss"]}
        if name != "ours":
            systems[name] |= {
                "mini_batch": chosen[name], "searched": tried[name],
                "ours_is_times_as_fast": timing.spread([b / a for a, b in zip(seconds["ours"], seconds[name])]),
                "cosine_of_gradients": round(torch.cosine_similarity(
                    *(torch.from_numpy(one.clock["gradient"]) for one in (steps["ours"], step)), dim=0).item(), 5)}
        print(f"  {name}: {systems[name]}", flush=True)
    del step, steps  # which ends their processes

    # ---- memory, each in a process of its own -----------------------------------------------------------------------
    if config.memory_factor:
        systems["ours"]["peak_gb"] = {}
        for factor in sorted({1, config.memory_factor}):
            size, peak = timing.in_fresh_process(run_ours, config, setting, path, factor)
            label = f"{size or factor * facts['queries']} queries"
            systems["ours"]["peak_gb"][label] = peak and timing.short(peak / 1e9)
            print(f"  memory of ours: {systems['ours']['peak_gb']} GB", flush=True)
        for peer in config.peers:
            _, peak = timing.in_fresh_process(run_peer, peer, path, *limits, strings, *adapter, chosen[peer])
            systems[peer]["peak_gb"] = {f"{facts['queries']} queries": peak and timing.short(peak / 1e9)}
            print(f"  memory of {peer}: {systems[peer]['peak_gb']} GB", flush=True)
    return facts


def run_ours(config: Settings, setting: str, path: str, factor: int) -> int:
    """One step, for its memory; returns the number of its queries."""
    from benchmarks.trainers import ours

    work = workload(config, setting, factor)
    ours(path, work, config.rank, config.dtype)()
    return len(work.rows)


def run_peer(*arguments) -> None:
    """One step, for its memory."""
    peer_step(*arguments)()


def peer_step(peer: str, path: str, max_length: int, longest: int, strings: tuple, rank: int, dtype: str,
              mini_batch: dict):
    """A peer's step with the mini-batch that is best."""
    from benchmarks.trainers import PEERS

    step = PEERS[peer](path, max_length, longest, strings, rank, dtype)
    step.use(mini_batch)
    return step


def main(config: Settings, given: dict) -> None:
    from anna_embed.fetch import go_offline
    from anna_embed.located import locate
    from benchmarks import counting, timing
    from benchmarks.trainers import ours

    if config.mirror:
        go_offline()
    path = locate("model", config.model, "model", config.mirror).path
    rate = timing.matrix_rate(config.dtype)
    print(f"matrix products in {config.dtype}: {rate / 1e9:.0f} GFLOP/s", flush=True)
    facts = {setting: measure(config, setting, path, rate) for setting in config.settings}
    step = ours(path, workload(replace(config, queries=PROFILED, pairs=PROFILED), config.settings[0]), config.rank,
                config.dtype)
    step()
    profile = counting.where_time_goes(step)
    print(f"\nwhere the time of our step goes ({config.settings[0]}): {profile}")
    timing.report({"benchmark": "train_step", "given": given, "matrix_gflops": timing.short(rate / 1e9),
                   "settings": facts, "time": profile})


if __name__ == "__main__":
    with one_sentence():
        main(*parse(Settings))
