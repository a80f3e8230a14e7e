"""Rows as arrays at one scale."""

from __future__ import annotations

import numpy as np
import pytest

from replay.errors import ScaleOverflow
from replay.rows import Numbers


def numbers(*pairs: tuple[int, int]) -> Numbers:
    return Numbers(
        np.array([m for m, _ in pairs], np.int64), np.array([s for _, s in pairs], np.int8)
    )


def test_a_range_comes_to_its_finest_scale():
    mixed = numbers((15, 1), (2, 0), (-3, 0), (125, 3), (0, 9))
    assert mixed.finest() == 3  # 0 is 0 at any scale
    assert mixed.at(3, "price").tolist() == [1500, 2000, -3000, 125, 0]


def test_what_fits_no_int64_is_refused_by_name():
    with pytest.raises(ScaleOverflow) as caught:
        numbers((2**62, 0), (1, 1)).at(1, "price")
    assert (caught.value.column, caught.value.scale) == ("price", 1)
    with pytest.raises(ScaleOverflow):
        numbers((1, 0), (1, 19)).at(19, "size")
    assert numbers((2**62, 0), (0, 19)).at(0, "size").tolist() == [2**62, 0]
