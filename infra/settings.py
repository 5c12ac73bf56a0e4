"""Every setting, read once, from the environment (``WANGGE_…``)."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.errors import Unusable


def _default_data() -> Path:
    """Where data lives unless told otherwise.

    Not below the checkout: root's own folders are closed to the unprivileged user that PostgreSQL
    must run as.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/wangge")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "wangge"


class Settings(BaseSettings):
    """What an installation can decide. A field's description is its documentation."""

    model_config = SettingsConfigDict(env_prefix="WANGGE_", frozen=True, extra="ignore")

    data: Path = Field(
        default_factory=_default_data,
        description="Folder of the embedded PostgreSQL and of the installation's secret.",
    )
    dsn: str | None = Field(
        default=None,
        description="An outside PostgreSQL (14 or newer) instead of the embedded one: "
        "postgresql://… of a user who may create roles.",
    )
    vault_dsn: str | None = Field(
        default=None,
        description="A database of its own for the keys of personal data: postgresql://… of a user "
        "who may create roles. Unset: the same database as the log.",
    )
    kek: Path | None = Field(
        default=None,
        description="File of the key that wraps the keys of personal data, made at first start; "
        "machines on one vault have copies. Without it no personal data can be read.",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="Address the API listens on.")
    port: int = Field(default=8800, ge=0, le=65535, description="Port the API listens on.")
    token_minutes: int = Field(
        default=30, ge=1, le=24 * 60, description="How long a sign-in lasts, in minutes."
    )
    body_limit: int = Field(
        default=1_000_000, ge=1_000, description="Largest request body, in bytes."
    )
    connections: int = Field(
        default=8,
        ge=2,
        le=64,
        description="Database connections by which one server process answers, at most; it has up "
        "to 14 others beside them. `wangge project` has 12, and up to 2 more for each read model "
        "that it builds or that is far behind.",
    )
    attachments: str = Field(
        default="",
        description="Where files of cases are kept: a folder, or "
        "`s3://bucket/prefix?endpoint=…&region=…` of any S3-compatible service, with its "
        "credentials in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`. Unset: `attachments` in "
        "the data folder.",
    )
    attachment_limit: int = Field(
        default=20_000_000, ge=1_000, le=1_000_000_000, description="Largest file, in bytes."
    )
    kafka: str = Field(
        default="",
        description="Kafka's brokers, `host:port,host:port`, for `wangge relay` and "
        "`wangge project --source kafka`; with TLS and a password "
        "`…?security_protocol=SASL_SSL&sasl_mechanism=SCRAM-SHA-512&sasl_plain_username=…"
        "&ssl_cafile=…`.",
    )
    kafka_password: SecretStr | None = Field(
        default=None, description="The password of that user of Kafka."
    )
    kafka_topic: str = Field(
        default="wangge.log",
        min_length=1,
        description="The topic that carries this log; where read models are built from several "
        "logs, all of theirs, with commas.",
    )
    kafka_partitions: int = Field(
        default=8,
        ge=1,
        le=1_000,
        description="Partitions of the topic when the relay makes it; later they stay as they are.",
    )
    kafka_replicas: int = Field(
        default=1,
        ge=1,
        le=9,
        description="On how many brokers each partition is kept when the relay makes the topic; "
        "3 where there are three.",
    )
    webhooks_private: bool = Field(
        default=False,
        description="Let webhooks go to plain http and to addresses of one's own network.",
    )
    log_level: str = Field(
        default="info",
        pattern="^(debug|info|warning|error)$",
        description="What is logged: debug, info, warning or error.",
    )
    lag_seconds: float = Field(
        default=60.0,
        gt=0,
        description="How many seconds a read model may be behind the log before health says so.",
    )
    metrics_token: SecretStr = Field(
        default=SecretStr(""),
        description="Who sends it as a bearer token may read `/metrics` (Prometheus); unset: only "
        "this machine may, and not through a proxy.",
    )
    traces: str = Field(
        default="",
        description="An OpenTelemetry collector that takes OTLP over HTTP, `http://host:4318`: "
        "traces of requests, appends and read models go there.",
    )
    log_json: bool = Field(
        default=False, description="Log lines as JSON objects instead of text for people."
    )

    @field_validator("data", "kek", mode="before")
    @classmethod
    def _named(cls, path: object) -> object:
        """An empty path would be whatever folder one happens to stand in."""
        if isinstance(path, str) and not path.strip():
            raise PydanticCustomError(
                "path.empty",
                "为空：请给出路径，或取消此设置。Empty: name a path, or unset it.",
            )
        return path

    @field_validator("dsn", "vault_dsn")
    @classmethod
    def _connectable(cls, dsn: str | None) -> str | None:
        """Empty, libpq would take the server and the user that it guesses."""
        try:
            well = dsn is None or bool(conninfo_to_dict(dsn))
        except psycopg.ProgrammingError:
            well = False
        if not well:
            # Not what was given: there may be a password in it.
            raise PydanticCustomError(
                "dsn.bad",
                "不是连接串，应为 postgresql://用户:密码@主机:5432/数据库，或取消此设置。"
                "postgresql://user:password@host:5432/database is expected; or unset it.",
            )
        return dsn

    @field_validator("traces")
    @classmethod
    def _collector(cls, url: str) -> str:
        if url and not is_http(url):
            raise PydanticCustomError(
                "traces.bad", "应为 http://主机:4318。http://host:4318 is expected."
            )
        return url

    @field_validator("data", "kek")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path and path.absolute()

    @property
    def kek_file(self) -> Path:
        """Where the key is that wraps all others: ``kek`` in the data folder unless set."""
        return self.kek or self.data / "kek"

    @property
    def attachments_place(self) -> str:
        """Where files of cases are kept: a folder or a URL."""
        return self.attachments or str(self.data / "attachments")

    def make_folder(self) -> Path:
        """The data folder, made if it is not there.

        Raises:
            SettingError: it cannot be made.
        """
        try:
            self.data.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(self.data, error) from error
        return self.data

    def secret(self) -> bytes:
        """The secret of this installation: signs tokens, gives the database roles their passwords.

        Made at the first start, in a file that only its owner can read. Several machines on one
        outside database share a copy of it.

        Raises:
            SettingError: the data folder cannot be used, or holds no secret worth the name.
        """
        path = self.make_folder() / "secret"
        try:
            if not path.exists():
                write_once(path, secrets.token_hex(32))
            text = path.read_text().strip()
        except OSError as error:
            raise _unusable(path, error) from error
        if len(text) < 32:
            raise SettingError(
                f"{path} 中的密钥不足 32 个字符：请从备份或其他机器恢复此文件。\n"
                f"{path} holds no secret of at least 32 characters: put back a copy of it."
            )
        return text.encode()


def is_http(url: str) -> bool:
    """Whether an address is one of http or https, with a host and no impossible port."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def write_once(path: Path, text: str) -> None:
    """A file that is there with all of its text or not at all; who comes second changes nothing."""
    with _written_beside(path, text) as made, suppress(FileExistsError):
        path.hardlink_to(made)
    _keep_name(path)


def write_anew(path: Path, text: str) -> None:
    """Another text for a file, which has all of the old or all of the new one at any moment."""
    with _written_beside(path, text) as made:
        made.replace(path)
    _keep_name(path)


@contextmanager
def _written_beside(path: Path, text: str) -> Iterator[Path]:
    """A file of the same folder that only its owner can read, on the disk; gone in the end."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
    made = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield made
    finally:
        with suppress(FileNotFoundError):
            made.unlink()


def _keep_name(path: Path) -> None:
    """What the database will hold rests on the file: its name must survive a power cut as well."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class SettingError(Unusable):
    """A setting cannot be used; the text says which and why."""


def _unusable(path: Path, error: OSError) -> SettingError:
    return SettingError(
        f"WANGGE_DATA: 无法使用 {path}（{error.strerror}）；"
        "请改其权限，或设为当前用户可写的文件夹。\n"
        f"{path} cannot be used ({error.strerror}): change its rights, or set WANGGE_DATA to a "
        "folder that this user can write to."
    )
