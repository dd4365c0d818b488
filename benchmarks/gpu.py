"""One GPU in one call: a training step at the shape of Mistral-7B, its kernels, packed against padded, and parity.

    python -m benchmarks.gpu --recipe recipes/smollm2_135m/convert.yaml --retrieval SQuAD --mirror m1 m2
    python -m benchmarks.gpu --layers 2 --hidden 64 --intermediate 96 --heads 4 --kv_heads 2 --queries 8

Weights are random and only the tokenizer is read, so nothing of 14 GB has to be there: speed and memory do not depend
on the weights' values. The second line runs anywhere, for a look at the output. The last line is all of it as JSON.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field

from anna_embed.config.base import described
from anna_embed.parsing import RecipeError, check_type, one_sentence, parse

KERNELS = ("blocks", "dense", "flex")  # ours; SDPA with a 4-D mask; FlexAttention with a block mask
TEXTS = 64  # for kernels, padding and parity


@dataclass
class Settings:
    """The model's shape, the batch, and what is compared."""

    tokenizer: str = field(default="HuggingFaceTB/SmolLM2-135M-Instruct", **described("Folder or Hub id."))
    recipe: str = field(default="recipes/quickstart/convert.yaml", **described("A convert recipe with the task."))
    retrieval: str = field(default="BoolQ", **described("Retrieval task of the recipe."))
    mirror: list[str] = field(default_factory=lambda: ["artifacts/mirror"], **described("Folders in Hub layout."))
    layers: int = field(default=32, **described("Of the model."))
    hidden: int = field(default=4096, **described("Dimensions of the hidden states."))
    intermediate: int = field(default=14336, **described("Dimensions within the MLP."))
    heads: int = field(default=32, **described("Attention heads."))
    kv_heads: int = field(default=8, **described("Heads of keys and values."))
    rank: int = field(default=64, **described("Of LoRA on all linear layers."))
    queries: int = field(default=512, **described("Global batch of the timed step."))
    negatives: int = field(default=7, **described("Hard negatives of each query."))
    examples: int = field(default=5, **described("Few-shot examples in front of each query."))
    max_length: int = field(default=512, **described("Tokens of a text, its instruction and EOS included."))
    token_budget: int = field(default=8192, **described("Of a packed row, and cells of a padded batch."))
    kernels: list[str] = field(default_factory=lambda: list(KERNELS), **described(f"Of {', '.join(KERNELS)}."))
    repeats: int = field(default=5, **described("Runs of a row; the step runs once, after its first row."))

    def __post_init__(self):
        check_type("kernels", self.kernels, list[str])
        for kernel in self.kernels:
            if kernel not in KERNELS:
                raise RecipeError(f"kernels: there is no '{kernel}'; name some of {', '.join(KERNELS)}.")
        for key in ("layers", "hidden", "heads", "kv_heads", "rank", "repeats", "token_budget"):
            if getattr(self, key) < 1:
                raise RecipeError(f"{key}: {getattr(self, key)} is not possible; write 1 or more.")


def random_model(config: Settings, vocabulary: int, device: str):
    """A Mistral of the given shape with random weights in bfloat16, made on the device."""
    import torch
    from transformers import AutoModel, MistralConfig

    shape = MistralConfig(vocab_size=vocabulary, hidden_size=config.hidden, intermediate_size=config.intermediate,
                          num_hidden_layers=config.layers, num_attention_heads=config.heads,
                          num_key_value_heads=config.kv_heads, max_position_embeddings=32768, sliding_window=None,
                          pad_token_id=None, bos_token_id=None, eos_token_id=0)
    with torch.device(device):
        return AutoModel.from_config(shape, dtype=torch.bfloat16)


@contextmanager
def kernel(model, name: str):
    """The model with one of the kernels, until the end of the block."""
    names = {"blocks": "blocks", "dense": "sdpa", "flex": "flex_attention"}
    before = model.config._attn_implementation
    model.get_base_model().set_attn_implementation(names[name])
    yield
    model.get_base_model().set_attn_implementation(before)


def row_inputs(row, config, device, name: str) -> dict:
    """What the model is called with for a packed row; FlexAttention takes the ancestor test itself."""
    import torch

    if name != "flex":
        return row.inputs(config, torch.bfloat16, torch.device(device))
    from torch.nn.attention.flex_attention import create_block_mask

    exits, size = row.exits.to(device), len(row.exits)
    mask = create_block_mask(lambda b, h, q, k: (k <= q) & (q < exits[k]), None, None, size, size, device=device)
    return {"input_ids": row.input_ids[None].to(device), "position_ids": row.position_ids[None].to(device),
            "attention_mask": mask}


def vectors_of(model, rows, device: str, name: str, backward: bool):
    """The vectors of all rows in the caller's order, on the CPU; with `backward` after a backward pass of each row."""
    import torch

    from anna_embed.engine import Row, in_caller_order, normalize

    found = []
    for row in rows:
        with torch.autocast(device, torch.bfloat16), torch.set_grad_enabled(backward):
            inputs = row_inputs(row, model.config, device, name) if isinstance(row, Row) else row.inputs(
                model.config, torch.bfloat16, torch.device(device))
            vectors = normalize(row.pool(model(**inputs, use_cache=False).last_hidden_state))
        if backward:
            vectors.sum().backward()
        found.append(vectors.detach().cpu())
    return in_caller_order(found, rows)


def compare_rows(config: Settings, model, tokens, device: str) -> dict:
    """Seconds of forward and backward, checkpointed, of the same texts packed with each kernel and padded; parity."""
    from statistics import median

    import torch

    from anna_embed.engine import count, plan_padded, plan_rows
    from benchmarks.timing import short, timed

    packed, sizes = plan_rows(tokens, config.token_budget), count(tokens)
    plans = {name: (packed, name) for name in config.kernels}
    plans["padded, sorted by length"] = plan_padded(tokens, config.token_budget), "dense"
    alone = plan_padded(tokens, 1)  # no text beside another: what all others are compared with
    with kernel(model, "dense"):
        right = vectors_of(model, alone, device, "dense", False)
    facts = {}
    for label, (rows, name) in plans.items():
        with kernel(model, name):
            seconds = [timed(vectors_of, model, rows, device, name, True) for _ in range(config.repeats + 1)][1:]
            cosines = torch.cosine_similarity(vectors_of(model, rows, device, name, False), right)
        facts[label] = {"distinct_tokens_per_second": short(sizes.distinct / median(seconds)),
                        "lowest_cosine_with_each_text_alone": round(cosines.min().item(), 6)}
        print(f"  {label}: {facts[label]}", flush=True)
    model.zero_grad(set_to_none=True)
    return {"texts": len(tokens), "tokens": sizes.tokens, "distinct_tokens": sizes.distinct} | facts


def operations_of(model, tokens: int) -> int:
    """Operations that these tokens need, attention left out: forward, the gradients of inputs, and those of LoRA."""
    weights = dict(model.named_parameters())
    adapter = sum(p.numel() for p in weights.values() if p.requires_grad)
    linear = sum(p.numel() for name, p in weights.items() if name.endswith("base_layer.weight"))
    return tokens * (4 * linear + 6 * adapter)


def main(config: Settings, given: dict) -> None:
    import torch

    from anna_embed.engine import count
    from anna_embed.fetch import go_offline
    from anna_embed.located import locate
    from anna_embed.tokens import load_tokenizer
    from benchmarks import timing
    from benchmarks.trainers import ours
    from benchmarks.workload import make

    if config.mirror:
        go_offline()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rate = timing.matrix_rate(device=device, products=((8192, 8192, 8192),) if device == "cuda" else timing.PRODUCTS)
    path = locate("tokenizer", config.tokenizer, "model", config.mirror).path
    work = make("retrieval", config.recipe, config.mirror, config.retrieval, config.queries,
                num_negatives=config.negatives, max_examples=config.examples, max_length=config.max_length,
                token_budget=config.token_budget)
    model = random_model(config, len(load_tokenizer(path, config.max_length)), device)
    step = ours(path, work, config.rank, model=model, gradient_checkpointing=True)
    model, batch = step.trainer.model, step.trainer.steps.batch(0)[1]
    sizes = count(batch.tokens)
    print(f"{device}: {rate / 1e12:.3g} TFLOP/s in bfloat16; {sizes.tokens} tokens in a step, {sizes.distinct} of "
          "them distinct", flush=True)

    # ---- rows: kernels, padding, parity -----------------------------------------------------------------------------
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.01)  # an adapter that does nothing would prove nothing
    model.train()
    model.gradient_checkpointing_enable()
    texts = batch.tokens[: TEXTS // 2] + batch.tokens[-TEXTS // 2:]  # queries, that share examples, and passages
    rows = compare_rows(config, model, texts, device)

    # ---- the step ---------------------------------------------------------------------------------------------------
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = step()
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else timing.peak_bytes()
    facts = {"queries": config.queries, "tokens": sizes.tokens, "distinct_tokens": sizes.distinct,
             "seconds": timing.short(seconds), "distinct_tokens_per_second": timing.short(sizes.distinct / seconds),
             "queries_per_second": timing.short(config.queries / seconds), "peak_gb": timing.short(peak / 1e9),
             "model_flops_utilisation": round(operations_of(model, sizes.distinct) / seconds / rate, 4)}
    print(f"  step: {facts}", flush=True)
    timing.report({"benchmark": "gpu", "given": given, "matrix_tflops": timing.short(rate / 1e12), "rows": rows,
                   "step": facts})


if __name__ == "__main__":
    with one_sentence():
        main(*parse(Settings))
