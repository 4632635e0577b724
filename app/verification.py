"""`discern verify`: everything that was counted while votes arrived, counted again from the log."""

from sqlalchemy import text
from sqlalchemy.orm import Session

# The votes that count: of each trial of kind test the newest row, where it has a choice.
_COUNTED = """
    WITH log AS (
        SELECT trials.subject_id, trials.pair_id, trials.simulated, first_on_left, choice
        FROM trials CROSS JOIN LATERAL (
            SELECT choice FROM votes WHERE trial_id = trials.id ORDER BY revision DESC LIMIT 1) AS newest
        WHERE kind = 'test' AND choice IS NOT NULL)"""

_QUERIES = {
    "pair {}: the counters say {} wins of the first and {} of the second method and {} times neither, the log says "
    "{}, {} and {}": """
        SELECT tallies.pair_id || CASE WHEN tallies.simulated THEN ' (simulated)' ELSE '' END,
               wins_first, wins_second, not_sure, counted.first, counted.second, counted.neither
        FROM tallies CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE choice <> 'not_sure' AND (choice = 'left') = first_on_left) AS first,
                   count(*) FILTER (WHERE choice <> 'not_sure' AND (choice = 'left') <> first_on_left) AS second,
                   count(*) FILTER (WHERE choice = 'not_sure') AS neither
            FROM log WHERE log.pair_id = tallies.pair_id AND log.simulated = tallies.simulated) AS counted
        WHERE (wins_first, wins_second, not_sure)
            IS DISTINCT FROM (counted.first, counted.second, counted.neither)""",
    "pair {}: the counters say {} and {} votes with the first method left and right, the log says {} and {}": """
        SELECT tallies.pair_id || CASE WHEN tallies.simulated THEN ' (simulated)' ELSE '' END,
               voted_first_left, voted_first_right, counted.on_left, counted.on_right
        FROM tallies CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE first_on_left) AS on_left,
                   count(*) FILTER (WHERE NOT first_on_left) AS on_right
            FROM log WHERE log.pair_id = tallies.pair_id AND log.simulated = tallies.simulated) AS counted
        WHERE (voted_first_left, voted_first_right) IS DISTINCT FROM (counted.on_left, counted.on_right)""",
    "pair {}: the counters say it was handed out {} and {} times with the first method left and right, the trials say "
    "{} and {}": """
        SELECT tallies.pair_id || CASE WHEN tallies.simulated THEN ' (simulated)' ELSE '' END,
               issued_first_left, issued_first_right, counted.on_left, counted.on_right
        FROM tallies CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE first_on_left) AS on_left,
                   count(*) FILTER (WHERE NOT first_on_left) AS on_right
            FROM trials
            WHERE trials.pair_id = tallies.pair_id AND trials.simulated = tallies.simulated AND kind = 'test'
        ) AS counted
        WHERE (issued_first_left, issued_first_right) IS DISTINCT FROM (counted.on_left, counted.on_right)""",
    "subject {}: the counter says {} votes, the log says {}": """
        SELECT subjects.id, voted, counted.votes
        FROM subjects CROSS JOIN LATERAL (
            SELECT count(*) AS votes FROM log WHERE log.subject_id = subjects.id) AS counted
        WHERE voted IS DISTINCT FROM counted.votes""",
    "subject {}: their last vote was received at {}, the log says {}": """
        SELECT subjects.id, last_vote_at, counted.last
        FROM subjects CROSS JOIN LATERAL (
            SELECT max(received_at) AS last FROM trials JOIN votes ON votes.trial_id = trials.id
            WHERE trials.subject_id = subjects.id) AS counted
        WHERE last_vote_at IS DISTINCT FROM counted.last""",
    "pair {}: has no counters": """
        SELECT pairs.id FROM pairs LEFT JOIN tallies ON tallies.pair_id = pairs.id
        GROUP BY pairs.id HAVING count(tallies.pair_id) <> 2""",
}


def problems(db: Session) -> list[str]:
    """Where a counter and the log disagree, in words; empty where all is well."""
    return [message.format(*row) for message, query in _QUERIES.items() for row in db.execute(text(_COUNTED + query))]


def votes(db: Session) -> int:
    """How many votes the log holds."""
    return int(db.scalar(text("SELECT count(*) FROM votes")) or 0)
