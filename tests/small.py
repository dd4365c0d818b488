"""A tiny random decoder with a real small tokenizer, and rows of real small text: all that fast tests need."""

import random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast


SENTENCES = """The harbour freezes in January and ships wait outside until the ice breaks.
A baker slides six loaves of rye bread into a stone oven before sunrise.
Tea can be grown in the warmer parts of the United States.
The first railway between the two towns opened in 1843.
Penguins keep their eggs warm on top of their feet.
Copper turns green when it meets rain and air for many years.
The goalkeeper saved a penalty in the last minute of the match.
Sunspots come and go in a cycle of about eleven years.
Most bridges have gaps in them, so that steel may grow in summer.
A violin has four strings, tuned in fifths.
The library lends books for three weeks and films for one.
Whales breathe air and must come up to the surface.
He repaired the clock with a hairpin and a drop of oil.
Rice is planted in fields that are flooded on purpose.
The lighthouse blinked twice, then stayed dark for nine seconds.
Glass is made of sand, soda and lime, melted at 1500 degrees.
Nobody had opened the letter, yet everybody knew what it said.
The river bends so sharply here that it nearly meets itself.
Bees tell each other where flowers are by dancing.
An orchestra tunes to the oboe, whose pitch is steady.
Old maps show an island where there is only water today.
The train to Porto leaves at 7:15 from platform 2.
Snow reflects light, which is why one needs dark glasses in spring.
She paints doors, only doors, in every town she visits.""".splitlines()


def small_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE with an end-of-text token, as the tokenizers of Llama 3, Qwen and SmolLM are."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    prompts = ["Instruct: Given a question, find the passage that answers it\nQuery: \nResponse: \n\n"] * 3
    tokenizer.train_from_iterator(SENTENCES + prompts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def save_tiny_model(folder) -> None:
    """A random Llama of two layers (32 dims) and its tokenizer, as `from_pretrained` reads them."""
    tokenizer = small_tokenizer()
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
                         eos_token_id=tokenizer.eos_token_id, bos_token_id=None, pad_token_id=None)
    torch.manual_seed(0)
    model = LlamaModel(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.normal_(0, 0.15)  # sharp attention: what is wrong with a mask or position shows
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def triplet(query: str, positive: str, negatives=(), *, siblings=(), scores=(), label=None, label_score=None) -> dict:
    """One row of the triplets artifact; a text is its own id, and the four teachers agree."""
    scores = [float(s) for s in scores]
    return {"query_id": query, "query": query, "positive_id": positive, "positive": positive,
            "negative_ids": list(negatives), "negatives": list(negatives), "sibling_positive_ids": list(siblings),
            "label": label, "label_score": label_score, "task": "task",
            **{f"teacher_{name}": scores for name in ("bm25", "dense", "reranker", "rrf")}}


TASKS = {
    "questions": {"kind": "retrieval", "instruction": "Given a question, find the passage that answers it"},
    "inference": {"kind": "nli", "instruction": "Retrieve sentences that follow from the given one"},
    "graded": {"kind": "sts", "instruction": "Retrieve sentences that mean the same"},
    "intents": {"kind": "classification", "instruction": "Given a request, find its intent"},
    "topics": {"kind": "clustering", "instruction": "Find the topic of the text"},
}


def triplet_rows(seed: int = 0) -> dict[str, list[dict]]:
    """Rows of every kind: ragged groups, shared passages, a query with two positives, graded pairs, long texts."""
    draw = random.Random(seed)
    questions = [s.split(",")[0].rstrip(".").lower() for s in SENTENCES]
    rows = {task: [] for task in TASKS}
    for n, (question, passage) in enumerate(zip(questions[:14], SENTENCES)):
        negatives = draw.sample([s for s in SENTENCES[:18] if s != passage], n % 4)
        rows["questions"].append(triplet(question, passage, negatives,
                                         scores=[draw.uniform(-2, 4) for _ in range(1 + len(negatives))]))
    for first, second in ((0, 1), (2, 3)):  # two positives of one query
        rows["questions"][second] |= {"query": questions[first], "query_id": questions[first]}
        rows["questions"][first]["sibling_positive_ids"] = [SENTENCES[second]]
        rows["questions"][second]["sibling_positive_ids"] = [SENTENCES[first]]
        for row in rows["questions"][first: second + 1]:
            kept = [n for n in row["negatives"] if n not in (SENTENCES[first], SENTENCES[second])]
            row |= {"negatives": kept, "negative_ids": kept}
            row |= {name: row[name][: 1 + len(kept)] for name in row if name.startswith("teacher_")}
    intents, topics = ("travel", "food", "music"), ("nature", "craft", "travel")
    for n in range(9):
        others = [SENTENCES[(n + k) % 9] for k in (1, 2)]
        rows["inference"].append(triplet(SENTENCES[n], questions[n + 1], others[1:] if n % 3 else [], label_score=1.0))
        rows["graded"].append(triplet(SENTENCES[n], questions[n * 5 % 9], label_score=round(draw.random(), 2)))
        rows["intents"].append(triplet(questions[n], intents[n % 3], [i for i in intents if i != intents[n % 3]],
                                       label=intents[n % 3]))
        rows["topics"].append(triplet(SENTENCES[n], SENTENCES[n + 9], others, label=topics[n % 3]))
    return rows
