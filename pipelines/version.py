"""Which code made something: the package's version, and a digest of its sources, which a version alone cannot tell."""

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def code_version() -> str:
    """For example `0.1.0+3f2a9c01d4e5`: equal for equal sources of `pipelines`, wherever they are installed."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for source in sorted(path for path in root.rglob("*") if path.suffix in {".py", ".toml"}):
        digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return f"{metadata.version('discern')}+{digest.hexdigest()[:12]}"
