"""How much memory this process has needed."""

import re
import resource
import sys
from pathlib import Path


def peak() -> int:
    """The most physical memory that this process has held until now, in bytes.

    On Linux from /proc: what `getrusage` says there includes the process that started this one.
    """
    status = Path("/proc/self/status")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.exists() else None
    if found is not None:
        return int(found.group(1)) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
