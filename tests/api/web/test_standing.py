# SPDX-License-Identifier: Apache-2.0
"""A model's line through time joins what can be compared; lists find its runs however many others there are."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from tests.api.conftest import House
from tests.api.web.conftest import Full, estimate, summary

from radproof.api.http.render import environment
from radproof.api.results.caching import BoundedCache
from radproof.api.results.standing import standing, trend
from radproof.api.shelf.holdings import runs_of
from radproof.store.ids import new_id
from radproof.store.tables import Model, Run, now

SMALL, LARGE = 1 / 255, 4 / 255


def run(small: float, large: float, *, serious: int = 0, data: str | None = "dat_a", **told: Any) -> Run:
    """A run that is done, with its figures at 1/255 and 4/255."""
    cells = [
        {"defense": "none", "goal": "misclassify", "eps": eps, "budget": budget, "accuracy": estimate(value)}
        for eps, budget, value in ((SMALL, "1/255", small), (LARGE, "4/255", large))
    ]
    about = {**summary(large, serious), "robust": cells, "phantom": data is None, "preset": "quick", **told}
    return Run(id=new_id("run"), name="x", model_id="mdl_x", data_id=data, state="done", summary=about)


def test_trend_joins_the_last_runs_goal_and_budget_alone() -> None:
    found = trend([standing(one) for one in (run(0.6, 0.3), run(0.2, 0.5))])  # the second one's lowest is at 1/255
    assert found is not None and found.at == "4/255, any wrong answer"
    assert found.words == "0.50 (0.40 to 0.60); 0.30 (0.20 to 0.40)"


@pytest.mark.parametrize(
    "other",
    [
        run(0.6, 0.4, data="dat_b"),
        run(0.6, 0.4, data=None),
        run(0.6, 0.4, preset="full"),
        run(0.6, 0.4, images=41),
        run(0.6, 0.4, labels=["Normal"]),
        run(0.6, 0.4, robust=[]),
    ],
    ids=["data", "phantoms", "preset", "images", "labels", "budget"],
)
def test_trend_leaves_out_what_cannot_be_compared(other: Run) -> None:
    last, before = run(0.6, 0.3), run(0.6, 0.2)
    assert trend([standing(one) for one in (last, other)]) is None
    found = trend([standing(one) for one in (last, other, before)])
    assert found is not None and found.words == "0.20 (0.10 to 0.30); 0.30 (0.20 to 0.40)"


def test_trend_says_and_draws_what_is_not_established() -> None:
    found = trend([standing(one) for one in (run(0.6, 0.3), run(0.6, 0.2, serious=1))])
    assert found is not None and [dot.established for dot in found.points] == [False, True]
    assert found.words.startswith("0.20 (0.10 to 0.30), not established; 0.30")
    drawn = str(environment().get_template("standing.html.j2").module.trend(found, "x"))  # type: ignore[attr-defined]
    assert drawn.count('class="dot hollow"') == 1 and drawn.count('class="dot"') == 1
    assert "not established" in drawn and "At 4/255, any wrong answer" in drawn


def test_trend_is_none_for_fewer_than_two() -> None:
    assert trend([]) is None
    assert trend([standing(run(0.6, 0.3))]) is None


def test_estimate_has_its_interval_in_parentheses() -> None:
    macros: Any = environment().get_template("macros.html.j2").module
    assert '<span class="v">0.78</span> <span class="iv">(0.68 to 0.88)</span>' in macros.estimate(estimate(0.78))


def test_lists_find_a_models_runs_behind_many_of_others(house: House, full: Full) -> None:
    person = house.person("developer")
    with house.service.database.writing() as session:
        first = session.get(Run, full.done)
        assert first is not None
        own = {"project_id": person.project, "plan_id": first.plan_id, "data_id": full.data, "name": "later"}
        for at in range(450):
            when = now() + timedelta(seconds=at)
            session.add(Run(id=new_id("run"), model_id=full.unchecked, state="failed", created=when, **own))
    with house.service.database.reading() as session:
        models = [session.get(Model, full.model), session.get(Model, full.unchecked)]
        found = runs_of(session, [one for one in models if one])
    assert {one.id for one in found[full.model].of("done")} == {full.done, full.earlier}
    assert (found[full.model].count, found[full.unchecked].count) == (5, 450)
    assert len(found[full.unchecked].newest) == 12
    assert [one.created for one in found[full.unchecked].newest] == sorted(
        (one.created for one in found[full.unchecked].newest), reverse=True
    )
    page = person.client.get("/").text
    card = page[page.index(f'id="m-{full.model}"') :]
    assert "Not assessed yet" not in card[: card.index("</article>")]
    assert "<td>450</td>" in person.client.get("/models").text


def test_cache_makes_different_things_side_by_side_and_one_thing_once() -> None:
    kept: BoundedCache[int] = BoundedCache(4, 100, lambda _: 1)
    met = threading.Barrier(2, timeout=10)  # broken unless both are being made at once
    made: list[int] = []

    def make(value: int) -> int:
        made.append(value)
        met.wait()
        return value

    threads = [threading.Thread(target=kept.get, args=(one % 2, lambda one=one: make(one % 2))) for one in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not met.broken and sorted(made) == [0, 1]


def test_cache_is_bounded_by_bytes_and_by_count() -> None:
    kept: BoundedCache[str] = BoundedCache(3, 10, len)
    for text in ("aaaa", "bbbb", "cc"):
        kept.get(text, lambda text=text: text)
    assert kept.held == 10
    kept.get("dd", lambda: "dd")
    assert kept.held == 8
    assert kept.get("large", lambda: "x" * 11) == "x" * 11
    assert kept.held == 8, "it is given, and not kept"


def test_cache_keeps_nothing_of_what_failed() -> None:
    kept: BoundedCache[int] = BoundedCache(3, 10, lambda _: 1)
    with pytest.raises(ZeroDivisionError):
        kept.get(1, lambda: 1 // 0)
    assert kept.get(1, lambda: 7) == 7
