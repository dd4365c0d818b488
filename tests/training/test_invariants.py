"""The same loss and the same gradients on any number of processes and under any token budget; exact on resume."""

import math
import signal

import pytest
import torch
from small import triplet_rows
from tiny import KEYS, adapter_of, in_processes, train_one, trainer
from torch.nn import functional as F

from anna_embed.engine import count, in_caller_order, plan
from anna_embed.training.checkpoints import last_complete
from anna_embed.training.forecast import forecast
from anna_embed.training.losses import cosent, distillation, info_nce

STILL = {"arguments": {"learning_rate": 0.0, "max_grad_norm": 0.0}}  # every step meets the same adapter
SAVING = {"max_steps": 10, "save_strategy": "steps", "save_steps": 5}
ONE_ROW = {"token_budget": 10**9}  # faster, where rows are not the point


def relative(one: dict, two: dict) -> float:
    """The largest difference of a gradient in relation to that gradient's own size."""
    return max(((one[name] - two[name]).norm() / one[name].norm().clamp_min(1e-12)).item() for name in one)


def assert_same(one: dict, two: dict, loss: float, gradient: float) -> None:
    assert len(one["seen"]) == len(two["seen"]) > 0
    for (first, first_gradients), (second, second_gradients) in zip(one["seen"], two["seen"]):
        assert first == pytest.approx(second, rel=loss, abs=loss)
        assert relative(first_gradients, second_gradients) < gradient


@pytest.mark.parametrize("dropout", [0.1, 0.0])
@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_change_nothing(tiny_model, tmp_path, size, dropout):
    """What one GPU learns is what eight learn: all kinds, soft labels, masks, ragged groups, tails; with dropout in
    the same rows, without it in rows that the processes share evenly."""
    budget = {2: 280, 4: 180}[size]
    options = STILL | {"dropout": dropout, "keys": {"token_budget": budget}}
    made = trainer(tiny_model, tmp_path)
    rows = [len(plan(made.steps.batch(step)[1].tokens, budget, made.model.config)) for step in range(11)]
    assert min(rows) < size < max(rows)  # steps with fewer full rows than processes, and with more
    alone = train_one(tiny_model, tmp_path, options)
    together = in_processes(train_one, size, tmp_path, tiny_model, tmp_path, options)
    assert (alone["processes"], together["processes"]) == (1, size)
    assert len(alone["seen"]) == 3 + 4 * 2  # 14 questions in sixes, four tasks of 9 rows in fours
    assert_same(alone, together, 1e-6, 1e-5)
    norms = [[line["grad_norm"] for line in run["log"] if "grad_norm" in line] for run in (alone, together)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)  # what clipping goes by


@pytest.mark.parametrize("dropout", [0.1, 0.0])
def test_rows_depend_on_the_processes_without_dropout_only(tiny_model, tmp_path, monkeypatch, dropout):
    """Dropout draws by row: were a row another one on three GPUs, they would train another model than one does. And
    without it they would wait for each other for nothing."""
    alone = train_one(tiny_model, tmp_path, STILL | {"dropout": dropout})
    made = trainer(tiny_model, tmp_path, dropout=dropout, **STILL)
    monkeypatch.setattr(type(made.accelerator), "num_processes", 3)
    monkeypatch.setattr("anna_embed.training.trainer.shares", lambda sizes, processes: [list(range(len(sizes)))])
    made.train()
    assert (made.sizes == alone["sizes"]) is (dropout > 0)


def test_token_budget_changes_nothing(tiny_model, tmp_path):
    """Memory is a matter of hardware: with one text a row or all in one row the step is the same."""
    tiny, endless = (train_one(tiny_model, tmp_path, STILL | {"keys": {"token_budget": b}}) for b in (1, 10**9))
    assert_same(tiny, endless, 1e-5, 1e-5)


@pytest.mark.parametrize("kept", [100, 10**9])
def test_what_is_kept_changes_nothing(tiny_model, tmp_path, kept):
    """Activations that are kept save time; a row that were run with other dropout, or whose gradient were lost or
    counted twice, would be another training."""
    options = STILL | {"dropout": 0.1}
    twice, kept = (train_one(tiny_model, tmp_path, options | {"keys": {"kept_tokens": n}}) for n in (0, kept))
    assert_same(twice, kept, 0, 1e-6)


@pytest.mark.parametrize("dropout, tolerance", [(0.0, 1e-4), (0.1, 1e-5)])
def test_step_equals_plain_autograd(tiny_model, tmp_path, dropout, tolerance):
    """Gradient caching replays dropout exactly, or its gradients belong to other vectors than the loss does."""
    made = trainer(tiny_model, tmp_path, dropout=dropout, **STILL)
    made.train()
    for step, (loss, gradients) in enumerate(made.seen):
        made.state.global_step = step
        task, batch = made.steps.batch(step)
        made.model.zero_grad()
        expected = plain_loss(made, task, batch)
        expected.backward()
        assert loss == pytest.approx(expected.item(), rel=2e-6)
        plain = {name: p.grad for name, p in made.model.named_parameters() if p.requires_grad}
        assert relative(gradients, plain) < tolerance


def plain_loss(made, task, batch):
    """The step as one writes it down: with dropout the packed rows in one graph, without it each text on its own."""
    model, config = made.model, made.config
    if model.peft_config["default"].lora_dropout:
        rows = plan(batch.tokens, config.token_budget, model.config)
        vectors = in_caller_order([made.embed(model, row, number) for number, row in enumerate(rows)], rows)
    else:
        states = [model(input_ids=torch.tensor([t])).last_hidden_state[0, -1] for t in batch.tokens]
        vectors = F.normalize(torch.stack(states), dim=-1)
    query, passages = vectors[batch.query], vectors[batch.passages]
    if task == "graded":
        return cosent((query * vectors[batch.positive]).sum(1), batch.score, config.cosent_scale)
    similarity = query @ passages.T
    loss = info_nce(similarity, batch.target, batch.allowed, config.temperature)
    if batch.teacher is not None:
        own = similarity.gather(1, batch.group)
        loss = loss + distillation(own, batch.teacher, batch.present, config.temperature, config.teacher_temperature)
    return loss


def test_gradient_checkpointing_changes_nothing(tiny_model, tmp_path):
    """It is how 7B fits; it recomputes layers, and must replay their dropout."""
    arguments = STILL["arguments"] | {"max_steps": 4}
    plain, checkpointed = (
        train_one(tiny_model, tmp_path, {"dropout": 0.1, "arguments": arguments | {"gradient_checkpointing": switch}})
        for switch in (False, True))
    assert_same(plain, checkpointed, 1e-6, 1e-5)


def test_killed_and_resumed_is_bit_equal(tiny_model, tmp_path):
    """A node that dies costs time, not the experiment: ten steps are five, a kill in the seventh, and five more."""
    options = {"dropout": 0.1, "arguments": SAVING}
    whole = train_one(tiny_model, tmp_path / "whole", options)
    killed = trainer(tiny_model, tmp_path / "killed", **options)
    killed.kill_at = 6
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    (tmp_path / "killed" / "checkpoint-7").mkdir()  # what a kill in the midst of saving leaves behind
    checkpoint = last_complete(tmp_path / "killed")
    assert checkpoint.endswith("checkpoint-5")
    torch.manual_seed(12345)  # another process starts from other random numbers
    resumed = train_one(tiny_model, tmp_path / "killed", options, checkpoint)
    assert len(resumed["seen"]) == 5 and resumed["seen"][0][0] == whole["seen"][5][0]
    assert_bit_equal(whole["adapter"], resumed["adapter"])


def test_told_to_end_it_saves_and_goes_on_bit_equal(tiny_model, tmp_path):
    """Schedulers send SIGTERM before they kill: what was learnt since the last checkpoint must not be lost."""
    options = {"dropout": 0.1, "arguments": SAVING}
    whole = train_one(tiny_model, tmp_path / "whole", options)
    told = trainer(tiny_model, tmp_path / "told", **options)
    told.term_at, handler = 6, signal.getsignal(signal.SIGTERM)
    told.train()
    assert told.save_on_term.stopped and told.state.global_step == 7 and signal.getsignal(signal.SIGTERM) is handler
    checkpoint = last_complete(tmp_path / "told")
    assert checkpoint.endswith("checkpoint-7")
    assert_bit_equal(whole["adapter"], train_one(tiny_model, tmp_path / "told", options, checkpoint)["adapter"])


def assert_bit_equal(one, two):
    assert one.keys() == two.keys() and one
    for name in one:
        assert torch.equal(one[name], two[name]), name


@pytest.mark.slow
def test_resumed_on_two_processes_is_bit_equal(tiny_model, tmp_path):
    """As above with two processes; each restores its own state."""
    options = {"dropout": 0.1, "arguments": SAVING}
    whole = in_processes(train_one, 2, tmp_path, tiny_model, tmp_path / "whole", options)
    checkpoint = str(tmp_path / "whole" / "checkpoint-5")
    resumed = in_processes(train_one, 2, tmp_path, tiny_model, tmp_path / "again", options, checkpoint)
    assert whole["processes"] == resumed["processes"] == 2 and len(resumed["seen"]) == 5
    assert_bit_equal(whole["adapter"], resumed["adapter"])


def test_adapter_moves_and_base_does_not(tiny_model, tmp_path):
    """An adapter left out of the optimizer, or a base that is trained, both export to a model nobody asked for."""
    made = trainer(tiny_model, tmp_path)
    before, adapter = {n: p.detach().clone() for n, p in made.model.named_parameters()}, adapter_of(made)
    made.train()
    after = dict(made.model.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - adapter.keys())
    assert adapter and all(not torch.equal(before[name], after[name]) for name in adapter)
    assert after.keys() - adapter.keys() and all("lora_" in name for name in adapter)


def test_training_learns(tiny_model, tmp_path):
    """The end of all this: with the teacher and in-batch negatives the loss falls."""
    rows = {"questions": triplet_rows()["questions"]}
    made = trainer(tiny_model, tmp_path, rows=rows, keys=ONE_ROW | {"retrieval_batch_size": 14, "max_examples": 0},
                   arguments={"num_train_epochs": 25})
    made.train()
    assert made.seen[-1][0] < 0.5 * made.seen[0][0]


def test_bf16_autocast(tiny_model, tmp_path):
    """bf16 weights under autocast, as the recipes run: the adapter stays float32, the losses are near float32's."""
    exact = train_one(tiny_model, tmp_path, STILL | {"keys": ONE_ROW})
    bf16 = {"dtype": "bfloat16", "keys": ONE_ROW, "arguments": STILL["arguments"] | {"bf16": True}}
    rounded = train_one(tiny_model, tmp_path, bf16)
    assert {p.dtype for p in rounded["adapter"].values()} == {torch.float32}
    for (first, _), (second, gradients) in zip(exact["seen"], rounded["seen"]):
        assert second == pytest.approx(first, rel=0.1, abs=0.05)
        assert all(g.isfinite().all() for g in gradients.values())


def test_gradients_are_clipped(tiny_model, tmp_path):
    """Clipping sees the summed gradient, so that max_grad_norm means the same on any number of processes."""
    plain = {"optim": "sgd", "learning_rate": 1.0, "max_steps": 1, "lr_scheduler_type": "constant"}
    made = trainer(tiny_model, tmp_path, arguments=plain | {"max_grad_norm": 0.01})
    before = adapter_of(made)
    made.train()
    moved = math.sqrt(sum((p - before[n]).pow(2).sum().item() for n, p in adapter_of(made).items()))
    full = math.sqrt(sum(g.pow(2).sum().item() for g in made.seen[0][1].values()))
    logged = next(line["grad_norm"] for line in made.state.log_history if "grad_norm" in line)
    assert full > 0.1 and logged == pytest.approx(full, rel=1e-4) and moved == pytest.approx(0.01, rel=1e-3)


def test_what_a_log_line_says(tiny_model, tmp_path):
    """The lines are what users watch for hours, and what the card's curve is drawn from."""
    made = trainer(tiny_model, tmp_path, arguments={"logging_steps": 4})
    report = forecast(made)
    made.train()
    lines = [line for line in made.state.log_history if "loss" in line]
    assert len(lines) == 2  # 11 steps
    for line in lines:
        assert {"loss", "grad_norm", "learning_rate"} <= set(line)
        assert 0 < line["distinct_share"] < 1 and line["queries_per_second"] > 0 and line["tokens_per_second"] > 0
    encoded = [count(made.steps.batch(step)[1].tokens).distinct for step in range(8)]
    assert [line["distinct_tokens"] for line in lines] == [sum(encoded[:4]), sum(encoded)]
    parts = set().union(*lines)
    assert {"loss_hard", "loss_soft", "loss_cosent", "target_entropy"} <= parts
    final = made.state.log_history[-1]
    assert "train_loss" in final and "total_flos" not in final and "train_samples_per_second" not in final
    assert report["steps"] == report["steps_per_epoch"] == 11 and 0 < report["target_entropy"]["questions"] < 0.98
    assert report["distinct_tokens_per_step"] < report["tokens_per_step"] and report["rows_per_step"] > 1
    assert report["tokens_per_second"] > 0 and report["hours"] >= 0 and 0.1 < report["peak_gb"] < 20


def test_looking_ahead_changes_nothing(tiny_model, tmp_path):
    """`--dry_run` and the lines before the first step run a row; the adapter that is trained must not know."""
    made = [trainer(tiny_model, tmp_path, dropout=0.1, arguments={"max_steps": 3}) for _ in range(2)]
    forecast(made[0])
    for one in made:
        one.train()
    assert_bit_equal(*map(adapter_of, made))


def test_every_epoch_is_planned_anew(tiny_model, tmp_path):
    """The second epoch has the same rows in other batches, and its first step is not the first epoch's."""
    made = trainer(tiny_model, tmp_path, keys={"max_examples": 0})
    steps = range(made.steps.per_epoch)
    epochs = [[sorted(map(tuple, made.steps.batch(first + s)[1].tokens)) for s in steps] for first in (0, len(steps))]
    assert epochs[0] != epochs[1]
    assert {t for step in epochs[0] for t in step} == {t for step in epochs[1] for t in step}
    assert KEYS["max_length"] >= max(len(t) for step in epochs[0] for t in step)
