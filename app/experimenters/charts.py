"""Charts as Vega-Lite specifications: one serves the live page, the API and the paper."""

from collections.abc import Mapping
from typing import Any

import altair as alt


def ranking(result: Mapping[str, Any]) -> dict[str, Any]:
    """Scores with their intervals on one scale, best method first.

    Args:
        result: `Ranking.as_dict()`.
    """
    methods = result["methods"]
    order = [row["method"] for row in methods]
    kept = ("method", "score", "lower", "upper", "rank", "rank_lower", "rank_upper")
    rows = [{key: row[key] for key in kept} for row in methods]
    y = alt.Y("method:N", sort=order, title=None, axis=alt.Axis(labelLimit=160))
    tooltip = [
        alt.Tooltip("method:N", title="method"),
        alt.Tooltip("score:Q", title="score", format="+.3f"),
        alt.Tooltip("lower:Q", title=f"lower {100 * result['level']:g} %", format="+.3f"),
        alt.Tooltip("upper:Q", title=f"upper {100 * result['level']:g} %", format="+.3f"),
        alt.Tooltip("rank_lower:Q", title="best rank"),
        alt.Tooltip("rank_upper:Q", title="worst rank"),
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(y=y, tooltip=tooltip)
    scale = alt.Scale(zero=False, nice=True)
    intervals = base.mark_rule(strokeWidth=2).encode(x=alt.X("lower:Q", title="score", scale=scale), x2="upper:Q")
    scores = base.mark_point(filled=True, size=70, opacity=1).encode(x=alt.X("score:Q", title="score", scale=scale))
    chart = (intervals + scores).properties(width="container", height=alt.Step(24))
    return chart.to_dict()
