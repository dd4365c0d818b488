"""The guide: a frozen embedder's similarities over the whole batch as soft labels; and a second step of training."""

import json
import shutil

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from small import TASKS, triplet_rows
from tiny import KEYS, guide_of, in_processes, save_guide, train_one, trainer
from torch.nn import functional as F
from transformers import AutoModel

from anna_embed.config import TrainConfig
from anna_embed.parsing import RecipeError
from anna_embed.schema import TRIPLETS
from anna_embed.teacher.guide_vectors import Guide, texts_of, texts_of_steps
from anna_embed.training.batch import build
from anna_embed.training.guide import compare
from anna_embed.training.lora import LoraLinear, fuse_lora
from anna_embed.training.adapter import check_adapter, continued

STILL = {"arguments": {"learning_rate": 0.0, "max_grad_norm": 0.0}}


@pytest.fixture(scope="module")
def guide(tiny_model, tmp_path_factory):
    """What training is guided by."""
    return save_guide(tiny_model, tmp_path_factory.mktemp("guide"))


@pytest.mark.parametrize("task", ["questions", "inference", "intents", "topics"])
def test_cosines_are_those_of_the_bare_texts(guide, tokenizer, tmp_path, task):
    """The guide never learnt our prompts: under them it would teach similarities of instructions."""
    rows = triplet_rows()[task]
    batch = build(rows, TASKS[task], tokenizer, TrainConfig(**KEYS), "0")
    compare(batch, guide_of([guide], batch.texts, tmp_path))
    model = SentenceTransformer(guide, device="cpu")
    vectors = model.encode(batch.texts)
    torch.testing.assert_close(batch.guide, model.similarity(vectors, vectors), rtol=1e-3, atol=1e-3)  # float16
    for n, row in enumerate(rows):
        assert batch.texts[batch.query[n]] == row["query"]
        assert batch.texts[batch.positive[n]] == row["positive"]
    for n, text in enumerate(batch.texts):
        assert batch.compared[n].tolist() == [other != text for other in batch.texts]
    assert len(batch.texts) == len(batch.tokens)


def test_two_guides_are_averaged(guide, tiny_model, tokenizer, tmp_path):
    """Fused teachers: if one drowned the other, or the labels were not of the mean, nobody would see it."""
    other = save_guide(tiny_model, tmp_path / "other", "max")
    batch = build(triplet_rows()["questions"], TASKS["questions"], tokenizer, TrainConfig(**KEYS), "0")
    made = {}
    for name, paths in (("one", [guide]), ("other", [other]), ("both", [guide, other])):
        compare(batch, guide_of(paths, batch.texts, tmp_path))
        made[name] = batch.guide
    assert made["both"].dtype == torch.float32 and (made["one"] - made["other"]).abs().max() > 0.01
    torch.testing.assert_close(made["both"], (made["one"] + made["other"]) / 2, rtol=1e-5, atol=1e-6)


def test_no_text_is_embedded_twice(guide, tmp_path):
    """A second run, or a step after this one, would embed a corpus anew; and texts read to other lengths differ."""
    texts = ["Bees sleep at night.", "A longer text about the winter in the mountains."]
    first = guide_of([guide], texts, tmp_path)
    assert first.missing(texts) == 0 and first.missing([*texts, "A third.", "A third."]) == 1
    assert Guide(first.models, tmp_path / "vectors", 128, "float32").missing(texts) == 0
    assert Guide(first.models, tmp_path / "vectors", 4, "float32").missing(texts) == 2


def test_texts_are_those_that_a_batch_may_hold():
    """A text that was forgotten has no vector when its batch comes, hours later."""
    tables = [Dataset.from_list(rows, features=TRIPLETS) for rows in triplet_rows().values()]
    for most in (0, 1, 3):
        expected = {text for table in tables for row in table
                    for text in (row["query"], row["positive"], *row["negatives"][:most])}
        found = texts_of(tables, most)
        assert len(found) == len(expected) and set(found) == expected


def test_only_texts_of_the_planned_steps_are_embedded(tiny_model, tmp_path):
    """Every text of an epoch would be embedded for `max_steps` of a part of it; one too few stops the training."""
    # With weights below 1 each epoch draws other rows.
    weights = {"questions": 0.2, "topics": 0.3, "intents": 0.3, "inference": 0.3}
    steps = trainer(tiny_model, tmp_path, keys={"task_weights": weights}).steps
    for number in (1, 2, steps.per_epoch, 2 * steps.per_epoch + 1):
        expected = set()
        for step in range(number):
            epoch, here = divmod(step, steps.per_epoch)
            task, numbers = steps.of_epoch(epoch)[here]
            if task != "graded":
                for row in steps.rows[task].select(numbers):
                    expected |= {row["query"], row["positive"], *row["negatives"][: steps.config.num_negatives]}
                assert set(steps.build(step)[1].texts) <= expected
        found = texts_of_steps(steps, number)
        assert len(found) == len(expected) and set(found) == expected


@pytest.mark.parametrize("softening", [None, 3.0])
def test_loss_is_the_divergence_of_both_similarities(guide, tiny_model, tmp_path, softening):
    """The formula as one writes it down, row by row; graded pairs have people's judgements and no guide."""
    keys = {"guide": "given below", "guide_weight": 0.5, "guide_temperature": 0.2, "max_examples": 0,
            "guide_softening": softening}
    made = trainer(tiny_model, tmp_path, keys=keys, guide=guide, **STILL)
    made.train()
    lines = [line for line in made.state.log_history if "loss" in line]
    seen = set()
    for step, line in enumerate(lines):
        task, batch = made.steps.batch(step)
        if task == "graded":
            assert "loss_guide" not in line
            continue
        states = [made.model(input_ids=torch.tensor([t])).last_hidden_state[0, -1] for t in batch.tokens]
        vectors = F.normalize(torch.stack(states), dim=-1).detach()
        whole = line["loss_hard"] + line.get("loss_soft", 0)
        for name, softer in ({"loss_guide": 1} | ({"loss_guide_soft": softening} if softening else {})).items():
            total = 0.0
            for n, text in enumerate(batch.texts):
                others = [m for m, other in enumerate(batch.texts) if other != text]
                teacher = (batch.guide[n][others] / 0.2 / softer).softmax(0)
                student = ((vectors @ vectors[n])[others] / made.config.temperature / softer).softmax(0)
                total += (teacher * (teacher / student).log()).sum().item()
            assert line[name] == pytest.approx(total / len(batch.texts), rel=1e-3, abs=1e-4)
            whole += 0.5 * softer * line[name]
        assert ("loss_guide_soft" in line) == bool(softening)
        assert line["loss"] == pytest.approx(whole, rel=1e-3, abs=1e-3)
        seen.add(task)
    assert seen == set(TASKS) - {"graded"}


def test_processes_and_budget_change_nothing(guide, tiny_model, tmp_path):
    """With the guide, too, what one GPU learns is what two learn, in rows of any length."""
    options = STILL | {"guide": guide}
    runs = [train_one(tiny_model, tmp_path / "one", options | {"keys": {"token_budget": 10**9}}),
            in_processes(train_one, 2, tmp_path, tiny_model, tmp_path / "two", options)]  # share the embedding, too
    for (one, gradients), (other, others) in zip(runs[0]["seen"], runs[1]["seen"], strict=True):
        assert one == pytest.approx(other, rel=1e-5)
        for name, gradient in gradients.items():
            assert (gradient - others[name]).norm() < 1e-5 * gradient.norm().clamp_min(1e-6)


@pytest.mark.parametrize("key", ["guide_weight", "guide_temperature"])
def test_numbers_that_cannot_be(key):
    """Zero would divide by it, or train without what was asked for."""
    with pytest.raises(RecipeError, match=f"{key}: 0.0 .*positive number"):
        TrainConfig(**KEYS | {key: 0.0})
    with pytest.raises(RecipeError, match=f"{key}: 0.3 .*name a guide beside it"):
        TrainConfig(**KEYS | {key: 0.3})  # it would be without effect, and nobody would know
    with pytest.raises(RecipeError, match="second_guide: .*name a guide beside it"):
        TrainConfig(**KEYS | {"second_guide": "org/model"})
    with pytest.raises(RecipeError, match="guide_softening: 3.0 .*name a guide beside it"):
        TrainConfig(**KEYS | {"guide_softening": 3.0})
    with pytest.raises(RecipeError, match="guide_softening: 1.0 .*above 1"):  # the same term twice
        TrainConfig(**KEYS | {"guide": "org/model", "guide_softening": 1.0})


@pytest.fixture(scope="module")
def first_step(tiny_model, tmp_path_factory):
    """An adapter as the train stage leaves it."""
    folder = tmp_path_factory.mktemp("first")
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="FEATURE_EXTRACTION",
                      init_lora_weights=False)
    model = get_peft_model(AutoModel.from_pretrained(tiny_model, dtype="float32"), fuse_lora(lora))
    model.save_pretrained(str(folder), save_embedding_layers=False)
    manifest = {"stage": "train", "base_model": {"name": "org/tiny", "digest": "one"}, "training": {"steps": 9},
                "rows": {"a": {"train": 5}}, "tasks": {"a": {"kind": "sts", "licence": "CC0 1.0"}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder, model


def base(folder):
    return AutoModel.from_pretrained(folder, dtype="float32")


def test_second_step_begins_where_the_first_ended(first_step, tiny_model):
    """Fresh weights, or frozen ones, would throw the first step away without a word."""
    folder, first = first_step
    facts, tasks = check_adapter(str(folder), {"lora_r": 4}, "one")
    assert facts == {"steps": 9, "rows": {"a": 5}} and list(tasks) == ["a"]
    second, ids = continued(base(tiny_model), str(folder)), torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(second(input_ids=ids).last_hidden_state, first(input_ids=ids).last_hidden_state)
    trained = {name for name, p in second.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in first.named_parameters() if p.requires_grad} and trained
    assert any(isinstance(module, LoraLinear) for module in second.modules())
    assert not second.peft_config["default"].inference_mode


@pytest.mark.parametrize("given, digest, sentence", [
    ({"lora_r": 16}, "one", "lora_r: 16 is not possible with the adapter of .*, which has 4"),
    ({"lora_target_modules": ["q_proj"]}, "one", "lora_target_modules: .* is not possible beside adapter"),
    ({}, "two", r"adapter: .* was trained on another base model \(org/tiny"),
])
def test_adapters_that_do_not_fit(first_step, given, digest, sentence):
    """A rank that is quietly another, or an adapter on the wrong base, costs a night of training."""
    with pytest.raises(RecipeError, match=sentence):
        check_adapter(str(first_step[0]), given, digest)


def test_a_base_from_the_hub_cannot_be_compared(first_step):
    """The commit of the Hub's copy and the content of a mirror's are two names of one thing: no reason to refuse."""
    assert check_adapter(str(first_step[0]), {}, "hub:0123")[0]["steps"] == 9


def test_an_adapter_from_elsewhere_brings_its_licence(first_step, tmp_path):
    """If this fails, what restricts an adapter of other people is on no card of what was trained from it."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(first_step[0] / name, tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    facts, tasks = check_adapter(str(tmp_path), {}, "one")
    assert facts["licence"] == "cc-by-nc-4.0" and not tasks


def test_no_adapter_at_all(tiny_model):
    """The folder of a model instead of its adapter."""
    with pytest.raises(RecipeError, match="adapter: .* holds no adapter_config.json"):
        check_adapter(str(tiny_model), {}, "one")


def test_weights_of_other_names(first_step, tiny_model, tmp_path):
    """peft only warns, and training would begin anew."""
    folder = tmp_path / "renamed"
    shutil.copytree(first_step[0], folder)
    weights = load_file(folder / "adapter_model.safetensors")
    renamed = {name.replace("base_model.model.", "base_model.model.model."): w for name, w in weights.items()}
    save_file(renamed, folder / "adapter_model.safetensors")
    with pytest.raises(RecipeError, match="adapter: .* has weights of other names"):
        continued(base(tiny_model), str(folder))


@pytest.mark.parametrize("name, content, sentence", [
    ("adapter_config.json", b'{"r": ', "peft cannot read '.*adapter_config.json' .*; fetch the adapter again"),
    ("adapter_config.json", b"[]", "peft cannot read '.*adapter_config.json'"),
    ("adapter_config.json", b'{"peft_type": "NEW"}', "peft cannot read '.*adapter_config.json' ..NEW"),
    ("adapter_model.safetensors", b"", "the weights of '.*' are damaged .*; fetch it again"),
    ("adapter_model.safetensors", b"cut off" * 9, "the weights of '.*' are damaged"),
    ("adapter_model.bin", b"xx", "the weights of '.*' are damaged"),
    (None, b"", "'.*' holds no adapter_model.safetensors; fetch it again"),
])
def test_damaged_adapters(first_step, tiny_model, tmp_path, name, content, sentence):
    """A download that was cut short ends in a traceback, or is said to be an adapter of another base."""
    shutil.copytree(first_step[0], tmp_path / "damaged")
    if name != "adapter_config.json":
        (tmp_path / "damaged" / "adapter_model.safetensors").unlink()
    if name:
        (tmp_path / "damaged" / name).write_bytes(content)
    with pytest.raises(RecipeError, match=f"^adapter: {sentence}"):
        continued(base(tiny_model), str(tmp_path / "damaged"))


def test_an_adapter_of_no_numbers(first_step, tiny_model, tmp_path):
    """Training would go on from NaN, and blame the learning rate."""
    shutil.copytree(first_step[0], tmp_path / "spoilt")
    file = tmp_path / "spoilt" / "adapter_model.safetensors"
    save_file({name: weight * float("nan") for name, weight in load_file(file).items()}, file)
    with pytest.raises(RecipeError, match="adapter: .*spoilt' has weights that are no finite numbers .*lora_A"):
        continued(base(tiny_model), str(tmp_path / "spoilt"))


def test_why_an_adapter_does_not_fit(first_step, tiny_model, tmp_path):
    """torch says it on the second line, of which nothing was left."""
    shutil.copytree(first_step[0], tmp_path / "other")
    file = tmp_path / "other" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"r": 5}))
    with pytest.raises(RecipeError, match="adapter: .* does not fit the base '.*' .*size mismatch for .*; name the b"):
        continued(base(tiny_model), str(tmp_path / "other"))
