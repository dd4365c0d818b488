"""What kind of task a dataset is decides everything about it; never a column that happens to be filled."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """How rows of one kind are scored, prompted and trained on.

    Args:
        scored (`bool`): The teacher scores it and hard negatives are mined.
        in_batch (`bool`): Other rows' passages are negatives too.
        graded (`bool`): Trained with CoSENT on graded pairs instead of InfoNCE.
        symmetric (`bool`): Documents get the instruction as well.
    """

    scored: bool = False
    in_batch: bool = False
    graded: bool = False
    symmetric: bool = False


KINDS = {
    "retrieval": Kind(scored=True, in_batch=True),
    "reranking": Kind(scored=True, in_batch=True),
    "nli": Kind(in_batch=True, symmetric=True),
    "sts": Kind(graded=True, symmetric=True),
    "classification": Kind(),
    "clustering": Kind(symmetric=True),
}
