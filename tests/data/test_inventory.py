"""Names without names, ages in the release's spellings."""

import hashlib
import hmac

import pytest

from radproof.data.inventory import parse_age, pseudonym, sample_id, secret_of
from radproof.errors import BadData


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


def test_a_key_hides_numbers_from_whoever_tries_them_all(tmp_path):
    assert pseudonym("17") == "p-" + hashlib.sha256(b"17").hexdigest()[:12]
    assert pseudonym("17", b"key") == "p-" + hmac.new(b"key", b"17", hashlib.sha256).hexdigest()[:12]
    assert pseudonym("", b"key") == ""
    (tmp_path / "file").write_bytes(b"content")
    assert secret_of(tmp_path / "file", "pseudonyms") == hashlib.sha256(b"radproof pseudonyms\0content").digest()
    with pytest.raises(BadData, match="cannot read gone"):
        secret_of(tmp_path / "gone", "pseudonyms")
