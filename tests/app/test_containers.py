"""The containers: every service starts a command that exists, in the order in which they need one another."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from app.cli import commands

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if "build" in service}
STAGES = [line.split()[-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM")]


def test_postgresql_18_keeps_its_data_where_that_version_looks_for_it() -> None:
    postgres = COMPOSE["services"]["postgres"]
    assert postgres["image"] == "postgres:18"
    assert postgres["volumes"] == ["postgres:/var/lib/postgresql"]
    assert "pg_isready" in postgres["healthcheck"]["test"][1]


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_a_command_with_options_that_exist(name: str) -> None:
    command = OURS[name]["command"]
    result = CliRunner().invoke(commands, [*command, "--help"])
    assert result.exit_code == 0, result.output
    unknown = CliRunner().invoke(commands, [*command, "--no-such-option"])
    assert unknown.exit_code == 2
    assert "--no-such-option" in unknown.output


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_built_from_a_stage_of_the_dockerfile_and_reaps_its_children(name: str) -> None:
    assert OURS[name]["build"]["target"] in STAGES
    assert OURS[name]["init"] is True


def test_the_database_comes_first_then_its_tables_then_everything_else() -> None:
    assert OURS["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in OURS.keys() - {"migrate"}:
        assert OURS[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


def test_no_password_stands_in_the_file() -> None:
    assert "${POSTGRES_PASSWORD:?" in COMPOSE["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert all(":${POSTGRES_PASSWORD:?" in service["environment"]["DATABASE_URL"] for service in OURS.values())


def test_the_gpu_worker_starts_only_when_asked_for() -> None:
    assert OURS["worker-gpu"]["profiles"] == ["gpu"]
    assert [name for name, service in OURS.items() if "profiles" in service] == ["worker-gpu"]
