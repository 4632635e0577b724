"""Naming rules and templates, for texts of every kind."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DiscernError
from pipelines.super_resolution.naming import NamingRule, fill, fill_known, placeholders, problem_of

PLAIN = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="{}\\/\0"), max_size=8)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@given(st.dictionaries(NAMES, st.text(max_size=20)), st.lists(PLAIN, min_size=1))
def test_values_are_put_in_once_and_by_the_letter(values: dict[str, str], plain: list[str]) -> None:
    names = list(values)
    template = plain[0] + "".join(f"{{{name}}}{text}" for name, text in zip(names, plain[1:] * 9, strict=False))
    used = placeholders(template)
    expected = plain[0] + "".join(values[name] + text for name, text in zip(used, plain[1:] * 9, strict=False))
    assert fill(template, values, key="command") == expected


@given(st.text())
def test_without_values_a_config_is_left_alone(text: str) -> None:
    assert fill_known(text, {}) == text


def test_braces_of_yaml_and_json_survive() -> None:
    text = "{a: 1}\nnested: {b: {c: {lr}}}\n{} {unknown} {0} {lr:>4}"
    assert fill_known(text, {"lr": "/x"}) == "{a: 1}\nnested: {b: {c: /x}}\n{} {unknown} {0} {lr:>4}"


def test_a_value_that_looks_like_a_placeholder_is_not_filled_again() -> None:
    assert fill("{a}-{b}", {"a": "{b}", "b": "{a}"}, key="command") == "{b}-{a}"


def test_an_unknown_placeholder_is_named() -> None:
    with pytest.raises(DiscernError) as caught:
        fill("--input={Lr}", {"out": "/o", "lr": "/l"}, key="command[3]")
    assert str(caught.value) == "command[3]: unknown placeholder {Lr} in '--input={Lr}'; choose among {lr}, {out}"


@pytest.mark.parametrize(
    "pattern",
    ["{stem}.png", "{stem}_out.png", "sample00/{stem}.png", "visualization/Single/{stem}_x4.png", "{stem}/0.png"],
)
def test_every_output_is_found_under_its_stem(tmp_path: Path, pattern: str) -> None:
    rule = NamingRule(pattern)
    assert list(rule.find(tmp_path)) == []
    for stem in ("0801", "a.b", "{lr}"):
        rule.path(tmp_path, stem).parent.mkdir(parents=True, exist_ok=True)
        rule.path(tmp_path, stem).touch()
    (tmp_path / "prompt.csv").touch()
    found = {stem: path for stem, path in rule.find(tmp_path) if path.exists()}
    assert found == {stem: rule.path(tmp_path, stem) for stem in ("0801", "a.b", "{lr}")}


@pytest.mark.parametrize(("pattern", "name"), [("a{stem}a", "a"), ("x_{stem}_x", "x_x"), ("{stem}.png", ".png")])
def test_a_name_without_a_stem_is_not_found(tmp_path: Path, pattern: str, name: str) -> None:
    (tmp_path / name).touch()
    assert list(NamingRule(pattern).find(tmp_path)) == []


@pytest.mark.parametrize(
    "pattern",
    [
        "out.png",
        "{stem}{stem}.png",
        "{name}/{stem}.png",
        "{stem}\\x.png",
        "/{stem}.png",
        "../{stem}.png",
        "a//{stem}",
        "{stem}/",
    ],
)
def test_what_is_no_path_below_the_folder_is_refused(pattern: str) -> None:
    assert problem_of(pattern) is not None
    with pytest.raises(DiscernError, match="must"):
        NamingRule(pattern)
