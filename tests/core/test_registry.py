"""A registry's signature is the schema: unknown, misspelt and out-of-range parameters are refused by name."""

from typing import Annotated

import pytest
from pydantic import Field

from radproof.core.params import Epsilon
from radproof.core.registry import Need, Registry, named, split_name
from radproof.errors import BadPlan, UnknownName


@pytest.fixture
def parts() -> Registry[str]:
    part: Registry[str] = Registry("part")

    @part(title="Sum", paper="", presets={"quick": {"times": 2}}, variant="kind")
    def adder(
        what: Annotated[str, Need("a word")],
        eps: Epsilon = 4 / 255,
        times: Annotated[int, Field(ge=1, le=5)] = 3,
        kind: str = "plain",
    ) -> str:
        """Repeats what it needs."""
        return what * times

    return part


def test_what_is_needed_is_bound_and_no_parameter(parts):
    recipe = parts["adder"]
    assert set(recipe.params.model_fields) == {"eps", "times", "kind"}
    assert recipe.needs == {"what": "a word"}
    assert recipe.make({}, what="ab") == "ababab"
    with pytest.raises(BadPlan, match=r"needs what \(a word\)"):
        recipe.make({})


def test_given_parameters_win_over_the_preset_and_that_over_defaults(parts):
    recipe = parts["adder"]
    assert recipe.settle({}, "quick")["times"] == 2
    assert recipe.settle({"times": 5}, "quick")["times"] == 5
    assert recipe.settle({}, "published")["times"] == 3


def test_budgets_may_be_written_as_fractions(parts):
    assert parts["adder"].settle({"eps": "2/255"})["eps"] == pytest.approx(2 / 255)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tims": 2}, "did you mean 'times'"),
        ({"times": 9}, "less than or equal to 5.*got 9"),
        ({"eps": 0}, "greater than 0"),
        ({"eps": -1}, "greater than 0"),
        ({"eps": 2}, "less than or equal to 1"),
        ({"eps": float("nan")}, "finite"),
        ({"eps": "4/0"}, "fraction such as 4/255"),
    ],
)
def test_bad_parameters_are_refused_by_name(parts, params, message):
    with pytest.raises(BadPlan, match=message):
        parts["adder"].settle(params)


def test_the_nearest_name_is_offered(parts):
    with pytest.raises(UnknownName, match="did you mean 'adder'"):
        parts["addr"]


def test_variants_are_shown_in_brackets(parts):
    assert parts["adder"].label({"kind": "plain"}) == "adder[plain]"
    assert split_name("stm[neural]") == ("stm", "neural")
    assert split_name("sia") == ("sia", None)


def test_a_part_without_a_budget_says_its_limits_in_words(parts):
    @parts(title="Turn", paper="", limits=lambda p: f"up to {p['degrees']:g}°")
    def turn(degrees: float = 10.0) -> str:
        return ""

    assert turn.limits is not None
    assert turn.limits(turn.settle({"degrees": 5})) == "up to 5°"
    assert parts["adder"].limits is None


def test_a_name_is_registered_once(parts):
    with pytest.raises(ValueError, match="already registered"):

        @parts(title="Again", paper="")
        def adder() -> str:
            return ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sia", {"name": "sia", "params": {}}),
        ({"name": "sia", "copies": 4}, {"name": "sia", "params": {"copies": 4}}),
        ({"name": "sia", "params": {"copies": 4}}, {"name": "sia", "params": {"copies": 4}}),
    ],
)
def test_a_part_may_be_written_in_three_ways(given, expected):
    assert named(given) == expected


@pytest.mark.parametrize("given", [None, 4, ["sia"], {"copies": 4}, {"name": "sia", "params": {}, "copies": 4}])
def test_what_names_no_part_is_left_to_the_schema(given):
    assert named(given) is given
