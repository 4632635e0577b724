"""How subjects vote: what their flags tell, and the trials that do not count; and how far they are in their blocks."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.experimenters.tallies import Voters
from app.models import Study


@dataclass(frozen=True)
class Conduct:
    """Numbers of one subject, of the votes that stand, on trials of every kind.

    Attributes:
        sitting: the one that they are in, from 1; 0 before the first trial.
        blocks: of trials, with a vote on each of them.
        fast: votes that came sooner than the protocol expects anybody to have looked at both images.
        hidden: votes during which the page lost focus or the images were out of sight.
        pixels_different: votes on other pixels than those that were ingested.
        pixels_unverifiable: votes whose pixels the page could not tell.
        gold, gold_right: trials with an obvious answer, and those answered rightly.
        identical, identical_left: trials that show one image twice, and those on which the left one was chosen.
        repeats, repeats_agreeing: trials shown a second time, and those answered as the first time.
    """

    sitting: int = 0
    blocks: int = 0
    fast: int = 0
    hidden: int = 0
    pixels_different: int = 0
    pixels_unverifiable: int = 0
    gold: int = 0
    gold_right: int = 0
    identical: int = 0
    identical_left: int = 0
    repeats: int = 0
    repeats_agreeing: int = 0


# `first` is whether the first image was chosen; a repeated trial has the images of its test trial on the other sides.
_BY_SUBJECT = text("""
    WITH answered AS (
        SELECT trials.subject_id, trials.block_id, trials.kind, trials.pair_id, newest.choice, newest.pixels,
               newest.flags, newest.choice = CASE WHEN trials.first_on_left THEN 'left' ELSE 'right' END AS first
        FROM trials LEFT JOIN votes AS newest ON newest.trial_id = trials.id AND NOT EXISTS (
            SELECT FROM votes AS later WHERE later.trial_id = trials.id AND later.revision > newest.revision)
        WHERE trials.study_id = :study AND trials.simulated = :simulated
    ), by_block AS (
        SELECT subject_id, block_id, count(*) = count(choice) AS done,
               count(choice) FILTER (WHERE 'fast' = ANY (flags)) AS fast,
               count(choice) FILTER (WHERE 'hidden' = ANY (flags)) AS hidden,
               count(choice) FILTER (WHERE pixels = 'different') AS different,
               count(choice) FILTER (WHERE pixels = 'unverifiable') AS unverifiable,
               count(choice) FILTER (WHERE kind = 'gold') AS gold,
               count(choice) FILTER (WHERE kind = 'gold' AND first) AS gold_right,
               count(choice) FILTER (WHERE kind = 'identical') AS identical,
               count(choice) FILTER (WHERE kind = 'identical' AND choice = 'left') AS identical_left
        FROM answered GROUP BY subject_id, block_id
    ), repeated AS (
        SELECT again.subject_id, count(*) AS repeats,
               count(*) FILTER (WHERE (once.choice = 'not_sure') = (again.choice = 'not_sure')
                                AND once.first = again.first) AS agreeing
        FROM answered AS again JOIN answered AS once USING (subject_id, pair_id)
        WHERE again.kind = 'repeat' AND once.kind = 'test' AND again.choice IS NOT NULL AND once.choice IS NOT NULL
        GROUP BY again.subject_id
    )
    SELECT by_block.subject_id, max(sitting), count(*) FILTER (WHERE done AND purpose = 'trials'),
           sum(fast), sum(hidden),
           sum(different), sum(unverifiable), sum(gold), sum(gold_right), sum(identical), sum(identical_left),
           coalesce(max(repeats), 0), coalesce(max(agreeing), 0)
    FROM by_block JOIN blocks ON blocks.id = block_id
    LEFT JOIN repeated ON repeated.subject_id = by_block.subject_id
    GROUP BY by_block.subject_id""")


def by_subject(db: Session, study: Study, voters: Voters) -> dict[int, Conduct]:
    """Of those who were handed a trial, by the subject's key."""
    rows = db.execute(_BY_SUBJECT, {"study": study.id, "simulated": voters == "simulated"})
    return {subject: Conduct(*map(int, numbers)) for subject, *numbers in rows}
