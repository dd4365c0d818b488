"""The loss of a batch: the weighted sum of its terms, from the vectors of its texts."""

import torch

from anna_embed.training.batch import Batch
from anna_embed.training.losses import cosent, distillation, info_nce, target_entropy


def objective(embeddings: torch.Tensor, batch: Batch, graded: bool, config) -> tuple[torch.Tensor, dict[str, float]]:
    """
    The loss of a global batch.

    Args:
        embeddings (`torch.Tensor` of shape `(N, d)`): unit vectors of the batch's texts.
        batch ([`Batch`]): says which text is what, and holds the soft labels.
        graded (`bool`): the task has graded pairs: CoSENT instead of InfoNCE, and no other term.
        config ([`TrainConfig`]): temperatures and weights.

    Returns:
        `tuple[torch.Tensor, dict[str, float]]`: the loss, and each of its terms before it is weighted, with the
        entropy of the mined soft labels.
    """
    device = embeddings.device
    queries = embeddings[batch.query.to(device)]
    if graded:
        cosines = (queries * embeddings[batch.positive.to(device)]).sum(1)
        loss = cosent(cosines, batch.score.to(device), config.cosent_scale)
        return loss, {"loss_cosent": loss.item()}
    similarity = queries @ embeddings[batch.passages.to(device)].T
    loss = info_nce(similarity, batch.target.to(device), batch.allowed.to(device), config.temperature)
    parts = {"loss_hard": loss.item()}
    if batch.teacher is not None:
        present, teacher = batch.present.to(device), batch.teacher.to(device)
        soft = distillation(similarity.gather(1, batch.group.to(device)), teacher, present, config.temperature,
                            config.teacher_temperature)
        loss = loss + config.soft_label_weight * soft
        entropy = target_entropy(teacher, present, config.teacher_temperature)
        parts |= {"loss_soft": soft.item(), "target_entropy": entropy.item()}
    if batch.guide is not None:
        similarity, guide, compared = embeddings @ embeddings.T, batch.guide.to(device), batch.compared.to(device)
        for name, softer in config.guide_terms.items():
            guided = distillation(similarity, guide, compared, softer * config.temperature,
                                  softer * config.guide_temperature)
            loss = loss + config.guide_weight * softer * guided
            parts |= {name: guided.item()}
    return loss, parts
