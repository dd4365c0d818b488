"""A packed row in blocks: who sees whom, against the definition, and how many scores that takes, against every way to
choose among the ends and groups that are allowed."""

from functools import lru_cache
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anna_embed.engine import blocks, plan_rows


SIZE, STEP = 4, 2  # as small as the trees, so that they have many blocks
TREES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14), min_size=1, max_size=8)
patiently = settings(deadline=None, derandomize=True)


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "SIZE", SIZE)
        patch.setattr(blocks, "STEP", STEP)
        yield


def exits_of(lists, align=1):
    (row,) = plan_rows(lists, 10_000, align)
    return row.exits


def seen_by_query(groups):
    """What each query of all groups sees, one group after the other."""
    for group in groups:
        keys = group.keys.view(len(group.seen), -1)
        for block, by_query in enumerate(group.seen):
            yield from (sorted(keys[block][seen].tolist()) for seen in by_query)


@patiently
@given(TREES, st.integers(1, 7))
def test_each_token_sees_its_ancestors_and_itself_once(lists, align):
    """Else a vector depends on another text."""
    exits = exits_of(lists, align)
    cut = blocks.blocks_of(exits)
    queries, seen = np.concatenate([group.queries for group in cut.groups]), list(seen_by_query(cut.groups))
    assert queries[cut.places.numpy()].tolist() == list(range(len(exits)))
    for token, place in enumerate(cut.places.tolist()):
        assert seen[place] == [key for key in range(token + 1) if exits[key] > token]
    assert all(seen), "filled up places see something too, else their softmax is NaN"


@patiently
@given(TREES, st.integers(0, 8))
def test_blocks_are_cut_where_they_compute_least(lists, block_cost):
    """Else attention multiplies queries with keys of other texts, which the mask then hides."""
    exits = exits_of(lists).numpy()
    depth = [sum(exits[:token] > token) for token in range(len(exits))]
    branches = [n for n in range(len(exits)) if n == 0 or depth[n] != depth[n - 1] + 1] + [len(exits)]
    texts = [start for start, end in zip(branches, branches[1:]) if end - start >= SIZE // 2]

    def cost(start, end):
        return depth[start] + end - start + -(depth[start] + end - start) % STEP + block_cost

    @lru_cache
    def least(start):
        furthest = min(start + SIZE, len(exits))
        ends = {furthest, *(text for text in texts if start < text <= furthest)}
        return min(cost(start, end) + (least(end) if end < len(exits) else 0) for end in ends)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_COST", block_cost)
        starts = blocks._starts(exits)
    assert sum(map(cost, starts, [*starts[1:], len(exits)])) == least(0)


def test_a_text_that_fills_blocks_is_not_seen_by_the_text_before_it():
    """By hand: texts of five and eight tokens in blocks of four. Cut at 4, 8 and 12 they have 4, 8, 7 and 8 keys, cut
    where the second text begins 4, 5, 4 and 8."""
    exits = exits_of([[0] * 5, [1] * 8]).numpy()
    assert blocks._starts(exits) == [0, 4, 5, 9]


@patiently
@given(st.lists(st.integers(1, 12).map(lambda n: n * STEP), min_size=1, max_size=12), st.integers(0, 30))
def test_few_groups_with_few_idle_keys(widths, group_cost):
    """Else a step spends its time on keys that are not there, or on starting many small products."""
    def cost(sizes):
        groups = np.split(np.sort(widths), list(accumulate(sizes))[:-1])
        return sum(len(group) * group.max() + group_cost + sum(widths) // blocks.FEW for group in groups)

    def compositions(total):
        return [[total]] + [[first, *rest] for first in range(1, total) for rest in compositions(total - first)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "GROUP_COST", group_cost)
        groups = blocks._alike(np.array(widths))
    assert sorted(block for members, _ in groups for block in members) == list(range(len(widths)))
    assert all(width == max(widths[block] for block in members) for members, width in groups)
    assert cost([len(members) for members, _ in groups]) == min(map(cost, compositions(len(widths))))


@patiently
@given(TREES, st.integers(1, 100))
def test_parts_of_a_group_are_the_group(lists, keys):
    """Else blocks are lost, or more is computed at once than fits into the caches."""
    for group in blocks.blocks_of(exits_of(lists)).groups:
        parts = group.split(keys)
        assert all(len(part.seen) == 1 or part.keys.numel() <= keys for part in parts)
        for name in ("queries", "keys", "seen"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            assert np.array_equal(joined, getattr(group, name))
