# SPDX-License-Identifier: Apache-2.0
"""Files that cannot be read: counted once each, grouped by why, bounded, and never named."""

from pathlib import Path

import pytest

from radproof.assess.unnamed import Unnamed
from radproof.assess.unreadable import Unreadable
from radproof.errors import BadData, BadImage


def collected(*, strict: bool = False) -> Unreadable:
    paths = [f"set/mustermann{number}.dcm" for number in range(200)]
    words = Unnamed()
    words.files(paths)
    return Unreadable({path: n for n, path in enumerate(paths, 1)}, "set/", words, Path("/srv/x"), strict=strict)


def test_frames_and_slices_of_a_file_count_once_and_figures_make_no_new_reason() -> None:
    left = collected()
    for frame in range(5):
        left.add(f"mustermann7.dcm#{frame}", BadImage(f"frame {frame} ends at 0x7f{frame}a, 1,0{frame}0 bytes early"))
    left.add("mustermann3.dcm#axial-12", BadImage("frame 9 ends at 0x9, 20 bytes early"), "a" * 64)
    left.add("mustermann5.dcm", BadImage("/srv/x/mustermann5.dcm: broken, as 'mustermann5' says"))
    facts = left.facts(97)
    assert (facts.files, facts.of, facts.most) == (3, 100, 5)
    assert next(iter(facts.reasons.items())) == ("frame … ends at …, … bytes early", 2)
    assert "mustermann" not in str(facts) + str(left.excluded()) and "/srv" not in str(left.excluded())
    assert [one.index for one in left.excluded()] == [4, 6, 8] and left.excluded()[0].sha256 == "a" * 16


@pytest.mark.parametrize(("read", "damaged", "strict", "good"), [
    (0, 1, False, True), (1, 1, False, True), (1, 2, False, False), (38, 2, False, True), (37, 2, False, False),
    (1000, 52, False, True), (1000, 53, False, False), (10**6, 1, True, False), (5, 0, True, True),
])  # fmt: skip
def test_one_file_or_one_in_twenty_may_be_left_out(read: int, damaged: int, strict: bool, good: bool) -> None:
    left = collected(strict=strict)
    for number in range(damaged):
        left.add(f"mustermann{number}.dcm", BadImage("broken"))
    if good:
        assert left.facts(read).files == damaged
    else:
        with pytest.raises(BadData, match=f"{damaged} of {read + damaged} files cannot be read"):
            left.facts(read)


def test_lists_are_bounded_and_lose_no_file() -> None:
    left = collected()
    for number in range(150):
        left.add(f"mustermann{number}.dcm", BadImage("broken " + "abcdefghijklmnopqrstuvwxyzABCD"[number % 30] * 400))
    assert len(left.reasons()) == 21 and sum(left.reasons().values()) == 150
    assert left.listed().count("×") == 5 and len(left.listed()) < 1500
