"""Names without names, ages in the release's spellings."""

import pytest

from radproof.data.inventory import parse_age, pseudonym, sample_id


@pytest.mark.parametrize(
    ("text", "age"),
    [("58", 58), ("058Y", 58), ("011M", 0), ("030M", 2), ("005D", 0), ("414", None), ("", None), ("Y", None),
     ("-3", None), ("5x", None), ("٣", None), ("9" * 50, None), ("0", 0)],
)  # fmt: skip
def test_ages(text, age):
    assert parse_age(text) == age


def test_ids_are_stable_and_say_nothing():
    assert sample_id("a/Jane_Doe.png") == sample_id("a/Jane_Doe.png") != sample_id("b/Jane_Doe.png")
    assert len(sample_id("x")) == 16
    assert "Doe" not in pseudonym("Doe")
    assert pseudonym("") == ""
