"""One layout for training and inference: each distinct token is encoded once."""

from .embedding import embed, embed_row, in_caller_order, plan
from .masks import attention_mask, can_pack
from .packing import ROW_COST, Row, plan_rows
from .padding import PaddedRows, plan_padded
from .pooling import last_token_pool, normalize
from .prefixes import Sharing, count


__all__ = [
    "ROW_COST",
    "PaddedRows",
    "Row",
    "Sharing",
    "attention_mask",
    "can_pack",
    "count",
    "embed",
    "embed_row",
    "in_caller_order",
    "last_token_pool",
    "normalize",
    "plan",
    "plan_padded",
    "plan_rows",
]
