"""Texts a second and memory of `anna_embed.load(...).encode`, beside the stock library's `encode`.

    python -m benchmarks.encode                                                             # BoolQ: no download
    python -m benchmarks.encode --texts 64 --repeats 2 --scaling 100                        # a minute or two
    python -m benchmarks.encode --recipe recipes/smollm2_135m/convert.yaml --task STSBenchmark --mirror m1 m2

Both load the same folder in the same type of weights and take turns; the stock library has the batch size that a short
search found fastest. Prompts are computed anew in each run of ours. The last line is all of it as JSON.
"""

import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from anna_embed.config.base import described
from anna_embed.parsing import RecipeError, check_type, one_sentence, parse

SETTINGS = ("no_prompt", "instruction", "examples")
BATCH_SIZES = (16, 32, 64, 128, 8)  # tried until two in a row are slower than the best
LIMIT = 2048  # tokens of prompt and text


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
    texts: int = field(default=256, **described("Texts of each setting."))
    examples: int = field(default=5, **described("Few-shot examples."))
    example_max_length: int = field(default=36, **described("Tokens of each side of an example."))
    batch_size: int = field(default=32, **described("Of ours."))
    repeats: int = field(default=5, **described("Rounds of alternating runs."))
    scaling: list[int] = field(default_factory=lambda: [100, 1000, 10_000], **described("Numbers of queries."))

    def __post_init__(self):
        for key, kind in (("settings", list[str]), ("mirror", list[str]), ("scaling", list[int])):
            check_type(key, getattr(self, key), kind)
        for setting in self.settings:
            if setting not in SETTINGS:
                raise RecipeError(f"settings: there is no '{setting}'; name some of {', '.join(SETTINGS)}.")
        for key in ("texts", "examples", "example_max_length", "batch_size", "repeats"):
            if getattr(self, key) < (least := 2 if key == "texts" else 1):
                raise RecipeError(f"{key}: {getattr(self, key)} is not possible; write {least} or more.")


def material(config: Settings, number: int) -> tuple[list[str], list[str], dict[str, str]]:
    """Distinct queries and passages, `number` of each at most, and the prompt of each setting."""
    from anna_embed.prompts import fitted_prompt, query_prompt
    from anna_embed.tokens import load_tokenizer
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
    from anna_embed.artifacts import locate
    from anna_embed.fetch import go_offline

    if config.mirror:
        go_offline()
    return locate("model", config.model, "model", config.mirror).path


def load(system: str, folder: str, config: Settings):
    """Ours, or the stock library's model."""
    import sentence_transformers

    import anna_embed

    loader = anna_embed.load if system == "ours" else sentence_transformers.SentenceTransformer
    model = loader(folder, model_kwargs={"dtype": config.dtype})
    model.max_seq_length = LIMIT
    return model


def encode(model, texts: list[str], prompt: str, batch_size: int):
    """One call; ours does not know the prompt from a call before."""
    import anna_embed.model.load

    if isinstance(model, anna_embed.model.load.Embedder):
        model.prefix_states.kept.clear()
    return model.encode(texts, prompt=prompt, batch_size=batch_size)


def fastest_batch_size(model, texts: list[str], prompt: str) -> tuple[int, dict[int, float]]:
    """Of the stock library, on the first texts; and the seconds of each that was tried."""
    from benchmarks.timing import timed

    seconds, slower, texts = {}, 0, texts[: max(BATCH_SIZES)]
    encode(model, texts[:8], prompt, 8)
    for size in BATCH_SIZES:
        seconds[size] = timed(encode, model, texts, prompt, size)
        slower = 0 if seconds[size] == min(seconds.values()) else slower + 1
        if slower == 2:
            break
    return min(seconds, key=seconds.get), {size: round(taken, 2) for size, taken in seconds.items()}


def measure(config: Settings, folder: str, models: dict, texts: list[str], setting: str, prompts: dict) -> dict:
    """All figures of one setting. With examples, ours with the instruction alone takes its turns, too."""
    import numpy as np

    from benchmarks import timing

    prompt, ours, stock = prompts[setting], models["ours"], models["stock"]
    sizes = [len(ids) for ids in ours.tokenizer([prompt + text for text in texts])["input_ids"]]
    facts = {"texts": len(texts), "tokens": sum(sizes), "mean_tokens": timing.short(sum(sizes) / len(sizes)),
             "prompt_tokens": len(ours.tokenizer(prompt, add_special_tokens=False)["input_ids"])}
    print(f"\n{setting}: {facts}", flush=True)
    best, tried = fastest_batch_size(stock, texts, prompt)
    print(f"  stock library: batch size {best} of {tried} s", flush=True)
    runs = {"ours": lambda: timing.timed(encode, ours, texts, prompt, config.batch_size),
            "stock": lambda: timing.timed(encode, stock, texts, prompt, best)}
    if setting == "examples":
        alone = prompts["instruction"]
        runs["instruction_alone"] = lambda: timing.timed(encode, ours, texts, alone, config.batch_size)
    vectors = encode(ours, texts, prompt, config.batch_size), encode(stock, texts, prompt, best)
    seconds = timing.alternate(runs, config.repeats)
    times = {"ours_is_times_as_fast": timing.spread([b / a for a, b in zip(seconds["ours"], seconds["stock"])])}
    if setting == "examples":
        times["ours_takes_times_the_instruction"] = timing.spread(
            [a / b for a, b in zip(seconds["ours"], seconds["instruction_alone"])])
    facts |= {name: {"texts_per_second": timing.spread([len(texts) / taken for taken in all_of]),
                     "seconds": timing.spread(all_of)} for name, all_of in seconds.items()}
    facts |= times | {"stock_batch_size": best, "searched": tried,
                      "lowest_cosine": round(float((vectors[0] * vectors[1]).sum(1).min()), 6),
                      "largest_difference": timing.short(float(np.abs(vectors[0] - vectors[1]).max()))}
    for system, batch_size in (("ours", config.batch_size), ("stock", best)):
        _, peak = timing.in_fresh_process(run_once, system, folder, config, texts, prompt, batch_size)
        facts[system]["peak_gb"] = peak and timing.short(peak / 1e9)
    print(f"  {facts}", flush=True)
    return facts


def run_once(system: str, folder: str, config: Settings, texts: list[str], prompt: str, batch_size: int) -> float:
    """One run in a process of its own; its seconds, after a warm-up."""
    model = load(system, folder, config)
    encode(model, texts[:8], prompt, batch_size)
    started = time.perf_counter()
    encode(model, texts, prompt, batch_size)
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
    from benchmarks import timing

    path = locate_model(config)
    queries, passages, prompts = material(config, max(config.texts, *config.scaling, 0))
    half = config.texts // 2
    texts = {setting: queries[: config.texts] for setting in SETTINGS}
    texts["no_prompt"] = [*passages[:half], *queries[: config.texts - half]]

    from anna_embed.model.encode import lay_out_untrained

    with tempfile.TemporaryDirectory() as folder:
        lay_out_untrained(path, Path(folder))
        models = {system: load(system, folder, config) for system in ("ours", "stock")}
        facts = {setting: measure(config, folder, models, texts[setting], setting, prompts)
                 for setting in config.settings}
        print("\nby number of texts, with the instruction", flush=True)
        scaling = by_number(config, folder, queries, prompts["instruction"])
    timing.report({"benchmark": "encode", "given": given, "settings": facts, "by_number": scaling})


if __name__ == "__main__":
    with one_sentence():
        main(*parse(Settings))
