"""Texts a second and memory of `anna_embed.load(...).encode`, beside the stock library's `encode` and FlagICLModel.

    python -m benchmarks.encode                                                             # BoolQ: no download
    python -m benchmarks.encode --texts 64 --repeats 2 --scaling 100                        # a minute or two
    python -m benchmarks.encode --recipe recipes/smollm2_135m/convert.yaml --task STSBenchmark --mirror m1 m2

All load the same folder in the same type of weights and take turns; a peer has the batch size that a short search
found fastest. Prompts are computed anew in each run of ours. FlagEmbedding, which on a CPU computes in float32 alone,
must be installed (see the README). The last line is all of it as JSON.
"""

import random
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

from anna_embed.config.base import described
from anna_embed.parsing import RecipeError, check_type, one_sentence, parse

SETTINGS = ("no_prompt", "instruction", "examples")
PEERS = ("stock", "FlagICLModel")


@dataclass
class Settings:
    """What is compared, on what.

    Args:
        texts (`int`): Of each setting. Without a prompt they are passages and queries in equal parts, else queries.
        example_max_length (`int`): Tokens of each side of an example; five of 36 are a prompt of about 400.
        scaling (`list[int]`): Numbers of queries for time and memory by the number of texts; none to leave it out.
    """

    settings: list[str] = field(default_factory=lambda: list(SETTINGS), **described(f"Of {', '.join(SETTINGS)}."))
    model: str = field(default="HuggingFaceTB/SmolLM2-135M-Instruct", **described("Base model, folder or Hub id."))
    recipe: str = field(default="recipes/quickstart/convert.yaml", **described("A convert recipe with the task."))
    task: str = field(default="BoolQ", **described("Of the recipe: its queries and positives are the texts."))
    mirror: list[str] = field(default_factory=lambda: ["artifacts/mirror"], **described("Folders in Hub layout."))
    dtype: str = field(default="bfloat16", **described("Of the weights."))
    peers: list[str] = field(default_factory=lambda: ["stock"], **described(f"Of {', '.join(PEERS)}."))
    texts: int = field(default=256, **described("Texts of each setting."))
    examples: int = field(default=5, **described("Few-shot examples."))
    example_max_length: int = field(default=36, **described("Tokens of each side of an example."))
    batch_size: int = field(default=32, **described("Of ours."))
    repeats: int = field(default=5, **described("Rounds of alternating runs."))
    scaling: list[int] = field(default_factory=lambda: [100, 1000, 10_000], **described("Numbers of queries."))

    def __post_init__(self):
        for key in ("settings", "peers", "mirror"):
            check_type(key, getattr(self, key), list[str])
        check_type("scaling", self.scaling, list[int])
        for key, known in (("settings", SETTINGS), ("peers", PEERS)):
            for name in getattr(self, key):
                if name not in known:
                    raise RecipeError(f"{key}: there is no '{name}'; name some of {', '.join(known)}.")
        if "FlagICLModel" in self.peers and find_spec("FlagEmbedding") is None:
            raise RecipeError("peers: FlagEmbedding is not installed; run `pip install --target DIR --no-deps "
                              "FlagEmbedding`, and this with PYTHONPATH=DIR.")
        if "FlagICLModel" in self.peers and self.dtype != "float32" and not torch.cuda.is_available():
            raise RecipeError(f"dtype: FlagICLModel has float32 weights on a CPU, whatever one says, and "
                              f"'{self.dtype}' would compare two types; give --dtype float32.")
        for key in ("texts", "examples", "example_max_length", "batch_size", "repeats"):
            if getattr(self, key) < (least := 2 if key == "texts" else 1):
                raise RecipeError(f"{key}: {getattr(self, key)} is not possible; write {least} or more.")


def material(config: Settings, number: int) -> tuple[list[str], list[str], dict[str, str]]:
    """Distinct queries and passages, `number` of each at most, and the prompt of each setting."""
    from anna_embed.prompts import fitted_prompt, query_prompt
    from anna_embed.tokens import load_tokenizer
    from benchmarks.encoders import LIMIT
    from benchmarks.workload import SEED, make

    shots = config.examples
    work = make("encode", config.recipe, config.mirror, config.task, number + shots, at_most=True, num_negatives=0)
    rows = random.Random(SEED).sample(work.rows, len(work.rows))  # a file may have its short texts first
    shown = [(row["query"], row["positive"]) for row in rows[:shots]]
    queries, passages = (list(dict.fromkeys(row[side] for row in rows[shots:])) for side in ("query", "positive"))
    instruction = work.task["instruction"]
    examples = fitted_prompt(load_tokenizer(locate_model(config), LIMIT), instruction, shown,
                             config.example_max_length, LIMIT)
    return queries, passages, dict(zip(SETTINGS, ("", query_prompt(instruction), examples)))


def locate_model(config: Settings) -> str:
    """The base model's folder."""
    from anna_embed.fetch import go_offline
    from anna_embed.located import locate

    if config.mirror:
        go_offline()
    return locate("model", config.model, "model", config.mirror).path


def measure(config: Settings, folder: str, models: dict, texts: list[str], setting: str, prompts: dict) -> dict:
    """All figures of one setting. With examples, ours with the instruction alone takes its turns, too."""
    from benchmarks import encoders, timing

    prompt, ours = prompts[setting], models["ours"]
    tokens = sum(len(ids) for ids in ours.tokenizer([prompt + text for text in texts])["input_ids"])
    facts = {"texts": len(texts), "tokens": tokens, "mean_tokens": timing.short(tokens / len(texts)),
             "prompt_tokens": len(ours.tokenizer(prompt, add_special_tokens=False)["input_ids"])}
    print(f"\n{setting}: {facts}", flush=True)
    sizes, searched, runs = {"ours": config.batch_size}, {}, {}
    for peer in config.peers:
        sizes[peer], searched[peer] = encoders.fastest_batch_size(models[peer], texts, prompt)
        print(f"  {peer}: batch size {sizes[peer]} of {searched[peer]} s", flush=True)
    for name, model in models.items():
        runs[name] = partial(timing.timed, encoders.encode, model, texts, prompt, sizes[name])
    if setting == "examples":
        runs["instruction_alone"] = partial(timing.timed, encoders.encode, ours, texts, prompts["instruction"],
                                            config.batch_size)
    vectors = encoders.encode(ours, texts, prompt, config.batch_size)
    alike = {peer: _likeness(vectors, encoders.encode(models[peer], texts, prompt, sizes[peer]))
             for peer in config.peers}
    seconds = timing.alternate(runs, config.repeats)
    facts |= {name: {"texts_per_second": timing.spread([len(texts) / taken for taken in all_of]),
                     "seconds": timing.spread(all_of)} for name, all_of in seconds.items()}
    if setting == "examples":
        facts["ours_takes_times_the_instruction"] = timing.spread(
            [a / b for a, b in zip(seconds["ours"], seconds["instruction_alone"])])
    for peer in config.peers:
        times = timing.spread([b / a for a, b in zip(seconds["ours"], seconds[peer])])
        facts[peer] |= {"ours_is_times_as_fast": times, "batch_size": sizes[peer], "searched": searched[peer],
                        **alike[peer]}
    for name, batch_size in sizes.items():
        _, peak = timing.in_fresh_process(run_once, name, folder, config, texts, prompt, batch_size)
        facts[name]["peak_gb"] = peak and timing.short(peak / 1e9)
    print(f"  {facts}", flush=True)
    return facts


def _likeness(ours, theirs) -> dict:
    """Of vectors of unit length."""
    return {"lowest_cosine": round(float((ours * theirs).sum(1).min()), 6),
            "largest_difference": float(f"{abs(ours - theirs).max():.4g}")}


def run_once(system: str, folder: str, config: Settings, texts: list[str], prompt: str, batch_size: int) -> float:
    """One run in a process of its own; its seconds, after a warm-up."""
    from benchmarks import encoders

    model = encoders.load(system, folder, config.dtype)
    encoders.encode(model, texts[:8], prompt, batch_size)
    started = time.perf_counter()
    encoders.encode(model, texts, prompt, batch_size)
    return time.perf_counter() - started


def by_number(config: Settings, folder: str, queries: list[str], prompt: str) -> dict:
    """Time and memory of ours for more and more texts."""
    from benchmarks import timing

    found = {}
    for number in config.scaling:
        texts = [queries[n % len(queries)] + " ?" * (n // len(queries)) for n in range(number)]
        seconds, peak = timing.in_fresh_process(run_once, "ours", folder, config, texts, prompt, config.batch_size)
        found[number] = {"milliseconds_per_text": timing.short(1000 * seconds / number),
                         "peak_gb": timing.short(peak / 1e9)}
        print(f"  {number:,} texts: {found[number]}", flush=True)
    return found


def main(config: Settings, given: dict) -> None:
    from benchmarks import encoders, timing

    path = locate_model(config)
    queries, passages, prompts = material(config, max(config.texts, *config.scaling, 0))
    half = config.texts // 2
    texts = {setting: queries[: config.texts] for setting in SETTINGS}
    texts["no_prompt"] = [*passages[:half], *queries[: config.texts - half]]

    from anna_embed.model.encode import lay_out_untrained

    with tempfile.TemporaryDirectory() as folder:
        lay_out_untrained(path, Path(folder))
        models = {system: encoders.load(system, folder, config.dtype) for system in ("ours", *config.peers)}
        facts = {setting: measure(config, folder, models, texts[setting], setting, prompts)
                 for setting in config.settings}
        print("\nby number of texts, with the instruction", flush=True)
        scaling = by_number(config, folder, queries, prompts["instruction"])
    timing.report({"benchmark": "encode", "given": given, "settings": facts, "by_number": scaling})


if __name__ == "__main__":
    with one_sentence():
        main(*parse(Settings))
