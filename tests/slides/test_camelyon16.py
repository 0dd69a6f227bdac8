"""CAMELYON16's list of incomplete annotations."""

import pytest

from wsrpn.slides import camelyon16


def test_twenty_training_slides_and_one_of_the_test_are_incomplete():
    assert len(camelyon16.NOT_EXHAUSTIVE) == 21
    assert {"tumor_020", "tumor_056", "test_114"} <= camelyon16.NOT_EXHAUSTIVE


@pytest.mark.parametrize("name", ["tumor_010", "Tumor_010", "tumor_10", " tumor_110", "test_114"])
def test_the_list_is_known_however_a_name_is_written(name):
    assert not camelyon16.exhaustive(name)


@pytest.mark.parametrize("name", ["tumor_001", "normal_010", "test_010", "my_tumor_010", "010", ""])
def test_other_slides_are_complete_as_far_as_names_tell(name):
    assert camelyon16.exhaustive(name)
