"""Where the files beside the code are: templates, static files, migrations."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `templates`, `static` or `migrations`: inside the package in a wheel, beside it in a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def templates() -> Environment:
    """The environment of all templates: everything escaped, undefined names are errors."""
    return Environment(
        loader=FileSystemLoader([folder("templates"), folder("static")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
