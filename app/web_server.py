"""The web server's process: the application under uvicorn, on an address or on a socket that its parent listens on."""

import socket

import uvicorn

from app.config import Settings
from app.tls import Files
from app.web import create_app

# Open streams of live updates are cut after this long when the server stops; browsers connect again.
GRACE_SECONDS = 3


def run(url: str, settings: Settings, host: str, port: int, descriptor: int | None, tls: Files | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        url: of the migrated database.
        settings: see `Settings`.
        host: to listen on.
        port: to listen on.
        descriptor: of a listening socket, in the place of both.
        tls: certificate and key, to serve https; http without them.
    """
    config = uvicorn.Config(
        create_app(url, settings),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Only a proxy tells whom it asks for; without one, anybody could claim any address.
        proxy_headers=settings.public_url is not None,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )
    server = uvicorn.Server(config)
    server.run(sockets=None if descriptor is None else [socket.socket(fileno=descriptor)])
