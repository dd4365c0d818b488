"""What is refused before the first step, each in one sentence that says what to do."""

import logging
import math

import pytest
from small import SENTENCES, TASKS, triplet, triplet_rows
from tiny import trainer
from transformers import AutoModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel
from trl import ModelConfig

from anna_embed.config import TrainConfig
from anna_embed.parsing import RecipeError
from anna_embed.training.adapter import with_adapter
from anna_embed.training.check import check_model
from anna_embed.training.inputs import parents_of
from anna_embed.training.lora import LoraLinear


@pytest.mark.parametrize("arguments, sentence", [
    ({"save_total_limit": 1}, "save_total_limit: 1 is not possible; .* write 2 or more"),
    ({"gradient_accumulation_steps": 8}, "gradient_accumulation_steps: 8 is not possible; .*retrieval_batch_size"),
    ({"per_device_train_batch_size": 4}, "per_device_train_batch_size: 4 .*retrieval_batch_size"),
    ({"fp16": True}, "fp16: True .*bf16"),
    ({"save_only_model": True}, "save_only_model: True .*leave it out"),
    ({"auto_find_batch_size": True}, "auto_find_batch_size: True .*token_budget"),
    ({"neftune_noise_alpha": 5.0}, "neftune_noise_alpha: 5.0 .*leave it out"),
    ({"label_smoothing_factor": 0.1}, "label_smoothing_factor: 0.1 .*leave it out"),
    ({"max_steps": 0}, "max_steps: 0 with num_train_epochs: .* is no training"),
    ({"max_steps": -1, "num_train_epochs": 0}, "num_train_epochs: 0 is no training"),
    ({"max_steps": 1, "warmup_steps": 0.1}, "warmup_steps: 0.1 makes the only step one of warm-up"),
    ({"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_type: cosine_with_min_lr is not possible .*min_lr"),
    ({"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"foo": 1}}, "'foo': 1. .*unexpected keyword"),
    ({"learning_rate": -1.0}, "learning_rate: -1 and .* .Invalid learning rate"),
    ({"learning_rate": math.nan}, "learning_rate: nan is not possible; write a finite number"),
    ({"num_train_epochs": math.inf, "max_steps": -1}, "num_train_epochs: inf is not possible; write a finite number"),
    ({"warmup_steps": math.inf}, "warmup_steps: inf is not possible; write a finite number"),
    ({"adam_beta1": 1.5}, "optim: adamw_.* cannot be made .*adam_ .Invalid beta parameter"),
    ({"adam_epsilon": -1.0}, "optim: adamw_.* cannot be made .*adam_ .Invalid epsilon"),
    ({"optim_args": "foo"}, "optim: .* cannot be made with optim_args: foo and"),
    ({"optim": "grokadamw"}, "optim: grokadamw cannot be made .*install grokadamw"),
    ({"report_to": "foo"}, "report_to: foo is not possible .foo is not supported.*; install what is missing"),
    ({"push_to_hub": True}, "push_to_hub: True .*recipes.publish"),
    ({"resume_from_checkpoint": "x"}, "resume_from_checkpoint: 'x' .*leave it out"),
    ({"data_seed": 3}, "data_seed: 3 .*seed orders the rows"),
    ({"torch_compile": True}, "torch_compile: True .*leave it out"),
    ({"optim": "lomo"}, "optim: lomo does not fit"),
    ({"optim": "schedule_free_adamw"}, "optim: schedule_free_adamw does not fit"),
    ({"save_strategy": "best", "metric_for_best_model": "mean"}, "save_strategy: best needs scores"),
    ({"eval_on_start": True}, "eval_on_start: true needs held-out rows"),
    ({"lr_scheduler_type": "greedy", "eval_strategy": "steps", "eval_steps": 1},
     "lr_scheduler_type: greedy takes a rising score for a bad one; .*mode: max"),
    ({"accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 3}}}, "gradient_accumulation_steps: 3"),
])
def test_settings_that_would_be_ignored(tiny_model, tmp_path, arguments, sentence):
    """Each would change the result, or publish half a model, without a word."""
    with pytest.raises(RecipeError, match=sentence):
        trainer(tiny_model, tmp_path, arguments=arguments)


def test_precision_is_the_recipes(tiny_model, tmp_path, monkeypatch):
    """accelerate's file says what hardware there is: a type it brings along would change the result, and no key."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    trainer(tiny_model, tmp_path, arguments={"bf16": True})
    with pytest.raises(RecipeError, match="mixed_precision: bf16 .*bf16: false.* write mixed_precision: 'no'"):
        trainer(tiny_model, tmp_path)


@pytest.mark.parametrize("stated, sentence", [
    ({"use_peft": False}, "use_peft: False is not possible; what is trained is an adapter"),
    ({"lora_task_type": "CAUSAL_LM"}, "lora_task_type: 'CAUSAL_LM' .*leave it out"),
    ({"model_revision": "v1"}, "model_revision: 'v1' .*org/name@revision"),
    ({"lora_alpha": 0}, "lora_alpha: 0 is not possible, as nothing would be learnt; write a positive number"),
    ({"lora_dropout": 1.0}, "lora_dropout: 1.0 is not possible, .*; write 0 or more, and less than 1"),
    ({"lora_dropout": math.nan}, "lora_dropout: nan is not possible, .*; write 0 or more"),
    ({"load_in_4bit": True}, "load_in_4bit: True .*not quantised"),
    ({"load_in_8bit": True}, "load_in_8bit: True .*not quantised"),
    ({"output_dir": "mine"}, "output_dir: 'mine' .*artifacts"),
    ({"hub_token": "hf_secret"}, "hub_token: a token is not possible; .*HF_TOKEN"),
])
def test_keys_of_trl_that_are_not_followed(stated, sentence):
    """The manifest would say that a key holds which nothing reads, or of an adapter that it was trained."""
    with pytest.raises(RecipeError, match=sentence):
        parents_of(TrainConfig(artifacts="a"), {"model_name_or_path": "org/name", **stated})


def test_negatives_of_a_row():
    """-1 would leave out the last negative of each row, not take all."""
    with pytest.raises(RecipeError, match="num_negatives: -1 is not possible; write 0 or more"):
        TrainConfig(artifacts="a", num_negatives=-1)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers(tiny_model, tmp_path, score):
    """One NaN among a million scores would turn every weight into NaN hours later."""
    rows = triplet_rows()["questions"]
    rows[9]["teacher_reranker"] = [1.0, score]
    sentence = r"triplets: query '.*' of 'questions' .*teacher_reranker .*finite.* mine again"
    with pytest.raises(RecipeError, match=sentence):
        trainer(tiny_model, tmp_path, rows={"questions": rows})
    trainer(tiny_model, tmp_path, rows={"questions": rows}, keys={"teacher": "dense"})  # not asked, so not in the way
    trainer(tiny_model, tmp_path, rows={"questions": rows}, keys={"soft_label_weight": 0.0})


def test_scores_that_are_missing(tiny_model, tmp_path):
    """Own triplets without a teacher: the sentence names the key that trains without one."""
    rows = [triplet("why", "because", ["never"])]
    with pytest.raises(RecipeError, match="has 0 scores in teacher_reranker for 2 passages; .*soft_label_weight: 0"):
        trainer(tiny_model, tmp_path, rows={"questions": rows})


def test_graded_pairs_without_a_score(tiny_model, tmp_path):
    """CoSENT would pass over them in silence."""
    with pytest.raises(RecipeError, match="row 0 of 'graded' has the label_score None"):
        trainer(tiny_model, tmp_path, rows={"graded": [triplet("a", "b")]})


def test_a_task_without_rows(tiny_model, tmp_path):
    """It would be a step without texts."""
    with pytest.raises(RecipeError, match="the task 'graded' has no rows"):
        trainer(tiny_model, tmp_path, rows={"graded": []})


def test_an_instruction_longer_than_the_limit(tiny_model, tmp_path):
    """Every text would be cut to nothing and all vectors would be the same."""
    with pytest.raises(RecipeError, match="max_length: 16 leaves no room for a text after the instruction of 'quest"):
        trainer(tiny_model, tmp_path, keys={"max_length": 16})


def test_uniform_soft_labels_are_warned_about(tiny_model, tmp_path, caplog):
    """RRF at temperature 1 teaches nothing, and no loss curve shows it."""
    rrf = [3 / 61, 3 / 65, 3 / 66, 3 / 67]
    rows = [triplet(SENTENCES[n], SENTENCES[n + 1], SENTENCES[n + 2: n + 5], scores=rrf) for n in range(8)]
    with caplog.at_level(logging.WARNING):
        made = trainer(tiny_model, tmp_path, rows={"questions": rows})
    assert made.entropies["questions"] > 0.999
    assert "The soft labels of 'questions' are almost uniform" in caplog.text and "teacher_temperature" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        made = trainer(tiny_model, tmp_path, rows={"questions": rows}, keys={"teacher_temperature": 0.001})
    assert made.entropies["questions"] < 0.6 and "uniform" not in caplog.text


def test_entropy_is_over_all_rows_and_the_negatives_in_use(tiny_model, tmp_path, monkeypatch):
    """Read in blocks, with ragged groups; rows without negatives have no soft labels."""
    rows = triplet_rows()["questions"]
    whole = trainer(tiny_model, tmp_path, rows={"questions": rows}).entropies["questions"]
    monkeypatch.setattr("anna_embed.training.check.BLOCK", 3)
    assert trainer(tiny_model, tmp_path, rows={"questions": rows}).entropies["questions"] == pytest.approx(whole)
    kept = [s for s in (row["teacher_reranker"][:2] for row in rows) if len(s) == 2]
    by_hand = [-sum(p * math.log(p) for p in (x, 1 - x)) / math.log(2)
               for x in (1 / (1 + math.exp(b - a)) for a, b in kept)]
    one = trainer(tiny_model, tmp_path, rows={"questions": rows}, keys={"num_negatives": 1}).entropies["questions"]
    assert one == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-4)
    none = trainer(tiny_model, tmp_path, rows={"questions": rows}, keys={"num_negatives": 0})
    assert math.isnan(none.entropies["questions"])
    none.train()  # positives and in-batch negatives are enough
    assert not any("target_entropy" in line for line in none.state.log_history)


def test_a_loss_that_is_no_number_stops_training(tiny_model, tmp_path):
    """The library would log the average of the losses before it, and go on."""
    made = trainer(tiny_model, tmp_path, rows={"questions": triplet_rows()["questions"]})
    made.model.get_input_embeddings().weight.data.fill_(math.nan)
    with pytest.raises(RecipeError, match=r"learning_rate: 0.01 led to a loss of nan in step 1 \(task 'questions'\)"):
        made.train()


def test_every_kind_has_rows():
    """The tests of the trainer would prove little if a kind were missing from the sample."""
    assert {task["kind"] for task in TASKS.values()} == {"retrieval", "nli", "sts", "classification", "clustering"}
    assert all(len(rows) > 8 for rows in triplet_rows().values())


def test_half_precision_of_the_other_kind(tiny_model, tmp_path):
    """Its small gradients vanish, and nobody scales the loss."""
    with pytest.raises(RecipeError, match="dtype: float16 is not possible.* write dtype: bfloat16"):
        trainer(tiny_model, tmp_path, dtype="float16")


def test_weights_beside_the_adapter_are_float32(tiny_model, tmp_path):
    """In bfloat16 most steps are lost to rounding: an embedding table that is trained too hardly moves."""
    made = trainer(tiny_model, tmp_path)
    check_model(made.model, 100)
    made.model.base_model.model.embed_tokens.weight.requires_grad_(True)
    check_model(made.model, 100)
    with pytest.raises(RecipeError, match="lora_modules_to_save: '.*embed_tokens.weight' would be trained in b"):
        check_model(made.model.bfloat16(), 100)


def test_texts_longer_than_a_table_of_positions():
    """If this fails, GPT-2 stops at the first long text, hours after the start, with an index error."""
    model = GPT2Model(GPT2Config(n_positions=128, n_embd=8, n_layer=1, n_head=1, vocab_size=20))
    check_model(model, 128)
    with pytest.raises(RecipeError, match="prompt_max_length: the model reads 128 tokens, and texts may have 320"):
        check_model(model, 320)


def test_texts_longer_than_rotary_positions_that_depend_on_each_other():
    """If this fails, a row's vectors depend on what it is packed with, and the exported model has others."""
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}
    model = LlamaModel(LlamaConfig(max_position_embeddings=128, rope_parameters=rope, hidden_size=8, vocab_size=20,
                                   intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
    check_model(model, 128)
    with pytest.raises(RecipeError, match="prompt_max_length: texts may have 320 tokens, and of more than 128"):
        check_model(model, 320)


@pytest.mark.parametrize("named, number", [(["q_proj"], 2), (["q_proj", "v_proj"], 4), (["all-linear"], 14)])
def test_modules_by_name(tiny_model, named, number):
    """If this fails, a list of one module, which trl makes a string of, is said to be in no model."""
    made, *_ = with_adapter(AutoModel.from_pretrained(tiny_model), {}, {}, ModelConfig(lora_target_modules=named))
    assert sum(isinstance(module, LoraLinear) for module in made.modules()) == number


def test_no_room_for_examples():
    """If this fails, `max_length: 2048` alone trains without a single example, and nobody is told."""
    for keys in ({}, {"max_examples": 0, "eval_examples": 2}):
        with pytest.raises(RecipeError, match="prompt_max_length: 2048 is not possible; max_length .2048. of it"):
            TrainConfig(artifacts="unused", max_length=2048, **keys)
    TrainConfig(artifacts="unused", max_length=2048, max_examples=0)


@pytest.mark.parametrize("key, value", [("example_max_length", 0), ("cosent_scale", 0.0), ("cosent_scale", -20.0),
                                        ("temperature", math.inf), ("temperature", math.nan),
                                        ("teacher_temperature", math.inf), ("soft_label_weight", math.inf),
                                        ("guide_weight", math.inf), ("guide_temperature", math.nan)])
def test_keys_that_teach_nothing_or_the_opposite(key, value):
    """One sentence before training, not an adapter that is worse than its base."""
    with pytest.raises(RecipeError, match=f"{key}: {value} is not possible; write"):
        TrainConfig(artifacts="unused", **{key: value})
