"""What every answer tells the browser, where unsafe requests may come from, and how often a password may be tried."""

from collections.abc import Callable
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it browsers send `Origin: null` with forms, which looks as if another site had sent them.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Browser:
    """Middleware: refuses unsafe requests that another site made a browser send, and sets the headers above.

    Browsers say where a request comes from: by `Sec-Fetch-Site`, which plain-http hosts other than localhost do not
    get, or else by `Origin`. A program that is no browser sends neither, and carries nobody's cookies.

    Args:
        app: what to let them into.
        refuse: answers what is refused.
        public_url: how browsers reach the server, where they do not see its own name.
    """

    def __init__(self, app: ASGIApp, refuse: Callable[[Request], Response], public_url: str | None = None) -> None:
        self.app = app
        self.refuse = refuse
        self.public_host = urlsplit(public_url).netloc if public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        static = scope["path"].startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                # Modules and styles are asked for again each time, and answered with "not modified".
                headers.setdefault("Cache-Control", "no-cache" if static else "no-store")
            await send(message)

        if scope["method"] not in SAFE_METHODS and not self._same_site(Headers(scope=scope)):
            refusal = await run_in_threadpool(self.refuse, Request(scope))
            await refusal(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _same_site(self, headers: Headers) -> bool:
        fetched_from = headers.get("sec-fetch-site")
        if fetched_from is not None:
            return fetched_from in ("same-origin", "none")
        origin = headers.get("origin")
        return origin is None or urlsplit(origin).netloc in (headers.get("host"), self.public_host)


class Throttle:
    """Counts attempts, so that passwords cannot be guessed in bulk."""

    def __init__(self, for_a_name: int = 10, for_an_address: int = 100, minutes: int = 15) -> None:
        self._for_a_name = RateLimitItemPerMinute(for_a_name, minutes)
        self._for_an_address = RateLimitItemPerMinute(for_an_address, minutes)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def admits(self, address: str, name: str) -> bool:
        """Count an attempt, before it is made, and say whether it may be: many at once are no more than one by one."""
        return self._limiter.hit(self._for_an_address, address) and self._limiter.hit(self._for_a_name, address, name)

    def forget(self, address: str, name: str) -> None:
        """Whoever knew the password may mistype it again."""
        self._limiter.clear(self._for_a_name, address, name)
