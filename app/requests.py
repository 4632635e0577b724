"""What the handling of a request works with: its transaction, who sends it, the store, and the templates."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.templating import Jinja2Templates
from sqlalchemy.orm import Session
from starlette.responses import Response

from app import resources
from app.security import sessions
from app.store import Store

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


def base_url(request: Request) -> str:
    """How browsers reach this server, without a slash at the end."""
    return str(request.app.state.settings.public_url or str(request.base_url).rstrip("/"))
