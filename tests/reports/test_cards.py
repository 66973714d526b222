"""Key figures and plain words."""

from radproof.core.records import Doubt
from radproof.reports.cards import cards, story
from radproof.reports.reading import Reading


def test_the_key_figures_in_order(reading):
    found = cards(reading)
    assert [(card.title, str(card.shown)) for card in found] == [
        ("Right on clean images", "78 % (70–86)"),
        ("Still right under attack, 4/255", "0 % (0–8)"),
        ("Smallest change that fools half the images", "1/255 (1–2)"),
        ("Missed findings under attack, 4/255", "90 % (82–98)"),
        ("Still right behind the best defence, 4/255", "1 % (0–9)"),
        ("Fooled, and unseen by the best detector, 4/255", "42 % (34–50)"),
    ]
    assert {card.sample for card in found} == {
        "90 images of 61 patients",
        "60 images of 61 patients",
        "16 images of 16 patients",
    }
    assert [(label, str(one)) for label, one in found[1].ladder] == [("1/255", "22 % (14–30)")]


def test_without_an_attack_that_knows_the_detector_the_flagged_are_told(result):
    plain = tuple(
        one.model_copy(update={"rows": tuple(row for row in one.rows if row.kind == "attack")})
        for one in result.detection
    )
    card = cards(Reading(result.model_copy(update={"detection": plain})))[-1]
    assert (card.title, str(card.shown)) == ("Attacks flagged by the best detector, 4/255", "55 % (47–63)")
    assert card.note.startswith("feature_squeezing, on the attack it sees worst (sia); false alarms on clean")


def test_a_serious_doubt_about_everything_leaves_nothing_established(reading):
    assert not any(card.established for card in cards(reading))


def test_a_doubt_about_one_figure_marks_that_figure_alone(result):
    masking = Reading(result.model_copy(update={"doubts": result.doubts[1:]}))
    found = {card.title: card for card in cards(masking)}
    assert [title for title, card in found.items() if not card.established] == [
        "Still right behind the best defence, 4/255"
    ]
    assert found["Smallest change that fools half the images"].marks == (3,)  # a note: marked, and still established


def test_without_disease_classes_defences_and_detectors_fewer_figures_stand(result):
    cells = tuple(
        c.model_copy(update={"scores": c.scores.model_copy(update={"missed_findings": None})})
        for c in result.cells
        if c.defense == "none"
    )
    bare = Reading(result.model_copy(update={"cells": cells, "detection": (), "smallest": None}))
    assert [card.title for card in cards(bare)] == ["Right on clean images", "Still right under attack, 4/255"]
    assert len(story(bare)) == 3


def test_the_story_is_told_with_intervals(reading):
    done, came_out, defended, watched, means = story(reading)
    assert "90 images of 61 patients at 160x160 (preset quick)" in done
    assert "drawn images (phantoms, not patients)" in done
    assert "Without attack 78 % (70–86) of the answers were right" in came_out
    assert "at most 4/255, 0 % (0–8) stayed right." in came_out
    assert "90 % (82–98) were then read as Normal" in came_out
    assert "41 % (33–49) stayed right as long as the attacker did not know" in defended
    assert "1 % (0–9) once every attack counted" in defended
    assert watched == (
        "An attacker who knows feature_squeezing still fools the model unnoticed on 56 % (48–64) of images at 1/255 "
        "(evasion); one who does not, on 40 % (32–48) (sia). A serious doubt stands: this is not established."
    )
    assert "supports evidence for" in means
    assert "Serious doubts stand (2)" in means


def test_overlapping_intervals_establish_no_loss(result):
    clean = result.cells[0].scores.accuracy
    cells = tuple(
        c.model_copy(update={"robust_accuracy": clean}) if c.column == "headline" else c for c in result.cells
    )
    text = " ".join(story(Reading(result.model_copy(update={"cells": cells}))))
    assert "the intervals overlap, so no loss is established" in text


def test_nothing_is_called_robust_or_compliant(reading, result):
    for one in (reading, Reading(result.model_copy(update={"doubts": ()}))):
        text = " ".join(story(one)).lower()
        assert "complies" not in text
        assert "robust " not in text.replace("robustness", "")
        assert "safe" not in text


def test_what_a_doubted_defence_is_worth_is_not_told_as_settled(result):
    told = " ".join(story(Reading(result.model_copy(update={"doubts": ()}))))
    doubt = Doubt(kind="eot-too-small", about="defense:jpeg_tvm", message="chance")
    doubted = " ".join(story(Reading(result.model_copy(update={"doubts": (doubt,)}))))
    assert "the second figure is what the defence is worth." in told
    assert "that it is worth so much is not established." in doubted
    assert "what the defence is worth" not in doubted
