"""Columns come out as plain values, numbers at one scale or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from recorder.book.columns import BookOverflow, align, aligned, column


@pytest.mark.parametrize("values", [[1, 2, 3, 4], np.array([1, 2, 3, 4], np.int8)])
def test_column_is_a_list_of_plain_ints(values):
    taken = column({"a": values}, "a", 1, 3)
    assert taken == [2, 3]
    assert {type(value) for value in taken} == {int}
    assert column({"a": values}, "a", 2, None) == [3, 4]


def test_numbers_meet_at_the_finer_scale():
    assert aligned([15, 150, 3], [1, 2, 0], 2) == [150, 150, 300]
    assert aligned([15, 150], [2, 2], 2) == [15, 150]


def test_a_number_that_fits_no_int64_is_named():
    assert align(9, 0, 18) == 9 * 10**18
    with pytest.raises(BookOverflow) as caught:
        align(93, 1, 19)
    assert (caught.value.number, caught.value.scale) == ("9.3", 19)
    assert str(caught.value) == "9.3 fits no int64 at scale 19"
