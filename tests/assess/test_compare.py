"""Comparisons on runs written by hand: what is paired, what is refused, and what chance would do."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from radproof.assess.compare import compare, holm, mcnemar, paired_difference
from radproof.assess.differences import differences
from radproof.assess.finished import Finished
from radproof.assess.gate import judge
from radproof.errors import BadInput
from radproof.measure.intervals import Resampler
from radproof.reports.comparison import conclusion

N = 40
CLEAN = ("clean", "none", "", 0.0, "", "model", "none")


def table(answers, *, first=0, patients=None, changed=()):
    """Rows of a run: (column, attack, goal, eps, budget, made on, defence) -> right, per image."""
    clean = answers[CLEAN]
    pieces = []
    for key, right in answers.items():
        column, attack, goal, eps, budget, made_on, defense = key
        names = [f"image{n}" for n in range(first, first + len(right))]
        pieces.append(
            pd.DataFrame(
                {
                    "column": column,
                    "attack": attack,
                    "goal": goal,
                    "eps": eps,
                    "budget": budget,
                    "made_on": made_on,
                    "defense": defense,
                    "sample": names,
                    "patient": patients or [f"p{n // 2}" for n in range(first, first + len(right))],
                    "truth": "Normal",
                    "right": right,
                    "clean_right": answers.get((*CLEAN[:-1], defense), clean),
                    "sha256": [f"{name}{'*' if name in changed else ''}" for name in names],
                }
            )
        )
    return pd.concat(pieces, ignore_index=True)


def run(folder, answers, plan=None, threat="linf", **how):
    folder.mkdir(parents=True)
    table(answers, **how).to_parquet(folder / "rows.parquet")
    cells = [
        SimpleNamespace(
            column=c, attack=a, goal=g, eps=e, budget=b, made_on=m, defense=d, threat=threat, key=f"{c} {a} {b} {d}"
        )
        for c, a, g, e, b, m, d in answers
    ]
    result = SimpleNamespace(
        cells=cells,
        plan={"seed": 0, "bootstrap": 300, "confidence": 0.95} | (plan or {}),
        provenance={"data": "d", "model": "m"},
        images=len(answers[CLEAN]),
        patients=20,
        model={"architecture": "cxrnet"},
        doubts=(),
        detection=(),
    )
    return Finished(folder, result)


def at(attack, budget=1, column="oblivious", defense="none", made_on="model", goal="misclassify"):
    return (column, attack, goal, budget / 255, f"{budget}/255", made_on, defense)


def right(share, seed=0, n=N):
    return np.random.default_rng(seed).random(n) < share


def test_the_headline_is_the_worst_per_image_over_all_that_was_made(tmp_path):
    clean, one, two = right(0.9), right(0.6, 1), right(0.6, 2)
    a = run(tmp_path / "a", {CLEAN: clean, at("pgd"): one, at("sia", column="transfer", made_on="other"): two})
    b = run(tmp_path / "b", {CLEAN: clean, at("pgd"): one})
    rows = {row.column: row for row in compare(a, b).rows}
    assert rows["clean"].difference.value == 0
    worst = clean & one & two
    assert rows["headline"].a.value == pytest.approx(worst.mean())
    assert rows["headline"].b.value == pytest.approx((clean & one).mean())
    assert rows["headline"].difference.value == pytest.approx(worst.mean() - (clean & one).mean())
    assert (rows["headline"].only_a, rows["headline"].only_b) == (0, int((clean & one & ~two).sum()))


def test_other_norms_and_threats_are_no_part_of_the_headline(tmp_path):
    clean = np.ones(N, bool)
    a = run(tmp_path / "a", {CLEAN: clean, at("spatial"): ~clean}, threat="spatial")
    assert [question.column for question in a.answers] == ["clean"]


def test_intervals_are_of_patients_and_paired(tmp_path):
    """Two images of a patient always agree here, so the images' own spread would be too small by the root of two."""
    one, two = (np.repeat(right(share, seed, 100), 2) for share, seed in ((0.7, 3), (0.5, 4)))
    a, b = (run(tmp_path / name, {CLEAN: found}, {"bootstrap": 4000}) for name, found in (("a", one), ("b", two)))
    (row,) = compare(a, b).rows
    d = (one.astype(float) - two)[::2]
    spread = 2 * 1.96 * d.std() / np.sqrt(len(d))
    assert row.difference.high - row.difference.low == pytest.approx(spread, rel=0.08)
    assert row.difference.patients == 100 and row.difference.n == 200


def test_the_shared_images_alone_are_compared(tmp_path):
    a = run(tmp_path / "a", {CLEAN: right(0.9)})
    b = run(tmp_path / "b", {CLEAN: right(0.5, 1)}, first=10, changed=("image12",))
    found = compare(a, b)
    assert found.images == 29 and found.left_out == 21
    assert found.rows[0].a.value == pytest.approx(np.delete(right(0.9)[10:], 2).mean())
    assert found.rows[0].b.value == pytest.approx(np.delete(right(0.5, 1)[:30], 2).mean())


def test_other_images_are_refused(tmp_path):
    a = run(tmp_path / "a", {CLEAN: right(0.9)})
    with pytest.raises(BadInput, match="a holds 40 images, b 40, and they share 10; a comparison needs the same"):
        compare(a, run(tmp_path / "b", {CLEAN: right(0.9)}, first=30))
    changed = [f"image{n}" for n in range(30)]
    with pytest.raises(BadInput, match="share 10 \\(30 more go by the same name but hold other bytes"):
        compare(a, run(tmp_path / "c", {CLEAN: right(0.9)}, changed=changed))


def test_runs_without_a_common_budget_are_refused(tmp_path):
    clean = right(0.9)
    a = run(tmp_path / "v1" / "run", {CLEAN: clean, at("pgd", 1): clean, at("pgd", 4): clean})
    b = run(tmp_path / "v2" / "run", {CLEAN: clean, at("pgd", 2): clean})
    with pytest.raises(BadInput, match="v1/run has misclassify at 1/255, 4/255; v2/run has misclassify at 2/255"):
        compare(a, b)


def test_contenders_of_one_run_are_compared_with_none(tmp_path):
    behind = (*CLEAN[:-1], "jpeg")
    answers = {CLEAN: right(0.9), behind: right(0.8, 1), at("pgd"): right(0.3, 2)}
    answers |= {at("pgd", defense="jpeg"): right(0.7, 3), at("pgd", column="adaptive", defense="jpeg"): right(0.5, 4)}
    found = compare(run(tmp_path / "a", answers))
    assert [(row.column, row.defense, row.against) for row in found.rows] == [
        ("clean", "jpeg", "none"),
        ("headline", "jpeg", "none"),
    ]
    kept = right(0.8, 1) & right(0.7, 3) & right(0.5, 4)
    assert found.rows[1].difference.value == pytest.approx(kept.mean() - (right(0.9) & right(0.3, 2)).mean())
    with pytest.raises(BadInput, match="no defence to compare"):
        compare(run(tmp_path / "b", {CLEAN: right(0.9)}))


def test_mcnemar_is_a_coin():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 / 2**5)
    assert mcnemar(3, 9) == mcnemar(9, 3) == pytest.approx(2 * stats.binom.cdf(3, 12, 0.5))
    assert mcnemar(4, 4) == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_many_rows_are_corrected(tmp_path):
    clean = np.ones(N, bool)
    six = np.arange(N) < 6  # six images alone: p = 2/64 for a single row

    def answers(held):
        return {CLEAN: clean, at("pgd", 1): held, at("pgd", 2): clean}

    a, b = (run(tmp_path / name, answers(held)) for name, held in (("a", clean), ("b", ~six)))
    row = compare(a, b).rows[1]
    assert row.p == pytest.approx(2 / 64) and row.p_holm == pytest.approx(6 / 64)
    assert not row.differs


def test_many_images_of_one_patient_are_no_difference(tmp_path):
    """Twelve images alone would be p = 2/2^12, but a third of all draws of 20 patients leave that patient out."""
    patients = ["p0"] * 12 + [f"p{1 + n % 19}" for n in range(N - 12)]
    clean, lost = np.ones(N, bool), np.arange(N) >= 12
    a, b = (run(tmp_path / name, {CLEAN: found}, patients=patients) for name, found in (("a", clean), ("b", lost)))
    (row,) = compare(a, b).rows
    assert row.p_holm < 0.001 and row.difference.low == 0
    assert not row.differs
    spread = [f"p{n}" for n in range(N)]
    a, b = (run(tmp_path / name, {CLEAN: found}, patients=spread) for name, found in (("c", clean), ("d", lost)))
    assert compare(a, b).rows[0].differs and compare(b, a).rows[0].differs
    said = conclusion(compare(a, b))
    assert said.startswith("1 of 1 row differ") and "0 outside the interval" in said


def test_no_discordant_image_still_leaves_room():
    """The rule of three: with n patients and no exception, up to about 3.7/n of them may be (95 %, two-sided)."""
    resampler = Resampler([str(n) for n in range(60)], draws=200)
    same = paired_difference(resampler, np.zeros(60))
    bound = 1 - 0.025 ** (1 / 60)
    assert (same.low, same.high) == pytest.approx((-bound, bound))
    every = paired_difference(resampler, np.ones(60))
    assert (every.low, every.high) == pytest.approx((1 - 2 * bound, 1.0))
    some = np.zeros(60)
    some[:20] = 1
    usual = paired_difference(resampler, some)
    assert usual == resampler.mean(some, proportion=False)


def test_not_worse_is_judged_at_the_low_bound_of_the_difference(tmp_path, monkeypatch):
    clean, better, lost = np.ones(N, bool), np.arange(N) < 30, np.arange(N) < 26
    a = run(tmp_path / "a", {CLEAN: clean, at("pgd"): lost})
    b = run(tmp_path / "b", {CLEAN: clean, at("pgd"): better})
    monkeypatch.setattr("radproof.assess.gate.open_run", lambda path: b)
    low = compare(a, b).rows[1].difference.low
    assert low < -0.1  # four of forty lost
    room = -compare(a, b).rows[0].difference.low
    for by, verdict in ((-low + 0.001, "passed"), (-low - 0.001, "failed"), (0.1, "failed")):
        assert judge(a, [f"not worse than b by {by} @ 1/255"])[0].verdict == verdict
    assert judge(a, [f"not worse than b by {max(room, -low) + 0.001}"])[0].verdict == "passed"
    assert judge(a, [f"not worse than b by {room - 0.001}"])[0].verdict == "failed"
    assert judge(a, ["not worse than b by 0.5 @ 1/255 for missed-finding"])[0].verdict == "not established"


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Judge one sentence about a run whose plan is the other's but for what is given."""

    def verdict(sentence, ours, theirs):
        held = {CLEAN: np.ones(N, bool), at("pgd"): np.ones(N, bool)}
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        b = run(folder / "b", held, theirs)
        monkeypatch.setattr("radproof.assess.gate.open_run", lambda path: b)
        return judge(run(folder / "a", held, ours), [sentence])[0]

    return verdict


ALIKE = {
    "attacks": [{"name": "pgd", "params": {"steps": 9}}, {"name": "sia", "params": {"network": "/here/n"}}],
    "adaptive": [{"name": "pgd", "params": {}}],
    "surrogates": {"other": {"path": "/here/m", "train": None}},
    "goals": ["misclassify"],
    "eot": 8,
    "preset": "quick",
}


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (
            {"attacks": [{"name": "pgd", "params": {"steps": 1}}, ALIKE["attacks"][1]]},
            "only the second has pgd(steps=1)",
        ),
        ({"adaptive": []}, "not the same adaptive: only the first has pgd"),
        ({"surrogates": {}}, "not the same surrogates"),
        ({"goals": ["misclassify", "missed-finding"]}, "only the second has missed-finding"),
        ({"eot": 1}, "not the same eot: 8 and 1"),
        ({"preset": "published"}, "not the same preset: quick and published"),
    ],
)
def test_runs_that_were_not_attacked_alike_establish_nothing(judged, theirs, said):
    for sentence in ("not worse than b by 0.5", "not worse than b by 0.5 @ 1/255"):
        verdict = judged(sentence, ALIKE, ALIKE | theirs)
        assert verdict.verdict == "not established"
        assert "not attacked alike" in verdict.message and verdict.message.count(said) == 1


def test_what_else_differs_is_told_with_the_verdict(judged):
    theirs = ALIKE | {
        "seed": 5,
        "attacks": [{"name": "sia", "params": {"network": "/there/n"}}, ALIKE["attacks"][0]],
        "surrogates": {"other": {"path": "/there/m", "train": None}},
    }
    verdict = judged("not worse than b by 0.5", ALIKE, theirs)
    assert verdict.verdict == "passed"
    assert "; not the same seed: 0 and 5" in verdict.message and "not the same surrogates.other.path" in verdict.message
    assert judged("not worse than b by 0.5", ALIKE, ALIKE).message.endswith("at least -0.5")


def test_differences_between_plans_are_told_without_folders():
    def result(**plan):
        base = {"seed": 1, "preset": "quick", "title": "t", "attacks": [{"name": "pgd", "params": {}}]}
        plan = base | {"data": {"kind": "folder", "path": "/secret/a"}} | plan
        return SimpleNamespace(
            plan=plan, provenance={"data": "d", "model": "m", "torch": "2"}, model={}, images=1, patients=1
        )

    assert list(differences(result(), result(title="other"))) == []
    changed = result(
        seed=2,
        preset="published",
        attacks=[{"name": "pgd", "params": {"steps": 3}}, {"name": "sia", "params": {"network": "/secret/n"}}],
        data={"kind": "folder", "path": "/secret/b"},
    )
    changed.provenance |= {"model": "n", "torch": "3"}
    told = list(differences(result(), changed))
    assert told == [
        "not the same model: both are unknown, with other weights",
        "not the same seed: 1 and 2",
        "not the same preset: quick and published",
        "not the same attacks: only the first has pgd; only the second has pgd(steps=3), sia",
        "not the same data.path",
        "not the same version of torch: 2 and 3",
    ]
