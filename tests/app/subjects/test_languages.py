"""The languages of subjects' pages: complete catalogues, the choice between languages, and pages that speak one."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from babel.messages.catalog import Message

from app.subjects import languages, words

CATALOGUES = sorted(languages.CATALOGUES.glob("*.po"))
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}")


def strings(message: Message) -> list[str]:
    """A translation, with plurals or without."""
    return list(message.string) if isinstance(message.string, tuple | list) else [message.string]


def placeholders(text: str) -> Counter[str]:
    return Counter(PLACEHOLDER.findall(text))


def test_there_is_chinese() -> None:
    assert [file.stem for file in CATALOGUES] == ["zh"]


def test_the_texts_of_pages_and_of_scripts_are_found() -> None:
    found = {message.id: {path for path, _ in message.locations} for message in words.texts() if message.id}
    assert found["Thank you"] == {"templates/subjects/thanks.html"}
    assert found["Copied"] == {"static/subjects/thanks.js"}


@pytest.mark.parametrize("file", CATALOGUES, ids=lambda file: file.stem)
def test_a_catalogue_translates_every_text_and_no_other(file: Path) -> None:
    catalogue, template = languages.read(file), words.texts()
    wanted = {message.id for message in template}
    assert {message.id for message in catalogue} == wanted, "run `make words`, and translate what it names"
    assert not catalogue.obsolete, "run `make words`"
    assert [message.id for message in catalogue if message.id and not words.is_translated(message.string)] == []
    assert [message.id for message in catalogue if message.id and message.fuzzy] == []
    for message in catalogue:
        if message.id:
            assert {path for path, _ in message.locations} == {path for path, _ in template[message.id].locations}


@pytest.mark.parametrize("file", CATALOGUES, ids=lambda file: file.stem)
def test_a_translation_has_the_placeholders_of_its_text(file: Path) -> None:
    for message in languages.read(file):
        if message.id:
            wanted = message.id if isinstance(message.id, str) else message.id[-1]
            assert [placeholders(string) for string in strings(message)] == [placeholders(wanted)] * len(
                strings(message)
            ), message.id


def test_bringing_a_catalogue_up_to_date_again_changes_nothing(tmp_path: Path) -> None:
    file = Path(shutil.copy(CATALOGUES[0], tmp_path))
    assert words.update(file) == []
    assert file.read_text() == CATALOGUES[0].read_text()


def test_bringing_a_catalogue_up_to_date_adds_and_drops_texts_and_keeps_translations(tmp_path: Path) -> None:
    file = tmp_path / "zh.po"
    file.write_text('msgid "Copy"\nmsgstr "复制"\n\nmsgid "Nobody says this"\nmsgstr "没有人这么说"\n')
    missing = words.update(file)
    assert "Thank you" in missing
    assert "Copy" not in missing
    updated = languages.read(file)
    assert updated["Copy"].string == "复制"
    assert "Nobody says this" not in file.read_text()
    assert not any(message.fuzzy for message in updated if message.id)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", "en"),
        ("zh", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("ZH-hans-cn", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de,fr;q=0.9,zh;q=0.2", "zh"),
        ("de, fr", "en"),
        ("en;q=0.3, zh;q=0.7", "zh"),
        ("zh;q=0, en;q=0.1", "en"),
        ("zh;q=0", "en"),
        ("*", "en"),
        ("nonsense;;q=x,,;", "en"),
        ("zh;q=7", "en"),
        (", zh ; q=0.5 ,", "zh"),
        ("x" * 5000, "en"),
    ],
)
def test_the_language_is_the_first_one_that_a_browser_accepts(accepted: str, chosen: str) -> None:
    assert languages.negotiate(accepted, ("en", "zh")) == chosen


def test_the_first_language_is_for_those_who_accept_none() -> None:
    assert languages.negotiate("de", ("zh", "en")) == "zh"


@pytest.mark.parametrize(
    ("tag", "offered", "found"),
    [
        ("zh-TW", ("zh", "zh-TW"), "zh-TW"),
        ("zh-tw", ("zh", "zh-TW"), "zh-TW"),
        ("zh-HK", ("zh-TW", "zh"), "zh"),
        ("zh", ("en", "zh-TW"), "zh-TW"),
        ("pt-BR", ("pt-PT", "pt-BR"), "pt-BR"),
        ("pt", ("pt-PT", "pt-BR"), "pt-PT"),
        ("de", ("en", "zh"), None),
        ("", ("en",), None),
    ],
)
def test_a_tag_finds_itself_or_a_wider_one_or_a_sister(tag: str, offered: tuple[str, ...], found: str | None) -> None:
    assert languages.match(tag, offered) == found


def test_languages_call_themselves() -> None:
    assert [languages.name(tag) for tag in ("en", "zh", "de", "fr", "xx")] == [
        "English",
        "中文",
        "Deutsch",
        "Français",
        "xx",
    ]
    assert [languages.direction(tag) for tag in ("en", "zh", "ar", "xx")] == ["ltr", "ltr", "rtl", "ltr"]


def test_only_catalogues_are_read() -> None:
    for tag in ("../languages/zh", "zh/../zh", "..", "", "zh.po"):
        assert languages.words(tag) == {}
        assert not languages.has_catalogue(tag)
    assert [languages.has_catalogue(tag) for tag in ("en", "en-GB", "zh", "zh-TW", "de")] == [
        True,
        True,
        True,
        True,
        False,
    ]


def test_scripts_get_their_own_texts_alone() -> None:
    assert languages.words("en") == {}
    assert languages.words("zh")["Copied"] == "已复制"
    assert "Thank you" not in languages.words("zh")


def test_a_third_language_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "de.po").write_text(
        '#: static/subjects/thanks.js\nmsgid "Copied"\nmsgstr "Kopiert"\n\n'
        '#: templates/subjects/thanks.html\nmsgid "Thank you"\nmsgstr "Danke <sehr>"\n'
    )
    monkeypatch.setattr(languages, "CATALOGUES", tmp_path)
    forget()
    try:
        assert languages.words("de") == {"Copied": "Kopiert"}
        template = languages.environment("de").from_string("{{ _('Thank you') }}, {{ _('%(x)s, not known', x='<b>') }}")
        # A translation is trusted as the templates are; what stands in it is escaped.
        assert template.render() == "Danke <sehr>, &lt;b&gt;, not known"
    finally:
        forget()


def forget() -> None:
    """What was read of the catalogues."""
    for cached in (languages.environment, languages.words, languages._translations):
        cached.cache_clear()
