"""Chromium driven by its debugging protocol alone, over a pipe.

Playwright would have the browser keep what every request brought, for its user to look at, so that the memory of the
page's own process grew with each image. Here no domain of the protocol is enabled: nothing is recorded.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PIPES = 'exec "$@" 3<&{reading} 4>&{writing}'  # Chromium reads commands from the one and answers on the other


class Page:
    """One page, and the process of its browser."""

    def __init__(self, process: "subprocess.Popen[bytes]", commands: int, answers: int) -> None:
        self.process = process
        self._commands, self._answers = commands, answers
        self._numbered, self._unread = 0, b""
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a command answers. Raises RuntimeError where the browser refuses it."""
        self._numbered += 1
        command = {"id": self._numbered, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        answer = next(message for message in self._messages() if message.get("id") == self._numbered)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    def evaluate(self, script: str) -> Any:
        """What a script on the page comes to; promises are awaited."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a script finds it true on whichever document is loaded by then."""
        while True:
            try:
                if self.evaluate(f"new Promise((done) => setTimeout(() => done(Boolean({condition})), 5))"):
                    return
            except RuntimeError as error:
                if "navigated" not in str(error) and "context" not in str(error):
                    raise

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            while b"\0" not in self._unread:
                read = os.read(self._answers, 2**16)
                if not read:
                    raise RuntimeError("the browser has ended")
                self._unread += read
            message, _, self._unread = self._unread.partition(b"\0")
            yield json.loads(message)


@contextmanager
def page(program: str, profile: Path, flags: Sequence[str]) -> Iterator[Page]:
    """A page of a browser of its own, whose profile is a folder, as a user's is."""
    commands, to_browser = os.pipe()
    from_browser, answers = os.pipe()
    script = PIPES.format(reading=commands, writing=answers)
    arguments = [program, "--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", *flags]
    process = subprocess.Popen(
        ["/bin/bash", "-c", script, "chromium", *arguments, "about:blank"],
        pass_fds=(commands, answers),
        stderr=subprocess.DEVNULL,
    )
    os.close(commands)
    os.close(answers)
    try:
        yield Page(process, to_browser, from_browser)
    finally:
        os.close(to_browser)  # upon which it ends
        os.close(from_browser)
        process.wait()
