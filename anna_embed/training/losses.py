"""Losses as pure functions on tensors.

The hard term is InfoNCE over the distinct passages of the whole global batch; the soft term compares the student with
the teacher over the query's own group (report section 4.1; the readings are argued in the design notes), or with a
guide over the whole batch.
"""

import torch
from torch.nn import functional as F


def info_nce(similarity: torch.Tensor, positive: torch.Tensor, allowed: torch.Tensor,
             temperature: float) -> torch.Tensor:
    """Mean cross-entropy of each query's positive against the passages it may be compared with.

    Args:
        similarity (`torch.Tensor`): (queries, passages) cosines; each distinct passage stands once.
        positive (`torch.Tensor`): (queries,) column of each query's own positive.
        allowed (`torch.Tensor`): (queries, passages) bool, True for the positive and every negative.
        temperature (`float`): Divides the cosines.

    Returns:
        `torch.Tensor`: scalar; 0 for a query without negatives.
    """
    logits = (similarity / temperature).masked_fill(~allowed, float("-inf"))
    return F.cross_entropy(logits, positive)


def distillation(student: torch.Tensor, teacher: torch.Tensor, present: torch.Tensor, temperature: float,
                 teacher_temperature: float) -> torch.Tensor:
    """Mean over rows of `KL(softmax(teacher / T) || softmax(student / temperature))`.

    A row is a query and its own group, the positive first; or, for a guide, a text and all texts of the batch.

    Args:
        student (`torch.Tensor`): (rows, candidates) cosines.
        teacher (`torch.Tensor`): (rows, candidates) teacher scores in the same order.
        present (`torch.Tensor`): (rows, candidates) bool, False for empty slots, and for the text itself.
        temperature (`float`): The student's.
        teacher_temperature (`float`): The teacher's.

    Returns:
        `torch.Tensor`: scalar.
    """
    log_student = (student / temperature).masked_fill(~present, -torch.inf).log_softmax(1).masked_fill(~present, 0)
    log_teacher = (teacher / teacher_temperature).masked_fill(~present, -torch.inf).log_softmax(1)
    target = log_teacher.exp()
    difference = target * (log_teacher.masked_fill(~present, 0) - log_student)
    return difference.masked_fill(~present, 0).sum(1).mean()


def target_entropy(teacher: torch.Tensor, present: torch.Tensor, teacher_temperature: float) -> torch.Tensor:
    """Mean entropy of the soft labels as a share of the uniform distribution's; near 1 they say nothing.

    Groups of one have no entropy and are left out; the result is NaN if all are such.
    """
    logits = (teacher / teacher_temperature).masked_fill(~present, -torch.inf)
    p = logits.softmax(1)
    entropy = -(p * p.clamp_min(1e-30).log()).sum(1)
    sizes = present.sum(1)
    return (entropy / sizes.clamp_min(2).log())[sizes > 1].mean()


def cosent(cosines: torch.Tensor, labels: torch.Tensor, scale: float) -> torch.Tensor:
    """CoSENT (Su 2022): `log(1 + sum over pairs with label_i > label_j of exp(scale * (cos_j - cos_i)))`.

    Args:
        cosines (`torch.Tensor`): (pairs,).
        labels (`torch.Tensor`): (pairs,) graded similarity.
        scale (`float`): 20 in sentence-transformers.
    """
    differences = scale * (cosines[None, :] - cosines[:, None])  # [i, j] = cos_j - cos_i
    wrong = differences[labels[:, None] > labels[None, :]]
    return torch.cat([wrong.new_zeros(1), wrong]).logsumexp(0)
