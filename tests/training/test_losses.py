"""The losses against numbers worked out by hand and against sentence-transformers' own."""

import math

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import (
    CoSENTLoss,
    DistillKLDivLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import pairwise_cos_sim
from torch.nn import functional as F

from anna_embed.training.losses import cosent, distillation, info_nce, target_entropy

SIMILARITY = torch.tensor([[0.9, 0.1, 0.3], [0.2, 0.8, 0.4], [0.5, 0.6, 0.7]])
ALL = torch.ones(3, 3, dtype=torch.bool)


def leaves(*shape, count):
    """Vectors of any length, as sentence-transformers' losses take them, and the same of length one."""
    torch.manual_seed(0)
    raw = [torch.randn(*shape, requires_grad=True) for _ in range(count)]
    return raw, [F.normalize(r, dim=-1) for r in raw]


def assert_same_gradients(ours, theirs, raw):
    for mine, other in zip(torch.autograd.grad(ours, raw), torch.autograd.grad(theirs, raw)):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


def test_info_nce_by_hand():
    """A wrong softmax axis or a sum for a mean would change the learning rate every recipe was tuned for."""
    expected = -sum(
        math.log(math.exp(row[i] / 0.1) / sum(math.exp(s / 0.1) for s in row))
        for i, row in enumerate(SIMILARITY.tolist())
    ) / 3
    assert info_nce(SIMILARITY, torch.arange(3), ALL, 0.1).item() == pytest.approx(expected, rel=1e-6)


def test_info_nce_leaves_out_what_is_masked():
    """A false negative that is masked must neither repel nor get a gradient."""
    allowed = ALL.clone()
    allowed[0, 2] = allowed[2, 1] = False
    similarity = SIMILARITY.clone().requires_grad_()
    rows = [[0.9, 0.1], [0.2, 0.8, 0.4], [0.5, 0.7]]
    right = [0.9, 0.8, 0.7]
    expected = -sum(math.log(math.exp(r) / sum(math.exp(s) for s in row)) for r, row in zip(right, rows)) / 3
    loss = info_nce(similarity, torch.arange(3), allowed, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert similarity.grad[0, 2] == similarity.grad[2, 1] == 0


def test_query_without_negatives_adds_nothing():
    """A row whose negatives were all dropped by mining must not turn the loss into NaN."""
    allowed = torch.eye(3, dtype=torch.bool)
    similarity = SIMILARITY.clone().requires_grad_()
    loss = info_nce(similarity, torch.arange(3), allowed, 0.02)
    loss.backward()
    assert loss.item() == 0 and similarity.grad.abs().max() == 0


def test_info_nce_equals_multiple_negatives_ranking_loss():
    """Users who come from sentence-transformers get the loss they know, gradients included."""
    raw, (query, positive, negative) = leaves(5, 8, count=3)
    theirs = MultipleNegativesRankingLoss(None, scale=50.0).compute_loss_from_embeddings(raw, None)
    passages = torch.cat([positive, negative])
    ours = info_nce(query @ passages.T, torch.arange(5), torch.ones(5, 10, dtype=torch.bool), 0.02)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert_same_gradients(ours, theirs, raw)


def test_distillation_by_hand():
    """KL and cross-entropy have the same gradient, but only KL is 0 when the student is right: the log shows it."""
    teacher, student = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.5, 0.4, 0.1]])
    p = [math.exp(t / 2) for t in (2, 0, -1)]
    p = [x / sum(p) for x in p]
    q = [math.exp(s / 0.1) for s in (0.5, 0.4, 0.1)]
    q = [x / sum(q) for x in q]
    expected = sum(a * math.log(a / b) for a, b in zip(p, q))
    present = torch.ones(1, 3, dtype=torch.bool)
    assert distillation(student, teacher, present, 0.1, 2.0).item() == pytest.approx(expected, rel=1e-5)
    assert distillation(teacher * 0.05, teacher, present, 0.1, 2.0).item() == pytest.approx(0, abs=1e-6)


def test_distillation_equals_distill_kl_div_loss():
    """The same numbers as sentence-transformers' loss, but for its factor of the temperature's square."""
    raw, (query, *others) = leaves(4, 8, count=4)
    teacher = torch.randn(4, 3)
    oracle = DistillKLDivLoss(None, similarity_fct=pairwise_cos_sim, student_temperature=0.05, teacher_temperature=0.7)
    theirs = oracle.compute_loss_from_embeddings(raw, teacher) / 0.05**2
    student = torch.stack([(query * o).sum(1) for o in others], 1)
    ours = distillation(student, teacher, torch.ones(4, 3, dtype=torch.bool), 0.05, 0.7)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert_same_gradients(ours, theirs, raw)


def test_ragged_groups_equal_groups_cut_to_size():
    """What stands in the empty slots of a ragged group must not matter, and gradients stay finite."""
    present = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    teacher = torch.tensor([[2.0, 1.0, 0.0], [1.0, 3.0, 99.0], [5.0, 99.0, -99.0]])
    student = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.4, 1.0], [0.3, 1.0, 1.0]]).requires_grad_()
    loss = distillation(student, teacher, present, 0.02, 1.0)
    loss.backward()
    parts = [distillation(student[i:i + 1, :n], teacher[i:i + 1, :n], present[i:i + 1, :n], 0.02, 1.0).item()
             for i, n in enumerate((3, 2, 1))]
    assert loss.item() == pytest.approx(sum(parts) / 3, rel=1e-6)
    assert parts[2] == 0  # a lone positive teaches nothing
    assert student.grad.isfinite().all() and (student.grad[~present] == 0).all()


def test_distillation_survives_a_certain_teacher():
    """Logits as far apart as a reranker's at a low temperature: targets of exactly 0 must not give 0 * inf."""
    student = torch.tensor([[0.9, -0.9, 0.1]]).requires_grad_()
    loss = distillation(student, torch.tensor([[500.0, -500.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool), 0.02, 0.1)
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()


def test_target_entropy_says_when_soft_labels_are_uniform():
    """RRF scores at temperature 1 are uniform to three digits: the run's warning rests on this number."""
    present = torch.ones(1, 8, dtype=torch.bool)
    rrf = torch.tensor([[3 / 61, *(3 / (60 + rank) for rank in range(5, 12))]])
    assert target_entropy(rrf, present, 1.0) > 0.999
    assert target_entropy(rrf, present, 0.001) < 0.5
    two = torch.tensor([[True, True, False], [True, False, False]])
    scores = torch.tensor([[1.0, 0.0, 99.0], [1.0, 99.0, 99.0]])
    p = 1 / (1 + math.exp(-1))
    expected = -(p * math.log(p) + (1 - p) * math.log(1 - p)) / math.log(2)
    assert target_entropy(scores, two, 1.0).item() == pytest.approx(expected, rel=1e-5)
    assert target_entropy(scores[1:], two[1:], 1.0).isnan()


def test_cosent_by_hand():
    """Only pairs in the wrong order, or too close, cost anything; the sign decides whether training helps or ruins."""
    cosines, labels = torch.tensor([0.9, 0.2, 0.5]), torch.tensor([1.0, 0.0, 0.5])
    expected = math.log(1 + math.exp(5 * (0.2 - 0.9)) + math.exp(5 * (0.5 - 0.9)) + math.exp(5 * (0.2 - 0.5)))
    assert cosent(cosines, labels, 5.0).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("labels", [[0.1, 0.9, 0.9, 0.5, 0.0], [0.3, 0.3, 0.3, 0.3, 0.3]])
def test_cosent_equals_sentence_transformers(labels):
    """Ties between labels, and a batch in which all are equal, are as in the reference."""
    (raw, (left, right)), labels = leaves(5, 8, count=2), torch.tensor(labels)
    theirs = CoSENTLoss(None, scale=20.0).compute_loss_from_embeddings(raw, labels)
    ours = cosent((left * right).sum(1), labels, 20.0)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5, abs=1e-6)
    assert_same_gradients(ours, theirs, raw)
