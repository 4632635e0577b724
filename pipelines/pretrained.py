"""Published weights by name: the file that the study names, the cache, a download, or a package that brings them.

What is found is one file with its sha256. What a publisher's file must be is known; a file of the user's own is taken
as it is, and marked. Where nothing is found, nothing takes its place: one error says what to put where.
"""

import http.client
import os
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError

import filelock

from pipelines import weights
from pipelines.errors import WeightsError

Origin = Literal["local file", "cache", "download", "package"]

# By torchvision's names. The files' names end in the first 8 hex digits of their sha256: `vgg16-397923af.pth`.
TORCHVISION = {
    "vgg16": "VGG16_Weights.IMAGENET1K_V1",
    "vgg16_bn": "VGG16_BN_Weights.IMAGENET1K_V1",
    "alexnet": "AlexNet_Weights.IMAGENET1K_V1",
}


@dataclass(frozen=True)
class Packaged:
    """A file of weights that an installed package brings along.

    Attributes:
        package: as it is imported.
        distribution: as it is installed.
        file: its name in the package's folder.
        sha256: in hexadecimal.
    """

    package: str
    distribution: str
    file: str
    sha256: str


PACKAGED = {
    "dists": Packaged(
        "DISTS_pytorch",
        "DISTS-pytorch",
        "weights.pt",
        "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
    ),
}
NAMES = (*TORCHVISION, *PACKAGED)

_YES = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True)
class Found:
    """A file of weights.

    Attributes:
        name: of the weights: one of `NAMES`, or a model of open_clip.
        path: where the file lies.
        sha256: in hexadecimal.
        origin: how it came to be there.
        published: whether it is the publisher's file; otherwise it is the user's own, and what it holds is not known.
    """

    name: str
    path: Path
    sha256: str
    origin: Origin
    published: bool

    @property
    def provenance(self) -> dict[str, Any]:
        """What is recorded, as JSON values; `path` and `origin` belong to the host and change no result."""
        return asdict(self) | {"path": str(self.path)}


def offline() -> bool:
    """Whether `DISCERN_OFFLINE` or `HF_HUB_OFFLINE` in the environment forbids downloads."""
    return any(os.environ.get(name, "").strip().lower() in _YES for name in ("DISCERN_OFFLINE", "HF_HUB_OFFLINE"))


def resolve(name: str, given: Path | None = None) -> Found:
    """Find published weights.

    Args:
        name: one of `NAMES`; also their key in the section [weights] of the study file.
        given: a local file to use instead; any weights are accepted, see `Found.published`.

    Raises:
        WeightsError: there are none of that name; the file that is given cannot be read; the one in the cache or in the
            package is damaged; or there is none and it cannot be downloaded.
    """
    if name not in NAMES:
        raise WeightsError(f"weights: none are known by the name {name!r}; choose {', '.join(NAMES)}")
    expected = PACKAGED[name].sha256 if name in PACKAGED else _promised_by(url_of(name))
    if given is not None:
        digest = weights.local_file(given)
        return Found(name, given, digest, "local file", digest.startswith(expected))
    return _in_package(name, PACKAGED[name]) if name in PACKAGED else _cached_or_downloaded(name, expected)


def url_of(name: str) -> str:
    """Where torchvision's weights of a name are published: torchvision knows, and so its cache and ours are one."""
    import torchvision

    return str(torchvision.models.get_weight(TORCHVISION[name]).url)


def _promised_by(url: str) -> str:
    return Path(url).stem.rpartition("-")[2]


def _in_package(name: str, wanted: Packaged) -> Found:
    spec = find_spec(wanted.package)  # to import it would run its code
    if spec is None or spec.origin is None:
        raise WeightsError(
            f"weights.{name}: they come with {wanted.distribution}, which is not installed: "
            f"pip install 'discern[pipelines]', or name a file in the study file: {_setting(name)}"
        )
    path = Path(spec.origin).with_name(wanted.file)
    digest = weights.sha256_of(path)
    if digest != wanted.sha256:
        raise WeightsError(
            f"{path}: sha256 is {digest}, expected {wanted.sha256}: install {wanted.distribution} again, or name a "
            f"file in the study file: {_setting(name)}"
        )
    return Found(name, path, digest, "package", published=True)


def _cached_or_downloaded(name: str, expected: str) -> Found:
    import torch

    url = url_of(name)
    path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name).expanduser()
    found = _in_cache(name, path, expected)
    return found or _download(name, url, path, expected)


def _in_cache(name: str, path: Path, expected: str) -> Found | None:
    if not path.exists():
        return None
    digest = weights.sha256_of(path)
    if not digest.startswith(expected):
        raise WeightsError(f"{path}: sha256 is {digest}, expected {expected}...: delete it, and it is fetched again")
    return Found(name, path, digest, "cache", published=True)


def _download(name: str, url: str, path: Path, expected: str) -> Found:
    """Only one at a time on this machine; who waited finds what the other has fetched."""
    if offline():
        raise _unavailable(name, url, path, "DISCERN_OFFLINE or HF_HUB_OFFLINE forbids downloads")
    import torch

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_name(f".{path.name}.lock"), is_singleton=False):
            if (found := _in_cache(name, path, expected)) is not None:
                return found
            # To a file beside it, which is moved once it is whole and has the right hash.
            torch.hub.download_url_to_file(url, str(path), hash_prefix=expected, progress=sys.stderr.isatty())
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        raise _unavailable(name, url, path, str(error) or type(error).__name__) from error
    return Found(name, path, weights.sha256_of(path), "download", published=True)


def _unavailable(name: str, url: str, path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"weights.{name}: {path.name} is not in the cache, and cannot be fetched from {url} ({reason}); put it at "
        f"{path}, or name it in the study file: {_setting(name)}"
    )


def _setting(name: str) -> str:
    return f'[weights] {name} = "PATH"'
