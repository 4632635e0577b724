"""A ranking as text: the table that `discern rank` and the demo print."""

from rich.table import Table
from rich.text import Text

from pipelines.ranking.stage import Ranking

WIDEST_PLOT = 40
NARROWEST_PLOT = 12


def table(ranking: Ranking, width: int, *, ascii_only: bool = False) -> Table:
    """One row for each method, best first: score, interval, ranks, and a plot of the intervals on one scale.

    Args:
        ranking: what to show.
        width: of the terminal, in characters; the plot takes what is left, and is left out where that is too little.
        ascii_only: draw the plot with what every terminal can print.
    """
    cells = [_cells(ranking, position, i) for position, i in enumerate(ranking.order)]
    headings = ["", "method", "score", f"{100 * ranking.level:g} % interval", "ranks", "above next"]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    plot = min(WIDEST_PLOT, width - sum(widths) - 2 * len(widths))
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading, column_width in zip(headings, widths, strict=True):
        left = heading == "method"
        rows.add_column(heading, justify="left" if left else "right", no_wrap=True, min_width=column_width)
    if plot >= NARROWEST_PLOT:
        rows.add_column("", no_wrap=True)
    for row, i in zip(cells, ranking.order, strict=True):
        rows.add_row(
            *map(Text, row),
            *([_plot(ranking, i, plot, "-o" if ascii_only else "─●")] if plot >= NARROWEST_PLOT else []),
        )
    return rows


def footnotes(ranking: Ranking) -> list[str]:
    """What a reader must know beside the table."""
    fit = ranking.fit
    of_group = "" if ranking.group is None else f" of group {ranking.group}"
    lines = [
        f"{ranking.votes} votes{of_group}; intervals clustered by {ranking.covariance.clusters}",
        f"log-likelihood {fit.log_likelihood:.4f}, "
        f"G2 {fit.deviance:.1f} on {fit.degrees_of_freedom} degrees of freedom",
    ]
    if fit.degrees_of_freedom > 0:
        lines[-1] += f" (p = {fit.p_value:.2g}, taking votes as independent)"
    if ranking.covariance.too_few_clusters:
        lines.append(f"too few clusters for {len(fit.methods)} methods: do not rely on the intervals")
    by_group = ranking.votes_by_group or {}
    if len(by_group) > 1:
        lines.append("votes by group: " + ", ".join(f"{group} {number}" for group, number in by_group.items()))
    if fit.ridge > 0:
        lines.append(f"ridge {fit.ridge:g}: scores are drawn towards 0")
    if ranking.simulated:
        lines.append("these votes come from simulated subjects, not from people")
    return lines


def _cells(ranking: Ranking, position: int, method: int) -> list[str]:
    spread = ranking.intervals
    following = ranking.order[position + 1 : position + 2]
    ranks = sorted({int(spread.rank_lower[method]), int(spread.rank_upper[method])})
    return [
        str(position + 1),
        ranking.fit.methods[method],
        f"{ranking.fit.scores[method]:+.4f}",
        f"{spread.lower[method]:+.3f} .. {spread.upper[method]:+.3f}",
        "-".join(map(str, ranks)),
        f"{spread.probability_above[method, following[0]]:.3f}" if following else "",
    ]


def _plot(ranking: Ranking, method: int, width: int, marks: str) -> str:
    """The interval as a line with a dot at the score, on a scale that all methods share."""
    low, high = float(ranking.intervals.lower.min()), float(ranking.intervals.upper.max())
    unit = (width - 1) / (high - low) if high > low else 0.0

    def column(value: float) -> int:
        return round((value - low) * unit)

    line = [" "] * width
    for place in range(column(ranking.intervals.lower[method]), column(ranking.intervals.upper[method]) + 1):
        line[place] = marks[0]
    line[column(ranking.fit.scores[method])] = marks[1]
    return "".join(line)
