"""The benchmarks at toy size: the same work on both sides, figures that add up, the real script from end to end."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from small import SENTENCES, save_tiny_model

from anna_embed.engine import count
from anna_embed.fetch import go_offline
from anna_embed.parsing import RecipeError
from anna_embed.tokens import load_tokenizer
from benchmarks import counting, encode, one_step, timing, trainers, workload

ROOT = Path(__file__).parents[1]
KEYS = {"max_length": 64, "token_budget": 256, "prompt_max_length": 512}


@pytest.fixture(autouse=True)
def offline(online_again):
    """As with a mirror; sentence-transformers would ask the Hub about the model for its card."""
    go_offline()


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    """A mirror with a tiny model, and a recipe with real small tasks."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "mirror/models/toy/tiny").mkdir(parents=True)
    save_tiny_model(folder / "mirror/models/toy/tiny")
    rows = [{"query": s.split(",")[0].rstrip(".").lower(), "positive": s} for s in SENTENCES]
    rows[1]["query"] = rows[0]["query"]  # a query with two positives: neither is a negative of it
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    tasks = [{"name": "questions", "kind": "retrieval", "instruction": "Given a question, find the passage",
              "path": str(folder / "questions.jsonl"), "columns": {"query": "query", "positive": "positive"}},
             {"name": "nli", "kind": "nli", "instruction": "Retrieve similar text.",
              "path": str(ROOT / "recipes/quickstart/data/nli.train.jsonl"),
              "columns": {"premise": "premise", "hypothesis": "hypothesis", "label": "label"}}]
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"tasks": tasks}), encoding="utf-8")
    return folder


def work_of(toy, task, queries=8, **keys):
    return workload.make(task, str(toy / "recipe.yaml"), [str(toy / "mirror")], task, queries, **{**KEYS, **keys})


# ---- the same work on both sides ------------------------------------------------------------------------------------
def test_peers_get_the_very_texts_that_ours_encodes(toy):
    """A peer that got shorter texts, or fewer examples, would be compared on other work."""
    path = str(toy / "mirror/models/toy/tiny")
    step = trainers.ours(path, work_of(toy, "questions", num_negatives=3, max_examples=2), 4)
    batch, tokenizer = step.trainer.steps.batch(0)[1], step.trainer.processing_class
    queries, groups = workload.as_strings(batch, tokenizer)
    assert len(queries) == 8 and {len(group) for group in groups} == {4}
    assert all(query.count("\nResponse: ") == 2 for query in queries), "training draws 0 to 2, the benchmark always 2"
    again = tokenizer(queries + [p for group in groups for p in group])["input_ids"]
    assert again == [batch.tokens[i] for i in [*batch.query, *batch.passages[batch.group].flatten()]]


@pytest.mark.parametrize("task, negatives, dtype, loss, cosine", [
    ("nli", 0, "float32", 1e-5, 1 - 1e-5), ("nli", 0, "bfloat16", 0.05, 0.98),
    pytest.param("questions", 3, "bfloat16", 0.05, 0.98, marks=pytest.mark.slow)])  # ours masks repeated negatives
def test_peer_computes_our_loss_and_gradient(toy, task, negatives, dtype, loss, cosine):
    """A ratio of speeds means nothing if the two steps do not do the same."""
    path = str(toy / "mirror/models/toy/tiny")
    work = work_of(toy, task, num_negatives=negatives, max_examples=2)
    our = trainers.ours(path, work, 4, dtype)
    strings = workload.as_strings(our.trainer.steps.batch(0)[1], our.trainer.processing_class)
    peer = trainers.sentence_transformers(path, 64, 512, strings, 4, dtype)
    peer.use({"mini_batch_size": 4})
    assert our() > 0 and peer() > 0
    assert our.clock.loss == pytest.approx(peer.clock.loss, rel=loss)
    assert torch.cosine_similarity(our.clock.gradient.double(), peer.clock.gradient.double(), dim=0) > cosine
    for step in (our, peer):
        assert {p.dtype for p in step.trainer.model.parameters() if p.requires_grad} == {torch.float32}
        assert {p.dtype for p in step.trainer.model.parameters() if not p.requires_grad} == {getattr(torch, dtype)}


def test_hard_negatives_are_no_positives_and_fill_the_group(toy):
    """A positive among the negatives, or a ragged group, which no column of the peer could hold."""
    work = work_of(toy, "questions", num_negatives=7, max_examples=0)
    twice = [row for row in work.rows if len(row["sibling_positive_ids"])]
    for row in work.rows:
        right = {row["positive_id"], *row["sibling_positive_ids"]}
        assert len(set(row["negative_ids"])) == 7 and not right & set(row["negative_ids"])
    assert len({row["query_id"] for row in work.rows}) == 8 and len(twice) <= 1


def test_too_few_queries_are_refused(toy):
    """A batch that is silently smaller than its name."""
    with pytest.raises(RecipeError, match="1000 queries are asked for, but 'nli' has"):
        work_of(toy, "nli", 1000, num_negatives=0, max_examples=0)
    assert len(work_of(toy, "nli", 1000, at_most=True, num_negatives=0, max_examples=0).rows) < 1000


# ---- figures --------------------------------------------------------------------------------------------------------
def test_search_stops_after_two_slower_and_keeps_the_best():
    """The peer would be timed with another mini-batch than its fastest."""
    seconds, used = {2: 5.0, 4: 3.0, 8: 4.0, 16: 4.5, 32: 1.0}, []

    class Fake:
        candidates = [[{"size": n} for n in seconds]]
        use = staticmethod(used.append)

        def __call__(self):
            return seconds[used[-1]["size"]]

    best, tried = one_step.fastest(Fake())
    assert best == {"size": 4} and tried == {"size 2": 5.0, "size 4": 3.0, "size 8": 4.0, "size 16": 4.5}


def test_systems_take_turns():
    """One system would always run on the warmer, slower machine."""
    order = []
    seconds = timing.alternate({name: lambda name=name: order.append(name) or len(order) for name in "ab"}, 3)
    assert order == list("abbaab") and seconds == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_operations_are_those_of_the_matrix_products():
    """The share of the machine's matrix rate would be a number about nothing."""
    embedding, low = torch.nn.Embedding(10, 4), torch.zeros(6, 3)
    weight = torch.randn(3, 4, requires_grad=True)

    def step():
        product = embedding(torch.arange(6)) @ weight.T  # 2 * 6 * 4 * 3, and backward twice that
        product.sum().backward()
        low.addmm_(torch.randn(6, 2), torch.randn(2, 3))  # 2 * 6 * 2 * 3

    assert counting.count(step, embedding) == {"operations": 3 * 144 + 72, "positions": 6}
    shares = counting.where_time_goes(step)["kinds"]
    assert sum(shares.values()) == pytest.approx(1, abs=0.01) and shares["matrix products"] > 0


def test_positions_are_what_is_encoded(toy):
    """Without gradients once, with gradients once; the last row only once."""
    step = trainers.ours(str(toy / "mirror/models/toy/tiny"), work_of(toy, "nli", num_negatives=0, max_examples=0), 4)
    distinct = count(step.trainer.steps.batch(0)[1].tokens).distinct
    assert distinct < counting.count(step, step.trainer.model)["positions"] < 2.5 * distinct


def hold(size):
    return len(bytearray(os.urandom(1)) * size)


def vanish(_):
    os.kill(os.getpid(), 9)


@pytest.mark.slow
def test_peak_memory_is_the_childs_own():
    """The parent's memory would be counted, and a process without memory would be waited for without end."""
    ours = bytearray(b"1") * 600_000_000
    size, small = timing.in_fresh_process(hold, 1)
    _, large = timing.in_fresh_process(hold, 300_000_000)
    assert size == 1 and len(ours) == 600_000_000 and 2.8e8 < large - small < 3.5e8
    started = time.time()
    assert timing.in_fresh_process(vanish, 0) == (None, None) and time.time() - started < 300


# ---- the scripts ----------------------------------------------------------------------------------------------------
def run(module, *arguments):
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], cwd=ROOT, text=True,
                          capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_train_step_from_end_to_end(toy):
    """`python -m benchmarks.train_step` would fail after an hour, or leave out a figure that README.md promises."""
    facts = run("train_step", "--recipe", f"{toy}/recipe.yaml", "--mirror", f"{toy}/mirror", "--model", "toy/tiny",
                "--retrieval", "questions", "--symmetric", "nli", "--queries", "4", "--pairs", "8", "--negatives", "3",
                "--examples", "2", "--max_length", "64", "--token_budget", "256", "--repeats", "2",
                "--memory_factor", "2", "--settings", "retrieval", "symmetric")
    assert set(facts["settings"]) == {"retrieval", "symmetric"}
    for name, setting in facts["settings"].items():
        ours, peer = setting["systems"]["ours"], setting["systems"]["sentence-transformers"]
        assert setting["distinct_tokens"] < setting["tokens"] <= peer["positions"] / 2
        assert ours["queries_per_second"]["median"] > 0 and peer["ours_is_times_as_fast"]["median"] > 0
        assert peer["mini_batch"] and peer["cosine_of_gradients"] > 0.98
        assert len(ours["peak_gb"]) == 2 and all(gb > 0.1 for gb in [*ours["peak_gb"].values(),
                                                                     *peer["peak_gb"].values()])
        assert (setting["mean_query_tokens"] > 60) == (name != "retrieval")
    assert facts["time"]["kinds"]["matrix products"] > 0 and facts["machine"]["threads"] == 1


@pytest.mark.slow
def test_encode_from_end_to_end(toy):
    """`python -m benchmarks.encode` would fail after an hour, or compare other strings than ours encodes."""
    facts = run("encode", "--recipe", f"{toy}/recipe.yaml", "--mirror", f"{toy}/mirror", "--model", "toy/tiny",
                "--task", "questions", "--texts", "6", "--repeats", "2", "--examples", "2", "--dtype", "float32",
                "--scaling", "4")
    assert list(facts["settings"]) == ["no_prompt", "instruction", "examples"]
    assert facts["by_number"]["4"]["peak_gb"] > 0
    for setting in facts["settings"].values():
        assert setting["stock"]["lowest_cosine"] > 0.9999 and setting["stock"]["batch_size"] >= 8
        assert setting["stock"]["ours_is_times_as_fast"]["median"] > 0 and setting["ours"]["peak_gb"] > 0


@pytest.mark.slow
def test_gpu_script_on_any_machine(toy):
    """Ten minutes of a borrowed GPU would be lost to a typing error."""
    facts = run("gpu", "--recipe", f"{toy}/recipe.yaml", "--mirror", f"{toy}/mirror", "--tokenizer", "toy/tiny",
                "--retrieval", "questions", "--layers", "2", "--hidden", "32", "--intermediate", "48", "--heads", "4",
                "--kv_heads", "2", "--rank", "4", "--queries", "8", "--negatives", "3", "--examples", "2",
                "--max_length", "64", "--token_budget", "256", "--kernels", "blocks", "dense", "--repeats", "1")
    assert {"blocks", "dense", "padded, sorted by length"} < set(facts["rows"])
    assert all(facts["rows"][name]["lowest_cosine_with_each_text_alone"] > 0.99 for name in ("blocks", "dense"))
    assert facts["step"]["distinct_tokens"] < facts["step"]["tokens"] and facts["step"]["seconds"] > 0


def test_a_peer_that_is_not_installed_is_named():
    """A traceback instead of how to install it."""
    from benchmarks.train_step import Settings

    with pytest.raises(RecipeError, match="there is no 'nobody'; name some of sentence-transformers, FlagEmbedding"):
        Settings(peers=["nobody"])
    with pytest.raises(RecipeError, match="settings: there is no 'all'"):
        Settings(settings=["all"])
    with pytest.raises(RecipeError, match="dtype: there is no 'int8'; write bfloat16 or float32"):
        Settings(dtype="int8")
    with pytest.raises(RecipeError, match="peers: there is no 'vllm'; name some of stock, FlagICLModel"):
        encode.Settings(peers=["vllm"])


def test_tokenizer_of_the_peer_ends_with_eos(toy):
    """The peer would pool another token than ours."""
    path = str(toy / "mirror/models/toy/tiny")
    peer = trainers.sentence_transformers(path, 64, 512, (["a b"], [["c d"]]), 4)
    ids = peer.trainer.model.preprocess(["a b"])["input_ids"][0].tolist()
    tokenizer = load_tokenizer(path, 512)
    assert ids == tokenizer("a b")["input_ids"] and ids[-1] == tokenizer.eos_token_id
