"""Pages for anybody: the first page, signing in and out, setting up an account, what the API offers."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.openapi.utils import get_openapi
from sqlalchemy import text
from starlette.responses import JSONResponse, RedirectResponse, Response

from app.models import User
from app.requests import Transaction, page
from app.security import roles, sessions, users
from pipelines.errors import DiscernError

router = APIRouter(include_in_schema=False)
# What the API offers is for those who may use some of it.
reference = APIRouter(include_in_schema=False, dependencies=[Depends(roles.experimenter)])


@router.get("/")
def home(request: Request, db: Transaction) -> Response:
    """The studies, for those who are signed in; for subjects, wherever they are in their session."""
    if sessions.user_of(db, request) is not None:
        return RedirectResponse("/studies", status_code=303)
    if sessions.subject_of(db, request) is not None:
        return RedirectResponse("/session", status_code=303)
    return page(request, db, "home.html")


@router.get("/health")
def health(db: Transaction) -> dict[str, str]:
    """Whether this process and its database answer."""
    db.execute(text("SELECT 1"))
    return {"status": "ok"}


@router.get("/sign-in")
def sign_in_page(request: Request, db: Transaction, next: str = "/studies") -> Response:  # noqa: A002 - in the address
    """The form to sign in."""
    return page(request, db, "sign_in.html", next=_local(next), problem=None, name="")


@router.post("/sign-in")
def sign_in(
    request: Request,
    db: Transaction,
    name: Annotated[str, Form(max_length=100)] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/studies",  # noqa: A002 - the field's name
) -> Response:
    """Sign in; too many wrong passwords for one name from one address have to wait."""
    throttle = request.app.state.throttle
    key = (request.client.host if request.client else "", name.strip().lower())
    if not throttle.admits(*key):
        problem = "Too many attempts. Wait a quarter of an hour, then try again."
        return page(request, db, "sign_in.html", status=429, next=_local(next), problem=problem, name=name)
    user = users.check(db, name, password)
    if user is None:
        problem = "Name or password is wrong."
        return page(request, db, "sign_in.html", status=401, next=_local(next), problem=problem, name=name)
    throttle.forget(*key)
    return _signed_in(request, db, user, _local(next))


@router.post("/sign-out")
def sign_out(request: Request, db: Transaction) -> Response:
    """End the session."""
    response = RedirectResponse("/", status_code=303)
    sessions.end(db, request, response)
    return response


@router.get("/set-up/{token}")
def set_up_page(token: str, request: Request, db: Transaction) -> Response:
    """Choose a name and a password."""
    link = users.usable_link(db, token)
    if link is None:
        raise HTTPException(410, "this link was used already, or is too old; ask an admin for a new one")
    return page(request, db, "set_up.html", role=link.role, problem=None, name="")


@router.post("/set-up/{token}")
def set_up(
    token: str,
    request: Request,
    db: Transaction,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
) -> Response:
    """Make the user, use the link up, and sign in."""
    link = users.usable_link(db, token)
    if link is None:
        raise HTTPException(410, "this link was used already, or is too old; ask an admin for a new one")
    role = link.role
    try:
        user = users.use_link(db, token, name, password)
    except DiscernError as error:
        return page(request, db, "set_up.html", status=422, role=role, problem=str(error), name=name)
    return _signed_in(request, db, user, "/admin" if role == "admin" else "/studies")


@reference.get("/api/openapi.json")
def openapi(request: Request) -> JSONResponse:
    """The API in OpenAPI's terms."""
    return JSONResponse(_schema(request))


@reference.get("/api")
def api_page(request: Request, db: Transaction) -> Response:
    """The API to read."""
    endpoints = [
        {
            "method": method.upper(),
            "path": path,
            "summary": operation["summary"],
            "description": operation.get("description", ""),
            "audience": operation["tags"][0],
        }
        for path, operations in _schema(request)["paths"].items()
        for method, operation in operations.items()
    ]
    return page(request, db, "api.html", endpoints=endpoints)


def _schema(request: Request) -> dict[str, Any]:
    app = request.app
    return get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)


def _signed_in(request: Request, db: Transaction, user: User, target: str) -> Response:
    response = RedirectResponse(target, status_code=303)
    sessions.set_cookie(response, request, sessions.STAFF, sessions.open_for_user(db, user))
    return response


def _local(target: str) -> str:
    """Where to go after signing in: a path of this server, whatever the address says."""
    inside = target.startswith("/") and not target.startswith(("//", "/\\")) and not any(c in target for c in "\r\n\t")
    return target if inside else "/studies"
