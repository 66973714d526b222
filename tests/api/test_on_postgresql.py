# SPDX-License-Identifier: Apache-2.0
"""What depends on the database most, on PostgreSQL too; `make test-postgres` runs everything there."""

import pytest
from tests.api.http.test_paging import (
    test_pages_give_everything_once_newest_first_also_within_one_moment as test_pages,
)
from tests.api.http.test_paging import test_web_race_a_double_submit_makes_one_thing_only as test_double_submit
from tests.api.http.test_paging import test_what_comes_in_between_shifts_nothing as test_pages_in_between
from tests.api.shelf.test_quota import test_web_race_many_runs_at_once_keep_to_the_quota as test_quota
from tests.api.test_crossing import crowd, seeds
from tests.api.test_crossing import (
    test_web_idor_no_route_tells_another_project_that_something_exists as test_crossing,
)
from tests.api.test_crossing import (
    test_web_idor_who_may_only_look_changes_nothing_of_their_own_project as test_looking,
)
from tests.jobs.conftest import furnished_light, laboratory
from tests.jobs.test_queue import test_a_job_waits_in_the_engine_once_however_often_it_is_dispatched as test_dispatch
from tests.jobs.test_queue import test_cancel_while_finishing_has_one_winner as test_one_winner
from tests.jobs.test_queue import test_each_verb_leads_where_the_table_says_and_nowhere_else as test_verbs
from tests.jobs.test_queue import test_two_workers_taking_the_same_lease_one_gets_it as test_lease
from tests.store.fresh import WANTED
from tests.store.test_database import database
from tests.store.test_database import test_readers_see_one_moment as test_readers
from tests.store.test_database import test_writers_that_read_first_do_not_lose_updates as test_writers
from tests.store.test_trail import test_the_database_refuses_changes as test_append_only
from tests.store.test_trail import trail

__all__ = [
    "crowd", "database", "furnished_light", "laboratory", "seeds", "test_append_only", "test_crossing", "test_dispatch",
    "test_double_submit", "test_lease", "test_looking", "test_one_winner", "test_pages", "test_pages_in_between",
    "test_quota", "test_readers", "test_verbs", "test_writers", "trail",
]  # fmt: skip
pytestmark = pytest.mark.postgres


@pytest.fixture(autouse=True)
def _on_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WANTED, "postgresql")
