"""Charts: valid Vega-Lite, with the numbers of the ranking."""

from typing import Any

import altair as alt
import numpy as np
import pytest
import vl_convert

from app.experimenters import charts
from pipelines.ranking import stage
from pipelines.ranking.counts import Votes


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """A ranking in which the methods' study order is not their order by score."""
    random = np.random.default_rng(3)
    pairs = random.integers(0, 4, (600, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    mu = np.array([0.2, -0.9, 1.1, -0.1])
    first_won = mu[pairs[:, 0]] - mu[pairs[:, 1]] + random.standard_normal(len(pairs)) > 0
    votes = Votes(
        methods=("alpha", "beta", "gamma", "delta"),
        winner=np.where(first_won, pairs[:, 0], pairs[:, 1]),
        loser=np.where(first_won, pairs[:, 1], pairs[:, 0]),
        count=np.ones(len(pairs), dtype=np.int64),
    )
    return stage.rank(votes, level=0.9).as_dict()


def test_the_specification_is_valid_and_can_be_drawn(result: dict[str, Any]) -> None:
    specification = charts.ranking(result)
    chart = alt.LayerChart.from_dict(specification, validate=True)
    assert chart.to_dict()["layer"] == specification["layer"]
    drawn = vl_convert.vegalite_to_svg(specification | {"width": 400})
    for method in ("alpha", "beta", "gamma", "delta"):
        assert f">{method}<" in drawn


def test_the_values_are_those_of_the_ranking_best_method_first(result: dict[str, Any]) -> None:
    specification = charts.ranking(result)
    layers = specification["layer"]
    values = [specification["datasets"][layer.get("data", specification["data"])["name"]] for layer in layers]
    expected = [
        {key: row[key] for key in ("method", "score", "lower", "upper", "rank", "rank_lower", "rank_upper")}
        for row in result["methods"]
    ]
    assert values == [expected] * len(layers)
    scores = [row["score"] for row in values[0]]
    assert scores == sorted(scores, reverse=True)
    order = [row["method"] for row in values[0]]
    assert order == ["gamma", "alpha", "delta", "beta"]
    for layer in layers:
        assert layer["encoding"]["y"]["sort"] == order


def test_intervals_and_scores_lie_on_one_axis_and_the_tooltip_names_the_level(result: dict[str, Any]) -> None:
    intervals, scores = charts.ranking(result)["layer"]
    assert (intervals["mark"]["type"], scores["mark"]["type"]) == ("rule", "point")
    assert (intervals["encoding"]["x"]["field"], intervals["encoding"]["x2"]["field"]) == ("lower", "upper")
    assert scores["encoding"]["x"]["field"] == "score"
    assert intervals["encoding"]["x"]["title"] == scores["encoding"]["x"]["title"] == "score"
    assert "lower 90 %" in [tip["title"] for tip in scores["encoding"]["tooltip"]]
