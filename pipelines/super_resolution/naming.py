"""Two small languages: naming rules with `{stem}`, and templates with `{placeholders}`.

Upstream programs name their outputs in their own ways (`0801_LDL.png`, `sample00/0801.png`); a rule says how. What such
a program is given (arguments, variables, settings) is a template. Both are filled in one pass and nothing else is
interpreted: braces in a value stay as they are, and no shell ever sees the text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import DiscernError

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def placeholders(template: str) -> list[str]:
    """The names in braces in a template, in their order; other braces are plain text."""
    return _PLACEHOLDER.findall(template)


def fill(template: str, values: Mapping[str, str], *, key: str) -> str:
    """Put values in the place of all placeholders.

    Args:
        template: text with `{name}`s.
        values: what may be named.
        key: where the template stands, for the message.

    Raises:
        DiscernError: a name is unknown.
    """
    for name in placeholders(template):
        if name not in values:
            known = ", ".join(f"{{{one}}}" for one in sorted(values))
            raise DiscernError(f"{key}: unknown placeholder {{{name}}} in {template!r}; choose among {known}")
    return fill_known(template, values)


def fill_known(text: str, values: Mapping[str, str]) -> str:
    """Put values in the place of the placeholders that are known, and leave all other braces (YAML, JSON) alone."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


@dataclass(frozen=True)
class NamingRule:
    """How the outputs below a folder are named.

    Attributes:
        pattern: path of an output below the folder, with `{stem}` once for the LR file's name without its extension.

    Raises:
        DiscernError: the pattern is no such path.
    """

    pattern: str

    def __post_init__(self) -> None:
        if problem := problem_of(self.pattern):
            raise DiscernError(f"pattern: {self.pattern!r} {problem}")

    @property
    def folders(self) -> str:
        """The part of the pattern before the file's name; empty where outputs lie in the folder itself."""
        return self.pattern.rpartition("/")[0]

    def path(self, folder: Path, stem: str) -> Path:
        """Where the output of an LR image should lie."""
        return folder / self.pattern.replace("{stem}", stem)

    def find(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """Every stem for which something lies where its output should be, and the place; in no order."""
        parts = self.pattern.split("/")
        level = next(index for index, part in enumerate(parts) if "{stem}" in part)
        prefix, _, suffix = parts[level].partition("{stem}")
        base = folder.joinpath(*parts[:level])
        for name in _names_in(base):
            long_enough = len(name) > len(prefix) + len(suffix)
            if long_enough and name.startswith(prefix) and name.endswith(suffix):
                yield name[len(prefix) : len(name) - len(suffix)], base.joinpath(name, *parts[level + 1 :])


def problem_of(pattern: str) -> str | None:
    """What keeps a text from being a naming rule, to be read after the text itself; None for a good one."""
    if pattern.count("{stem}") != 1 or any(sign in pattern.replace("{stem}", "") for sign in "{}\\\0"):
        return "must hold {stem} once and no other braces or backslashes, as in '{stem}_x4.png'"
    if any(part in {"", ".", ".."} for part in pattern.split("/")):
        return "must be a path below the folder, without '..', as in 'sample00/{stem}.png'"
    return None


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []  # not made yet
