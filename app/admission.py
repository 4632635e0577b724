"""No more requests at once than there are database connections.

A request keeps its connection while it waits for a thread, and a thread waits for a connection: with more requests than
connections all threads could end up waiting for connections that nobody can give back. So the rest wait at the door.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Admission:
    """Middleware: lets requests in, in the order in which they came, as long as there is room.

    A request makes room when its answer begins: its transaction has ended by then (see `app.requests.Transaction`), and
    an endless stream of events must not keep anybody out.

    Args:
        app: what to let them into.
        room: how many at once.
        open_to_all: paths that begin so need no connection.
    """

    def __init__(self, app: ASGIApp, room: int, open_to_all: tuple[str, ...]) -> None:
        self.app = app
        self._room = asyncio.Semaphore(room)
        self._open_to_all = open_to_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith(self._open_to_all):
            await self.app(scope, receive, send)
            return
        inside = True

        def leave() -> None:
            nonlocal inside
            if inside:
                inside = False
                self._room.release()

        async def send_and_leave(message: Message) -> None:
            leave()
            await send(message)

        await self._room.acquire()
        try:
            await self.app(scope, receive, send_and_leave)
        finally:
            leave()
