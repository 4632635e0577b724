"""For maintainers: which texts the subjects' pages have, and catalogues brought up to date with them.

`make words` (or `python -m app.subjects.words`) adds new texts to every catalogue, without a translation, and drops
those that no page has any more; a test fails as long as a translation is missing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import write_po

from app import resources
from app.errors import RefusalError
from app.subjects import languages

KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2)}
SCRIPT_KEYWORDS = {"t": None}
CODE_KEYWORDS = {RefusalError.__name__: None}


def texts() -> Catalog:
    """Every text of the subjects' pages, of their scripts, and of what the server refuses."""
    found = Catalog(charset="utf-8")
    for path, (_, message, comments, context) in _messages():
        found.add(message, locations=[(path, 0)], auto_comments=comments, context=context)
    return found


def update(file: Path) -> list[str]:
    """Bring a catalogue up to date; returns the texts that it does not translate."""
    catalogue, template = languages.read(file), texts()
    # Otherwise the file would change with every run.
    template.creation_date = catalogue.creation_date
    catalogue.msgid_bugs_address = ""
    catalogue.update(template, no_fuzzy_matching=True)
    with file.open("wb") as opened:
        write_po(opened, catalogue, width=0, include_lineno=False, ignore_obsolete=True, sort_output=True)
    return [str(message.id) for message in catalogue if message.id and not is_translated(message.string)]


def is_translated(string: Any) -> bool:
    """Whether a message has a text, or, where it has plurals, all of them."""
    return all(string) if isinstance(string, tuple | list) else bool(string)


def _messages() -> Iterator[tuple[str, Any]]:
    app = Path(__file__).parent.parent
    for folder, pattern, method, keywords in (
        (resources.folder("templates"), "subjects/*.html", "jinja2", KEYWORDS),
        (resources.folder("static"), "subjects/*.js", "javascript", SCRIPT_KEYWORDS),
        (app, "**/*.py", "python", CODE_KEYWORDS),
    ):
        for file in sorted(folder.glob(pattern)):
            path = f"{folder.name}/{file.relative_to(folder).as_posix()}"
            with file.open("rb") as opened:
                for message in extract(method, opened, keywords, options={"trimmed": "true", "silent": "false"}):
                    yield path, message


def _main() -> None:
    for file in sorted(languages.CATALOGUES.glob("*.po")):
        missing = update(file)
        print(f"{file.name}: {len(missing)} without a translation", *missing, sep="\n  ")  # noqa: T201


if __name__ == "__main__":
    _main()
