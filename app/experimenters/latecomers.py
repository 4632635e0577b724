"""Methods that came later to a study, while their votes do not place them on the scale of the others yet."""

from app.models import Study
from pipelines.ranking.counts import Integers, Votes, count_matrix
from pipelines.ranking.thurstone import comparable_groups


def unplaced(study: Study, votes: Votes) -> dict[str, str]:
    """Later methods that cannot be compared with the rest, and why.

    None where others cannot be compared either: then there is no scale to place anything on.

    Args:
        study: whose `selection.anchors` say which methods came later.
        votes: on its methods.
    """
    later = set(study.description.get("selection", {}).get("anchors", {}))
    counts = count_matrix(votes)
    largest = max(comparable_groups(counts), key=len)
    others = [name for index, name in enumerate(votes.methods) if index not in largest]
    if not later.issuperset(others):
        return {}
    return {name: _reason(counts, votes.methods.index(name), largest) for name in others}


def sentence(reasons: dict[str, str]) -> str:
    """What is the matter with each of them; empty for none."""
    return "; ".join(f"{name} {reason}" for name, reason in reasons.items())


def _reason(counts: Integers, method: int, others: list[int]) -> str:
    won, lost = int(counts[method, others].sum()), int(counts[others, method].sum())
    if won + lost == 0:
        return "has no votes yet"
    return f"has {'won' if won else 'lost'} every vote so far"
