"""Pages and requests of experimenters: studies, the live matrix, pairs, and reading rankings and calibrations."""

import json
import re
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from sse_starlette import EventSourceResponse
from starlette.responses import Response, StreamingResponse

from app import studies
from app.errors import UnknownError
from app.experimenters import charts, comparisons, live, tallies, views, vote_log
from app.experimenters.tallies import Voters
from app.experimenters.views import CalibrationView, Matrix, RankingView, StudyView
from app.experimenters.vote_log import Rows
from app.models import Study
from app.requests import Images, Transaction, page
from app.security import roles, sessions

router = APIRouter(tags=["experimenters"], dependencies=[Depends(roles.experimenter)])

OfVoters = Annotated[
    Voters | None, Query(description="Whose votes; people by default, once one of them has voted, simulated before.")
]


def _study(study: str, db: Transaction) -> Study:
    return studies.find(db, study)


Found = Annotated[Study, Depends(_study)]


def _group(
    db: Transaction,
    found: Found,
    group: Annotated[str | None, Query(description="Votes on which pairs; on those of all groups by default.")] = None,
) -> str | None:
    tallies.check_group(db, found, group)
    return group


OfGroup = Annotated[str | None, Depends(_group)]


@router.get("/studies", include_in_schema=False)
def studies_page(request: Request, db: Transaction) -> Response:
    """All studies."""
    return page(request, db, "experimenters/studies.html", studies=views.all_studies(db))


@router.get("/studies/{study}", include_in_schema=False)
def study_page(request: Request, db: Transaction, found: Found, group: OfGroup, voters: OfVoters = None) -> Response:
    """The live matrix beside the current ranking."""
    chosen = _chosen(db, found, voters)
    return page(
        request,
        db,
        "experimenters/study.html",
        study=views.study(db, found),
        voters=chosen,
        group=group,
        snapshot=live.snapshot(db, found, chosen, request.app.state.rankings, group),
    )


@router.get("/studies/{study}/events", include_in_schema=False)
def events(
    request: Request, db: Transaction, found: Found, group: OfGroup, voters: OfVoters = None
) -> EventSourceResponse:
    """Server-sent events `snapshot`, within a second of a vote."""
    read = partial(_read_snapshot, request, found.name, _chosen(db, found, voters), group)
    return EventSourceResponse(live.snapshots(read, request.app.state.changes, found.id), ping=15)


@router.get("/studies/{study}/pairs", include_in_schema=False)
def pairs_page(
    request: Request,
    db: Transaction,
    found: Found,
    group: OfGroup,
    first: str,
    second: str,
    voters: OfVoters = None,
) -> Response:
    """The image pairs behind a cell of the matrix."""
    position = {method.name: method.position for method in found.methods}
    if first not in position or second not in position or first == second:
        raise UnknownError(f"{first!r} and {second!r} are not two methods of this study")
    chosen = _chosen(db, found, voters)
    return page(
        request,
        db,
        "experimenters/pairs.html",
        study=views.study(db, found),
        voters=chosen,
        group=group,
        first=first,
        second=second,
        pairs=tallies.cell(db, found, position[first], position[second], chosen, group),
    )


@router.get("/studies/{study}/images/{sha256}.png", include_in_schema=False)
def image(request: Request, sha256: str, db: Transaction, found: Found, store: Images) -> Response:
    """An LR image or an output, by the hash of its pixels."""
    if not re.fullmatch("[0-9a-f]{64}", sha256):  # a stem may end in .png, too
        return comparison_page(request, f"{sha256}.png", db, found, store)
    if not tallies.holds_image(db, found, sha256):
        raise UnknownError("this study holds no such image")
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return Response(store.image(sha256), media_type="image/png", headers=headers)


@router.get("/studies/{study}/images/{stem}", include_in_schema=False)
def comparison_page(request: Request, stem: str, db: Transaction, found: Found, store: Images) -> Response:
    """All outputs of one LR image, with linked crops."""
    return page(
        request,
        db,
        "experimenters/comparison.html",
        study=found,
        comparison=comparisons.comparison(db, store, found, stem),
        address=partial(tallies.image_address, found),
    )


@router.get("/studies/{study}/rankings/{ranking}", include_in_schema=False)
def ranking_page(request: Request, db: Transaction, found: Found, ranking: int) -> Response:
    """A stored ranking."""
    stored = views.ranking(views.find_ranking(db, found, ranking), found.name)
    return page(
        request,
        db,
        "experimenters/ranking.html",
        study=views.study(db, found),
        ranking=stored,
        not_sure=tallies.number_not_sure(db, found, stored.voters, stored.group, up_to=stored.last_vote_id),
    )


@router.get("/studies/{study}/calibrations/{calibration}", include_in_schema=False)
def calibration_page(request: Request, db: Transaction, found: Found, calibration: int) -> Response:
    """A calibration: progress while it runs, then what it found."""
    stored = views.calibration(views.find_calibration(db, found, calibration), found.name)
    return page(request, db, "experimenters/calibration.html", study=views.study(db, found), calibration=stored)


@router.get("/api/studies")
def list_studies(db: Transaction) -> list[StudyView]:
    """All studies, newest first."""
    return views.all_studies(db)


@router.get("/api/studies/{study}")
def read_study(db: Transaction, found: Found) -> StudyView:
    """A study at a glance."""
    return views.study(db, found)


@router.get("/api/studies/{study}/snapshot")
def read_snapshot(
    request: Request, db: Transaction, found: Found, group: OfGroup, voters: OfVoters = None
) -> dict[str, Any]:
    """Everything that the live page shows: matrix, subjects, pace, and the ranking of the votes so far."""
    return live.snapshot(db, found, _chosen(db, found, voters), request.app.state.rankings, group)


@router.get("/api/studies/{study}/matrix")
def read_matrix(db: Transaction, found: Found, group: OfGroup, voters: OfVoters = None) -> Matrix:
    """The live count matrix: how often the method of the row was preferred to the method of the column."""
    return views.matrix(db, found, voters, group)


@router.get("/api/studies/{study}/votes.csv", response_class=StreamingResponse)
def read_votes(
    request: Request,
    found: Found,
    voters: Annotated[Voters | None, Query(description="Whose votes; everybody's by default, each row marked.")] = None,
    rows: Annotated[
        Rows, Query(description="Votes that count and name an image, or every row of the log.")
    ] = "counted",
) -> StreamingResponse:
    """The vote log, one row for each vote, oldest first; `discern rank` reads it.

    All rows of it are also those of trials that do not count, votes taken back or changed, and answers that name
    neither image; `kind` and `stands` tell them apart.
    """
    parts = [found.name, "votes", *([voters] if voters else []), *(["all"] if rows == "all" else [])]
    headers = {"Content-Disposition": f'attachment; filename="{"-".join(parts)}.csv"'}

    def lines() -> Any:
        # A transaction of its own: the one of the request has ended when the answer is sent.
        with request.app.state.sessions() as own:
            yield from vote_log.csv_lines(own, studies.find(own, found.name), voters, rows)

    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/api/studies/{study}/rankings")
def list_rankings(db: Transaction, found: Found) -> list[RankingView]:
    """The study's rankings, newest first."""
    return views.rankings(db, found)


@router.get("/api/studies/{study}/rankings/{ranking}")
def read_ranking(db: Transaction, found: Found, ranking: int) -> RankingView:
    """A ranking as it was fitted."""
    return views.ranking(views.find_ranking(db, found, ranking), found.name)


@router.get("/api/studies/{study}/rankings/{ranking}/chart")
def read_ranking_chart(db: Transaction, found: Found, ranking: int) -> dict[str, Any]:
    """A ranking as a Vega-Lite specification: scores with their intervals."""
    return charts.ranking(views.find_ranking(db, found, ranking).result)


@router.get("/api/studies/{study}/calibrations")
def list_calibrations(db: Transaction, found: Found) -> list[CalibrationView]:
    """The study's calibrations, newest first."""
    return views.calibrations(db, found)


@router.get("/api/studies/{study}/calibrations/{calibration}")
def read_calibration(db: Transaction, found: Found, calibration: int) -> CalibrationView:
    """A calibration: how far its job is, its log, and its result."""
    return views.calibration(views.find_calibration(db, found, calibration), found.name)


@router.get("/api/studies/{study}/calibrations/{calibration}/model.zip", response_class=Response)
def read_model(db: Transaction, found: Found, calibration: int, store: Images) -> Response:
    """The calibrated model as a zipped folder, which `discern score` takes once it is unpacked."""
    stored = views.find_calibration(db, found, calibration)
    if stored.model is None:
        raise UnknownError(f"calibration {calibration} has no model: its job has not succeeded")
    headers = {"Content-Disposition": f'attachment; filename="{found.name}-calibration-{stored.id}.zip"'}
    return Response(store.model(stored.model), media_type="application/zip", headers=headers)


def _chosen(db: Transaction, found: Study, voters: Voters | None) -> Voters:
    return voters or tallies.default_voters(tallies.number_by_voters(db, found))


def _read_snapshot(request: Request, study: str, voters: Voters, group: str | None) -> tuple[str, bool] | None:
    """A snapshot for a stream, in a transaction of its own, and only for somebody who is still signed in."""
    with request.app.state.sessions() as db:
        if sessions.user_of(db, request) is None:
            return None
        current = live.snapshot(db, studies.find(db, study), voters, request.app.state.rankings, group)
        return json.dumps(current), current["ranking_votes"] == current["votes"]
