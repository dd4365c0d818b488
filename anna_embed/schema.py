"""The columns of every dataset artifact."""

from datasets import Features, List, Value

TEXT, NUMBER = Value("string"), Value("float32")

PAIRS = Features({
    "query_id": TEXT, "query": TEXT, "positive_id": TEXT, "positive": TEXT, "negatives": List(TEXT),
    "label": TEXT,  # category or intent; null where the task has none
    "label_score": NUMBER,  # graded similarity, 0 to 1; null where the task has none
    "task": TEXT,
})

CORPUS = Features({"id": TEXT, "text": TEXT})

SCORES = Features({
    "query_id": TEXT, "query": TEXT, "candidate_ids": List(TEXT), "candidates": List(TEXT),
    "is_positive": List(Value("bool")), "bm25": List(NUMBER), "dense": List(NUMBER), "reranker": List(NUMBER),
    "rrf": List(NUMBER),
})

TRIPLETS = Features({
    "query_id": TEXT, "query": TEXT, "positive_id": TEXT, "positive": TEXT,
    "negative_ids": List(TEXT), "negatives": List(TEXT),
    # each: the positive first, then the negatives; empty where the task is not scored
    "teacher_bm25": List(NUMBER), "teacher_dense": List(NUMBER), "teacher_reranker": List(NUMBER),
    "teacher_rrf": List(NUMBER),
    "sibling_positive_ids": List(TEXT), "label": TEXT, "label_score": NUMBER, "task": TEXT,
})

NULLABLE = ("label", "label_score")  # of the columns that a stage reads; in all others null is an error

TEACHERS = ("bm25", "dense", "reranker", "rrf")

RESULTS = Features({
    "model": TEXT, "task": TEXT, "metric": TEXT, "value": Value("float64"), "n": Value("int64"),
    "note": TEXT,  # how the data differs from what others score; null where it does not
})
