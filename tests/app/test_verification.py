"""`discern verify`: silent on what the application wrote, and loud on every counter that somebody changed."""

import pytest
from sqlalchemy import text

from app import verification
from tests.app.conftest import Site, next_trials, vote_on

# What was done behind the application's back, and what is said of it. Constraints stop greater lies than these.
TAMPERING = [
    ("UPDATE tallies SET wins_first = wins_first + 1, voted_first_left = voted_first_left + 1 "
     "WHERE issued_first_left > voted_first_left AND NOT simulated", "wins of the first", False),
    ("UPDATE tallies SET wins_first = wins_second, wins_second = wins_first WHERE wins_first + wins_second = 1 "
     "AND simulated", "wins of the first", True),
    ("UPDATE tallies SET wins_first = 0, wins_second = 0, voted_first_left = 0, voted_first_right = 0 "
     "WHERE NOT simulated", "wins of the first", False),
    ("UPDATE tallies SET not_sure = wins_first, wins_first = 0 WHERE wins_first > 0 AND simulated", "neither", True),
    ("UPDATE tallies SET voted_first_left = voted_first_left + 1, voted_first_right = voted_first_right - 1 "
     "WHERE voted_first_right > 0 AND issued_first_left > voted_first_left AND NOT simulated",
     "votes with the first method left", False),
    ("UPDATE tallies SET issued_first_left = issued_first_left + 1, issued_first_right = issued_first_right + 1 "
     "WHERE NOT simulated", "handed out", False),
    ("UPDATE tallies SET issued_first_left = issued_first_right, issued_first_right = issued_first_left "
     "WHERE simulated AND issued_first_left <> issued_first_right AND voted_first_left <= issued_first_right "
     "AND voted_first_right <= issued_first_left", "handed out", True),
    ("UPDATE trials SET first_on_left = NOT first_on_left WHERE simulated", "handed out", True),
    ("UPDATE trials SET first_on_left = NOT first_on_left WHERE NOT simulated AND id IN (SELECT trial_id FROM votes)",
     "wins of the first", False),
    ("DELETE FROM trials WHERE id NOT IN (SELECT trial_id FROM votes) AND simulated", "handed out", True),
    ("UPDATE subjects SET voted = voted + 1 WHERE NOT simulated", "subject", False),
    ("UPDATE subjects SET voted = 0", "subject", False),
    ("UPDATE subjects SET last_vote_at = now() WHERE simulated", "their last vote", False),
    ("UPDATE trials SET kind = 'repeat' WHERE simulated", "handed out", True),
    ("INSERT INTO votes (trial_id, revision) SELECT trial_id, 2 FROM votes JOIN trials ON trials.id = trial_id "
     "WHERE NOT simulated", "wins of the first", False),
    ("DELETE FROM tallies WHERE simulated AND wins_first + wins_second = 0", "has no counters", False),
]  # fmt: skip


def vote_a_little(site: Site) -> None:
    """Something of everything, whatever the seeds: sides are balanced over the 12 trials of a block."""
    for simulated in (False, True):
        for choice, votes in (("left", 9), ("right", 2), ("left", 0)):
            subject = site.subject(simulated=simulated)
            for trial in next_trials(subject, 12)[:votes]:
                vote_on(subject, trial, choice)


def test_what_the_application_counted_agrees_with_the_log_and_every_lie_is_found(site: Site) -> None:
    with site.sessions() as db:
        assert (verification.problems(db), verification.votes(db)) == ([], 0)
    vote_a_little(site)
    with site.sessions() as db:
        assert (verification.problems(db), verification.votes(db)) == ([], 22)
    for statement, said, simulated in TAMPERING:
        with site.sessions() as db:
            db.execute(text("SET LOCAL session_replication_role = replica"))  # which no trigger stands in the way of
            assert db.execute(text(statement)).rowcount >= 1, statement  # type: ignore[attr-defined]
            found = verification.problems(db)
            assert any(said in problem for problem in found), (statement, found)
            assert any("(simulated)" in problem for problem in found) == simulated, (statement, found)
            db.rollback()
    with site.sessions() as db:
        assert verification.problems(db) == []


def test_the_log_refuses_what_would_mislead_the_recount(site: Site) -> None:
    vote_a_little(site)
    with site.sessions() as db, pytest.raises(Exception, match="append-only"):
        db.execute(text("UPDATE votes SET choice = 'left'"))


def test_a_problem_names_the_pair_and_both_numbers(site: Site) -> None:
    subject = site.subject()
    vote_on(subject, next_trials(subject)[0])
    with site.sessions() as db:
        pair = db.scalars(text("SELECT pair_id FROM trials JOIN votes ON votes.trial_id = trials.id")).one()
        reset = "wins_first = 0, wins_second = 0, voted_first_left = 0, voted_first_right = 0"
        db.execute(text(f"UPDATE tallies SET {reset}"))
        problem, sides = verification.problems(db)
        db.rollback()
    assert problem.startswith(f"pair {pair}: the counters say 0 wins of the first and 0 of the second method and 0")
    assert problem.endswith(("says 1, 0 and 0", "says 0, 1 and 0"))
    assert sides.startswith(f"pair {pair}: the counters say 0 and 0 votes with the first method left and right")
