# SPDX-License-Identifier: Apache-2.0
"""What leaves as a file of its own is told in the trail; what is looked at is not."""

import pytest
from tests.api.conftest import House, Person
from tests.api.seeded import Seeds, finished_run, seed

from radproof.store.tables import Event


@pytest.fixture
def seeds(house: House, tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    made = seed(house, finished_run(tmp_path_factory.getbasetemp()))
    (house.service.settings.folder("runs", made.run) / "report.pdf").write_bytes(b"%PDF-1.7")
    return made


def told(house: House, person: Person) -> list[tuple[str, str, str]]:
    with house.service.database.reading() as session:
        found = session.query(Event).filter_by(action="run.export", actor=person.id).order_by(Event.number)
        return [(one.object, one.project_id, one.detail["format"]) for one in found]


def test_exports_of_a_run_are_told_and_looking_is_not(house: House, seeds: Seeds) -> None:
    person, stranger = house.person("viewer"), house.person("viewer", project="other")
    at = f"/api/v1/runs/{seeds.run}"
    image = person.client.get(f"{at}/images?limit=1").json()["items"][0]["id"]
    for path in ("report.html", "report.json", "report.md", "result", "images", f"images/{image}",
                 f"images/{image}/original.png"):  # fmt: skip
        assert person.client.get(f"{at}/{path}").status_code == 200, path
    assert told(house, person) == []
    for path in ("report.csv", "report.pdf", f"images/{image}/attacked.png?stored=true"):
        first = person.client.get(f"{at}/{path}")
        assert first.status_code == 200
        again = person.client.get(f"{at}/{path}", headers={"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304 and not again.content
        assert stranger.client.get(f"{at}/{path}").status_code == 404
    assert told(house, person) == [(seeds.run, person.project, form) for form in ("csv", "pdf", "image")]
    assert told(house, stranger) == [] and house.service.trail.broken() is None
