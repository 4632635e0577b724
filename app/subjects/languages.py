"""In which language a subject's pages are: gettext catalogues, read as they are, and the choice between languages.

A further language is one file, `app/subjects/languages/LL.po`; `make words` brings it up to date with the pages. The
message ids are the English texts, so English needs none.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from jinja2 import Environment

from app import resources

CATALOGUES = Path(__file__).with_suffix("")
SOURCE = "en"
LONGEST_HEADER = 1000


def choose(asked: str | None, accepted: str, offered: Sequence[str]) -> str:
    """The language for somebody who may choose.

    Args:
        asked: chosen on a page, if anything was; one that is not offered is no choice.
        accepted: the browser's `Accept-Language`.
        offered: of which one is.
    """
    return (asked and match(asked, offered)) or negotiate(accepted, offered)


def negotiate(accepted: str, offered: Sequence[str]) -> str:
    """The language for a browser.

    Args:
        accepted: its `Accept-Language` header, such as "zh-CN,zh;q=0.9,en;q=0.8".
        offered: of the protocol; the first one is for those who accept none of them.
    """
    for tag in _by_preference(accepted[:LONGEST_HEADER]):
        if found := match(tag, offered):
            return found
    return offered[0]


def match(tag: str, offered: Sequence[str]) -> str | None:
    """The offered language that a tag such as "zh-Hans-CN" asks for: itself, a wider one, or else a sister of it."""
    wanted = tag.lower().split("-")
    by_parts = {tuple(language.lower().split("-")): language for language in offered}
    for length in range(len(wanted), 0, -1):
        if language := by_parts.get(tuple(wanted[:length])):
            return language
    return next((language for parts, language in by_parts.items() if parts[0] == wanted[0]), None)


def name(language: str) -> str:
    """What a language calls itself, such as "中文"; its tag where that is not known."""
    locale = _locale(language)
    return language if locale is None else str(locale.get_display_name() or language).capitalize()


def direction(language: str) -> str:
    """How it is written: "ltr" or "rtl"."""
    locale = _locale(language)
    return "ltr" if locale is None else locale.text_direction


def has_catalogue(language: str) -> bool:
    """Whether the pages speak it, so that not only the study's own texts are in it."""
    return language.split("-")[0] == SOURCE or _file(language) is not None


def spoken() -> tuple[str, ...]:
    """All languages of the pages."""
    return SOURCE, *sorted(file.stem for file in CATALOGUES.glob("*.po"))


@cache
def environment(language: str) -> Environment:
    """All templates, in a language: `{% trans %}`, `_()`, `ngettext()`; else as `resources.templates`."""
    made = resources.templates()
    made.add_extension("jinja2.ext.i18n")
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_translations(_translations(language), newstyle=True)  # type: ignore[attr-defined]
    return made


def translated(language: str, text: str) -> str:
    """A text in a language; as it is where the catalogue lacks it."""
    return _translations(language).gettext(text)


@cache
def words(language: str) -> Mapping[str, str]:
    """What the pages' scripts say, by the English text; empty for English."""
    file = _file(language)
    messages = () if file is None else read(file)
    return {
        message.id: message.string
        for message in messages
        if isinstance(message.id, str) and isinstance(message.string, str) and message.string and _of_script(message)
    }


def read(file: Path) -> Catalog:
    """A catalogue, whose language is the file's name."""
    with file.open("rb") as opened:
        return read_po(opened, locale=file.stem.replace("-", "_"), abort_invalid=True)


def _of_script(message: object) -> bool:
    return any(path.endswith(".js") for path, _ in message.locations)  # type: ignore[attr-defined]


@cache
def _translations(language: str) -> NullTranslations:
    file = _file(language)
    if file is None:
        return NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, read(file))
    compiled.seek(0)
    return Translations(compiled)


def _file(language: str) -> Path | None:
    """The catalogue of a language, or of the wider one: that of zh serves zh-TW too, until it has its own."""
    # A tag comes from a study file or the database, and is a part of a path here.
    tags = [language, language.split("-")[0]] if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z]{2,4})?", language) else []
    files = (CATALOGUES / f"{tag}.po" for tag in tags)
    return next((file for file in files if file.is_file()), None)


def _locale(language: str) -> Locale | None:
    try:
        return Locale.parse(language, sep="-")
    except (UnknownLocaleError, ValueError):
        return None


def _by_preference(accepted: str) -> list[str]:
    """The language tags of an `Accept-Language` header, best first; what cannot be read is left out."""
    found = []
    for part in accepted.split(","):
        parsed = re.fullmatch(r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*", part)
        if parsed and (weight := float(parsed[2] or 1)) > 0:
            found.append((-weight, parsed[1]))
    return [tag for _, tag in sorted(found, key=lambda entry: entry[0])]
