"""Exact nearest neighbours in blocks, against the full matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anna_embed.teacher import nearest, running
from anna_embed.teacher.shards import Processes
from anna_embed.teacher.vectors import VectorStore, text_keys


def in_blocks(queries, passages, k, blocks=(3, 5), group=2, slack=4, bfloat16=False):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("QUERY_BLOCK", blocks[0]), ("PASSAGE_BLOCK", blocks[1]), ("SLACK", slack)):
            patch.setattr(nearest, name, value)
        patch.setattr(running, "GROUP", group)
        patch.setattr(nearest, "bfloat16_speedup", lambda dim: 2.0 if bfloat16 else 0.5)
        return nearest.top_k(queries, passages, k)


@settings(max_examples=150, deadline=None)
@given(st.tuples(st.integers(1, 9), st.integers(1, 60)), st.integers(1, 70),
       st.tuples(st.integers(1, 5), st.integers(1, 40)), st.integers(1, 8), st.integers(0, 3), st.integers(0, 99),
       st.booleans())
def test_blocks_equal_the_full_matrix(sizes, k, blocks, group, slack, seed, bfloat16):
    """Few distinct values make many ties: they go to the lower index, whatever the blocks and groups."""
    draw = np.random.default_rng(seed)
    q, p = (draw.integers(-1, 2, (n, 3)).astype(np.float32) for n in sizes)
    index, score = in_blocks(q, p, k, blocks, group, slack, bfloat16)
    full = q @ p.T
    expected = np.argsort(-full, axis=1, kind="stable")[:, :k]
    assert index.tolist() == expected.tolist() and index.dtype == np.int64
    assert score.tolist() == np.take_along_axis(full, expected, 1).tolist() and score.dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.tuples(st.integers(1, 50), st.integers(20, 400)), st.integers(1, 64), st.integers(0, 9),
       st.booleans())
def test_real_numbers(k, blocks, group, seed, bfloat16):
    """The same passages and the same bits for any blocks: else a shard's size or a GPU would change what is mined."""
    draw = np.random.default_rng(seed)
    q, p = (draw.normal(size=(n, 24)).astype(np.float32) for n in (17, 300))
    p[50:60] = p[0]  # exact copies
    index, score = in_blocks(q, p, k, blocks, group, slack=16, bfloat16=bfloat16)
    full = np.array([nearest.similarity(query, p) for query in q])
    expected = np.argsort(-full, axis=1, kind="stable")[:, :k]
    assert index.tolist() == expected.tolist()
    assert score.tolist() == np.take_along_axis(full, expected, 1).tolist()
    np.testing.assert_allclose(full, q @ p.T, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.floats(1e-4, 1e-2), st.floats(0.1, 30.0), st.integers(0, 99))
def test_what_bfloat16_cannot_tell_apart(k, spread, length, seed):
    """Copies and near copies: hundreds of passages within a bfloat16's last bit of the k-th, whatever their length."""
    draw = np.random.default_rng(seed)
    base = draw.normal(size=(1, 32))
    p = (length * (base + spread * draw.normal(size=(300, 32)))).astype(np.float16)
    q = np.concatenate([base, draw.normal(size=(3, 32))]).astype(np.float16)
    index, score = in_blocks(q, p, k, (2, 70), 8, 4, bfloat16=True)
    full = np.array([nearest.similarity(query, p) for query in q])
    expected = np.argsort(-full, axis=1, kind="stable")[:, :k]
    assert index.tolist() == expected.tolist()
    assert score.tolist() == np.take_along_axis(full, expected, 1).tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_bfloat16_is_as_far_off_as_is_said_at_most(dim, length, seed):
    """Were the bound too small, a neighbour would be missed now and then, and nobody would know."""
    draw = np.random.default_rng(seed)
    q, p = (torch.tensor(draw.standard_t(2, size=(n, dim)), dtype=torch.float32) * length for n in (4, 60))
    for dtype in (torch.float32, torch.bfloat16):
        found = (q.to(dtype) @ p.to(dtype).T).float()
        norms, taken = q.norm(dim=1), (q - q.to(dtype)).norm(dim=1)
        longest, lost = p.norm(dim=1).max().item(), (p - p.to(dtype)).norm(dim=1).max().item()
        for column in range(len(p)):
            error = nearest._error(norms, taken, longest, lost, dim, found[:, column], dtype)
            assert ((found[:, column].double() - q.double() @ p[column].double()).abs() <= error).all()


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("block", [61, 130])
def test_more_copies_than_slack(bfloat16, seed, block):
    """Texts that are equal up to where the encoder cuts: the lower index is found, whatever the kernel's last bits."""
    draw = np.random.default_rng(seed)
    p = draw.normal(size=(600, 384)).astype(np.float16)
    p[120:240] = p[0]
    q = np.concatenate([p[:1], draw.normal(size=(4, 384)).astype(np.float16)])
    index, _ = in_blocks(q, p, 5, (1024, block), 32, 16, bfloat16)
    assert index[0].tolist() == [0, 120, 121, 122, 123]


def test_negative_scores():
    """Raw dot products may all be below zero; the order of their bits is the opposite of that of positive ones."""
    p = -np.arange(1, 9, dtype=np.float32)[:, None]
    index, score = in_blocks(np.ones((1, 1), np.float32), p, 3)
    assert index.tolist() == [[0, 1, 2]] and score.tolist() == [[-1, -2, -3]]
    zeros = np.array([[0.0], [-0.0], [0.0]], np.float32)
    assert in_blocks(np.array([[1.0], [-1.0]], np.float32), zeros, 3)[0].tolist() == [[0, 1, 2]] * 2


def test_a_row_depends_on_itself_only():
    """`similarity` of one pair has the same bits alone, in a row and in a block."""
    draw = np.random.default_rng(0)
    q, p = (draw.normal(size=(n, 384)).astype(np.float16) for n in (5, 33))
    block = nearest.similarity(q[:, None], p[None])
    assert block.tolist() == [[float(nearest.similarity(a, b)) for b in p] for a in q]
    assert block[2].tolist() == nearest.similarity(q[2], p).tolist()


@given(st.floats(0.1, 64), st.integers(1, 4096))
def test_blocks_respect_the_memory(memory_gb, dim):
    """40 bytes a score at worst, and the passages four times: within what the recipe gives."""
    queries, passages = nearest.block_sizes(memory_gb, dim)
    assert 1 <= queries <= 1024 and 1 <= passages <= 16384
    assert queries * passages * 40 + passages * dim * 12 <= memory_gb * 1e9


def test_shards_of_queries_from_disk(tmp_path, monkeypatch):
    """Each query gets its own neighbours, whatever shard it is in; a shard that is there is not searched for again."""
    monkeypatch.setattr(nearest, "SHARD", 4)
    draw = np.random.default_rng(0)
    q, p = (draw.normal(size=(n, 8)).astype(np.float16) for n in (10, 50))
    store = VectorStore(tmp_path, "digest", "float32", "")
    keys = text_keys(map(str, range(50)))
    for part in (slice(20, 50), slice(0, 20)):  # on disk in another order
        store.add(keys[part], p[part])
    store.refresh()
    processes = Processes(tmp_path / "note")
    found = nearest.search(q, store.of(keys), 7, 1.0, tmp_path / "shards", processes)
    assert found.tolist() == nearest.top_k(q, p, 7)[0].tolist() and found.dtype == np.int32
    (tmp_path / "shards" / "00001.npy").unlink()
    calls = []
    monkeypatch.setattr(nearest, "top_k", lambda queries, *rest: calls.append(queries) or (found[4:8], None))
    assert nearest.search(q, store.of(keys), 7, 1.0, tmp_path / "shards", processes).tolist() == found.tolist()
    assert len(calls) == 1 and calls[0].tolist() == q[4:8].tolist()


def test_more_than_there_is(tmp_path):
    """A corpus smaller than `depth`, and no query at all."""
    q, p = np.eye(3, dtype=np.float32), np.eye(2, 3, dtype=np.float32)
    assert nearest.top_k(q, p, 50)[0].shape == (3, 2)
    assert nearest.top_k(q[:0], p, 50)[0].shape == (0, 2)
    assert nearest.search(q[:2], p, 50, 1.0, tmp_path, Processes(tmp_path / "note")).shape == (2, 2)
