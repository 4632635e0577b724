"""What the handling of a request works with: its transaction, who sends it, the store, and the templates."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.templating import Jinja2Templates
from sqlalchemy.orm import Session
from starlette.responses import Response

from app import resources
from app.security import sessions
from app.store import Store
from app.subjects import languages

_templates = Jinja2Templates(env=resources.templates())


def _transaction(request: Request) -> Iterator[Session]:
    with request.app.state.sessions.begin() as session:
        yield session


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


# Ends with the function that handles the request, so that nothing is acknowledged before it is stored; the default
# scope would commit after the answer was sent.
Transaction = Annotated[Session, Depends(_transaction, scope="function")]
Images = Annotated[Store, Depends(_store)]


def page(request: Request, db: Session | None, name: str, /, *, status: int = 200, **context: Any) -> Response:
    """Render a template; every one of them knows who is looking, and at which path."""
    viewer = sessions.user_of(db, request) if db is not None else None
    return _templates.TemplateResponse(
        request, name, {"viewer": viewer, "path": request.url.path, "status": status, **context}, status_code=status
    )


def subject_page(request: Request, language: str, name: str, /, *, status: int = 200, **context: Any) -> Response:
    """Render a page for subjects: a template that extends `subjects/base.html`, or includes `subjects/_words.html`.

    Each knows `language`, its `direction`, and the `words` of the scripts.

    Args:
        request: that is answered.
        language: of the subject, or, before there is one, the one that was negotiated.
        name: of the template, such as "subjects/thanks.html".
        status: of the answer; the template knows it too.
        context: what else the template names; `study_title` always.
    """
    templates = Jinja2Templates(env=languages.environment(language))
    spoken = {
        "status": status,
        "language": language,
        "direction": languages.direction(language),
        "words": languages.words(language),
    }
    return templates.TemplateResponse(request, name, spoken | context, status_code=status)


def asked_language(request: Request, offered: Sequence[str]) -> str:
    """The language that a page is asked for in: chosen in its address, or else the browser's."""
    accepted = request.headers.get("accept-language", "")
    return languages.choose(request.query_params.get("lang"), accepted, offered)


def wants_page(request: Request) -> bool:
    """Whether a person asks, who reads pages; programs read JSON."""
    programmatic = request.url.path.startswith(("/api/", "/trials/", "/static/", "/assets/"))
    return not programmatic and "text/html" in request.headers.get("accept", "text/html")


def base_url(request: Request) -> str:
    """How browsers reach this server, without a slash at the end."""
    return str(request.app.state.settings.public_url or str(request.base_url).rstrip("/"))
