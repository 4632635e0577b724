"""The stage: votes -> a ranking with its intervals, and everything that a reader needs to judge it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.ranking import intervals, thurstone
from pipelines.ranking.counts import Votes, count_matrix, number_of_votes, of_group, votes_by_group
from pipelines.ranking.intervals import Intervals, RobustCovariance
from pipelines.ranking.thurstone import ThurstoneFit


@dataclass(frozen=True, eq=False)
class Ranking:
    """A fitted ranking.

    Attributes:
        fit: Eq. (2).
        covariance: cluster-robust.
        intervals: of scores and ranks, at `level`.
        level: confidence, in (0, 1).
        votes: how many.
        group: the group of image pairs whose votes these are; None where all were taken.
        votes_by_group: how many of the votes each group has; None where the votes name no groups.
        simulated: whether they come from simulated subjects.
    """

    fit: ThurstoneFit
    covariance: RobustCovariance
    intervals: Intervals
    level: float
    votes: int
    group: str | None
    votes_by_group: dict[str, int] | None
    simulated: bool

    @property
    def order(self) -> list[int]:
        """Indices of the methods, best first; equal scores in the order of the methods."""
        return [int(index) for index in np.argsort(-self.fit.scores, kind="stable")]

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON values, best method first."""
        return {
            "methods": [
                {
                    "method": self.fit.methods[i],
                    "score": float(self.fit.scores[i]),
                    "lower": float(self.intervals.lower[i]),
                    "upper": float(self.intervals.upper[i]),
                    "rank": position,
                    "rank_lower": int(self.intervals.rank_lower[i]),
                    "rank_upper": int(self.intervals.rank_upper[i]),
                }
                for position, i in enumerate(self.order, 1)
            ],
            "level": self.level,
            "clusters": self.covariance.clusters,
            "votes": self.votes,
            "group": self.group,
            "votes_by_group": self.votes_by_group,
            "simulated": self.simulated,
            "log_likelihood": self.fit.log_likelihood,
            "deviance": self.fit.deviance,
            "degrees_of_freedom": self.fit.degrees_of_freedom,
            "p_value": self.fit.p_value if self.fit.degrees_of_freedom > 0 else None,
            "ridge": self.fit.ridge,
        }


def rank(votes: Votes, *, group: str | None = None, ridge: float = 0.0, level: float = 0.95) -> Ranking:
    """Fit Eq. (2) to votes and say how sure it is.

    Args:
        votes: by whatever subjects and images they name, the intervals are clustered.
        group: rank the votes on the image pairs of this group alone; by default, all of them.
        ridge: see `thurstone.fit`; 0 is maximum likelihood.
        level: confidence of the intervals, in (0, 1).

    Raises:
        NotIdentifiableError: some methods cannot be compared.
        DiscernError: there are no votes, none of such a group, or an argument is out of range.
    """
    votes = votes if group is None else of_group(votes, group)
    fit = thurstone.fit(count_matrix(votes), methods=votes.methods, ridge=ridge)
    covariance = intervals.two_way_covariance(votes, fit)
    spread = intervals.intervals(fit.scores, covariance, level=level)
    return Ranking(
        fit=fit,
        covariance=covariance,
        intervals=spread,
        level=level,
        votes=number_of_votes(votes),
        group=group,
        votes_by_group=votes_by_group(votes),
        simulated=votes.simulated,
    )
