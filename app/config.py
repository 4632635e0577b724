"""Every setting of the server, once. Each is an environment variable."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipelines.errors import DiscernError


class Settings(BaseSettings):
    """What can be set from outside.

    Attributes:
        home: `DISCERN_HOME`: the embedded database, the images and the record of the running server.
        database_url: `DATABASE_URL`: a PostgreSQL to use in place of the embedded one.
        store: `DISCERN_STORE`: where images and models lie, as a URL (`file:///...`, `s3://...`, `gs://...`, `az://...`);
            a folder in `home` by default.
        public_url: `DISCERN_PUBLIC_URL`: how browsers reach the server, where that is not the address it listens on;
            with https, cookies are sent over TLS alone.
    """

    model_config = SettingsConfigDict(env_prefix="DISCERN_", extra="ignore", env_ignore_empty=True)

    home: Path = Path(".discern")
    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    store: str | None = None
    public_url: str | None = Field(default=None, pattern=r"^https?://[^/\s]+$")

    @property
    def store_url(self) -> str:
        """Where images and models lie."""
        return self.store or (self.home.absolute() / "store").as_uri()


def load() -> Settings:
    """Read the environment.

    Raises:
        DiscernError: a variable holds something unusable.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [f"DISCERN_{str(p['loc'][0]).upper()}: {p['msg']}, got {p['input']!r}" for p in error.errors()]
        raise DiscernError("\n".join(problems)) from None
