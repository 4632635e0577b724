"""The web application: routers, middleware, and what lives as long as the process."""

import asyncio
import contextlib
import reprlib
from collections.abc import AsyncIterator
from functools import cache, partial
from importlib import metadata
from typing import Any
from urllib.parse import quote

import vl_convert
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from psycopg.errors import UniqueViolation
from sqlalchemy import exc
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from app import database, front_door, refusals, resources
from app.admins import invite_routes
from app.admins import routes as admins
from app.admission import Admission
from app.config import Settings
from app.errors import BusyError, RefusalError, UnknownError
from app.experimenters import routes as experimenters
from app.experimenters.live import Changes, CurrentRankings
from app.requests import page, wants_page
from app.security import roles
from app.security.browser import HEADERS, Browser, Throttle
from app.store import Store
from app.subjects import flow, step_routes, trial_routes
from app.subjects import routes as subjects
from pipelines.errors import DiscernError

TITLES = {401: "Sign in first", 403: "Not for you", 404: "Not found", 410: "No longer there", 422: "Not understood"}
LARGEST_BODY = 1 << 20
UNAVAILABLE = "the database does not answer now; try again in a moment"


def create_app(url: str, settings: Settings) -> FastAPI:
    """The application.

    Args:
        url: of a migrated database.
        settings: where images lie, and how browsers reach the server.

    Raises:
        DiscernError: a setting is unusable.
    """
    app = FastAPI(
        title="Discern",
        version=metadata.version("discern"),
        description="Rank super-resolution methods by human preference.",
        lifespan=partial(_lifespan, url),
        openapi_url=None,
        max_body_size=LARGEST_BODY,
        # Nobody collects it; to look for collectors costs every request more than its route does.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.state.sessions = database.sessions(url)
    app.state.store = Store(settings.store_url)
    app.state.throttle = Throttle()
    app.state.changes = Changes()
    app.state.rankings = CurrentRankings()
    # Routes are looked through in turn: that of votes, of which there are most, comes first.
    app.include_router(trial_routes.vote_router)
    for router in (front_door.router, front_door.reference):
        app.include_router(router)
    for router in (subjects.open_door, subjects.router, step_routes.router, trial_routes.router):
        app.include_router(router)
    app.include_router(experimenters.router)
    app.include_router(admins.router)
    app.include_router(invite_routes.router)
    app.add_api_route("/assets/vega.js", _vega, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=resources.folder("static")), name="static")
    # The last one is the outermost: what another site sends is refused before it takes up room.
    free = ("/static/", "/assets/")
    app.add_middleware(Admission, room=database.REQUESTS, largest_body=LARGEST_BODY, open_to_all=free)
    app.add_middleware(Browser, refuse=_on_foreign, public_url=settings.public_url)
    _handle_errors(app)
    return app


@contextlib.asynccontextmanager
async def _lifespan(url: str, app: FastAPI) -> AsyncIterator[None]:
    listening = asyncio.create_task(app.state.changes.listen(url))
    # A second or two of work, which the first visitor of a chart need not wait for.
    bundling = asyncio.create_task(asyncio.to_thread(_vega_bundle))
    try:
        yield
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        await bundling
        await database.close(app.state.sessions.kw["bind"])


@cache
def _vega_bundle() -> str:
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed; window.vega = vega; window.vegaLite = vegaLite;")


def _vega() -> Response:
    """Vega, Vega-Lite and Vega-Embed, from the library that draws charts for papers: no foreign host is asked."""
    headers = {"Cache-Control": "public, max-age=86400"}
    return Response(_vega_bundle(), media_type="text/javascript; charset=utf-8", headers=headers)


def _handle_errors(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RefusalError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(UnknownError, lambda request, error: _answer(request, 404, str(error)))
    app.add_exception_handler(BusyError, lambda request, error: _unavailable(request, str(error)))
    app.add_exception_handler(DiscernError, lambda request, error: _answer(request, 409, str(error)))
    app.add_exception_handler(IntegrityError, _on_conflict)
    app.add_exception_handler(DBAPIError, _on_database_error)
    app.add_exception_handler(exc.TimeoutError, lambda request, _error: _unavailable(request))
    app.add_exception_handler(Exception, _on_bug)


def _answer(request: Request, status: int, message: str, refusal: RefusalError | None = None) -> Response:
    """An error as the asker can read it: JSON for programs, a page for people, for subjects in their language.

    What is wrong with a request comes after who may send it; but a body is read first, and may not be readable.
    """
    if status in (400, 422) and flow.needs_session(request.url.path):
        nobody = roles.nobody(request)
        if nobody is not None:
            return _on_refusal(request, nobody)
    subject = refusals.reader(request, status)
    if subject is not None:
        return refusals.answer(request, subject, status, message, refusal)
    if not wants_page(request):
        return JSONResponse({"detail": message}, status_code=status)
    title = TITLES.get(status, "Something went wrong")
    return page(request, None, "error.html", status=status, title=title, message=message)


def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return _answer(request, error.status, str(error), error)


def _on_foreign(request: Request) -> Response:
    """What another site made a browser send."""
    refusal = RefusalError("refused: this request was sent by another site", 403)
    if flow.is_of_subjects(request.url.path):
        return _on_refusal(request, refusal)
    return JSONResponse({"detail": str(refusal)}, status_code=refusal.status)


def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 401 and request.method == "GET" and wants_page(request):
        asked_for = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?next={quote(asked_for, safe='/')}", status_code=303)
    return _answer(request, error.status_code, str(error.detail))


def _on_invalid(request: Request, error: Exception) -> Response:
    """One clear sentence for each wrong field."""
    assert isinstance(error, RequestValidationError)
    return _answer(request, 422, "; ".join(_sentence(problem) for problem in error.errors()))


def _sentence(problem: dict[str, Any]) -> str:
    where = ".".join(map(str, problem["loc"][1:])) or str(problem["loc"][0])
    match problem["type"]:
        case "json_invalid":
            return f"{problem['loc'][0]}: not JSON ({problem['ctx']['error']})"
        case "missing":
            return f"{where}: missing"
        case "value_error" if where == "body":  # what a model says of its fields together names them itself
            return str(problem["ctx"]["error"])
        case _:
            return f"{where}: {problem['msg']}, got {reprlib.repr(problem.get('input'))}"


def _on_bug(request: Request, _error: Exception) -> Response:
    """What went wrong is in the server's log, with its traceback; the asker is told so, and nothing else."""
    response = _answer(request, 500, "this is a fault of the server; its log says more")
    response.headers.update(HEADERS)  # this handler stands outside the middleware that sets them
    return response


def _on_conflict(request: Request, error: Exception) -> Response:
    """Two requests wanted one thing at once, and the first has it; any other broken rule is a fault, and is logged."""
    assert isinstance(error, IntegrityError)
    if not isinstance(error.orig, UniqueViolation):
        raise error
    return _answer(request, 409, "somebody else did the same at the same time; look again, then repeat it if need be")


def _on_database_error(request: Request, error: Exception) -> Response:
    """A lost database is a matter of moments: who asks again, as the trial page does, loses nothing."""
    assert isinstance(error, DBAPIError)
    if isinstance(error, DataError):  # a character or a number that no column can hold
        return _answer(request, 422, f"a value cannot be stored or looked for: {error.orig}")
    if not (isinstance(error, OperationalError) or error.connection_invalidated):
        raise error
    return _unavailable(request)


def _unavailable(request: Request, message: str = UNAVAILABLE) -> Response:
    response = _answer(request, 503, message)
    response.headers["Retry-After"] = "1"
    return response
