"""No more requests at once than there are database connections.

A request keeps its connection while it waits for a thread, and a thread waits for a connection: with more requests than
connections all threads could end up waiting for connections that nobody can give back. So the rest wait at the door.
"""

import asyncio
from collections import deque

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Admission:
    """Middleware: lets requests in, in the order in which they came, as long as there is room.

    A request comes in when all of it has arrived: a slow sender must not keep anybody out. It makes room when its
    answer begins: its transaction has ended by then (see `app.requests.Transaction`), and an endless stream of events
    must not keep anybody out either.

    Args:
        app: what to let them into.
        room: how many at once.
        largest_body: in bytes; what exceeds it is left to the application, which refuses it.
        open_to_all: paths that begin so need no connection.
    """

    def __init__(self, app: ASGIApp, room: int, largest_body: int, open_to_all: tuple[str, ...]) -> None:
        self.app = app
        self._room = asyncio.Semaphore(room)
        self._largest_body = largest_body
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

        arrived = await _arrived(receive, self._largest_body)

        async def receive_again() -> Message:
            return arrived.popleft() if arrived else await receive()

        await self._room.acquire()
        try:
            await self.app(scope, receive_again, send_and_leave)
        finally:
            leave()


async def _arrived(receive: Receive, most: int) -> deque[Message]:
    """What a client sends, up to the end of the body or so many bytes of it."""
    messages: deque[Message] = deque()
    size, more = 0, True
    while more and size <= most:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    return messages
