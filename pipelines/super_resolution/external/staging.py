"""What an upstream program finds: a working folder with exactly the images of one call, and nothing else.

    work/
        lr/0123456789abcdef.png    copies of the LR images, named by their hashes: unique, safe, in a stable order
        out/                       empty
        config.yml                 for a program that reads one
        call.json                  which program, and which images

The record tells a later run whose outputs a killed one has left behind. Where outputs appear in the repository, which
other working folders use too, a mark there tells whose call was the last one.
"""

import json
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import DiscernError
from pipelines.super_resolution.external.program import Invocation, Program, config_path
from pipelines.workspace import write_atomically, write_json


@dataclass(frozen=True)
class LowResolution:
    """An LR image to be done.

    Attributes:
        image: sha256 of its pixels, in hexadecimal.
        path: an RGB PNG file.
        width: in pixels.
        height: in pixels.
    """

    image: str
    path: Path
    width: int
    height: int

    @property
    def stem(self) -> str:
        """The name under which the program sees it, whatever its file is called."""
        return self.image[:16]


@dataclass(frozen=True)
class Call:
    """One start of a program.

    Attributes:
        stems: names of its images, in order.
        waiting: by name, those of them that are wanted and have no outcome yet.
        began: in seconds, by the clock of the file system that the working folder is on.
    """

    stems: tuple[str, ...]
    waiting: Mapping[str, LowResolution]
    began: float


def prepare(program: Program, invocation: Invocation, work: Path, images: Iterable[LowResolution]) -> Call:
    """Make the working folder ready for a call with these images; whatever lies there is deleted.

    Raises:
        DiscernError: a file cannot be read, written or deleted.
    """
    waiting = {image.stem: image for image in images}
    try:
        for folder in (work / "lr", work / "out"):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
        for stem, image in waiting.items():
            # Outputs of an earlier call, where they appear outside the working folder.
            program.rule.path(invocation.results, stem).unlink(missing_ok=True)
            shutil.copyfile(image.path, work / "lr" / f"{stem}.png")
    except OSError as error:
        raise DiscernError(
            f"{program.id}: {error.filename or work}: the working folder cannot be prepared ({error.strerror})"
        ) from error
    if invocation.config is not None:
        write_atomically(config_path(work), invocation.config.encode("utf-8", "surrogateescape"))
    token = secrets.token_hex(16)
    if not program.has_private_results:
        write_atomically(_mark(program), token.encode())
    # Last: an output that lies there when the record says so belongs to this call.
    write_json(_record(work), {"provenance": program.provenance, "stems": list(waiting), "token": token})
    return Call(tuple(waiting), waiting, _record(work).stat().st_mtime)


def clear(work: Path) -> None:
    """Delete the copies of the LR images, once no call needs them."""
    shutil.rmtree(work / "lr", ignore_errors=True)  # the next call deletes what is left


def recall(program: Program, work: Path, images: Iterable[LowResolution]) -> Call | None:
    """The last call in a working folder, if it was one of this very program, with the images that are still wanted.

    Raises:
        DiscernError: its record cannot be read.
    """
    record = _record(work)
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
        provenance, stems, began = facts["provenance"], tuple(facts["stems"]), record.stat().st_mtime
        token = facts.get("token")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiscernError(f"{record}: cannot be read ({error.strerror}); move away what stands there") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DiscernError(f"{record}: damaged ({error}); delete it") from error
    if provenance != program.provenance:
        return None  # those outputs were made by another program, or with other settings
    if not program.has_private_results and _last_call(program) != token:
        return None  # or from another working folder
    wanted = {image.stem: image for image in images}
    return Call(stems, {stem: wanted[stem] for stem in stems if stem in wanted}, began)


def _record(work: Path) -> Path:
    return work / "call.json"


def _mark(program: Program) -> Path:
    return program.repository / ".discern.call"


def _last_call(program: Program) -> str | None:
    """The token of the last call whose outputs appeared in the repository."""
    try:
        return _mark(program).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
