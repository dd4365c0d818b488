"""Dense retrieval: exact, in blocks, and nothing embedded twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anna_embed.parsing import RecipeError
from anna_embed.teacher import dense


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 9), st.integers(1, 23)), st.integers(1, 30),
       st.tuples(st.integers(1, 5), st.integers(1, 8)), st.integers(0, 99))
def test_blocks_equal_the_full_matrix(sizes, k, blocks, seed):
    """Few distinct values make many ties: they go to the lower index, whatever the blocks."""
    draw = np.random.default_rng(seed)
    q, p = (draw.integers(-1, 2, (n, 3)).astype(np.float32) for n in sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "QUERY_BLOCK", blocks[0])
        patch.setattr(dense, "PASSAGE_BLOCK", blocks[1])
        index, score = dense.top_k(q, p, k)
    full = q @ p.T
    expected = np.argsort(-full, axis=1, kind="stable")[:, :k]
    assert index.tolist() == expected.tolist()
    assert score.tolist() == np.take_along_axis(full, expected, 1).tolist()


class Model:
    """Stands for a SentenceTransformer; counts its calls and keeps its prompts."""

    def __init__(self, value=1.0, dtype="float32"):
        self.value, self.dtype, self.prompts = value, dtype, []

    def encode(self, texts, prompt, **kwargs):
        self.prompts.append(prompt)
        return np.full((len(texts), 2), self.value)


def test_nothing_is_embedded_twice(tmp_path):
    """Hours of embedding are kept; another model, type, prompt or text is another key, or vectors would be stale."""
    model, bf16 = Model(), Model(dtype="bfloat16")
    for again in range(2):
        vectors = dense.encode_cached(tmp_path, "digest", model, ["a", "b"], "", 8)
        assert vectors.shape == (2, 2) and vectors.dtype == np.float32 and len(model.prompts) == 1
    for other in (("else", model, ["a", "b"], ""), ("digest", bf16, ["a", "b"], ""),
                  ("digest", model, ["a", "b"], "query: "), ("digest", model, ["ab"], "")):
        dense.encode_cached(tmp_path, *other, 8)
    assert len(model.prompts) == 4 and len(bf16.prompts) == 1 and len(list(tmp_path.iterdir())) == 5


def test_an_empty_prompt_is_no_default_prompt():
    """None would put the model's default prompt in front, in the face of a recipe that says there is none."""
    model = Model()
    dense.encode(model, ["a"], "")
    assert model.prompts == [""]


def test_vectors_that_are_no_numbers():
    """A passage with a NaN vector is never found, and nobody notices."""
    with pytest.raises(RecipeError, match="dense_model: the vector of the text 'a' is not finite"):
        dense.encode(Model(np.nan), ["a"])
    assert dense.encode(Model(), []).shape == (0, 2)
