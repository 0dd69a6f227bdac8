"""The database of a search: a SQLite file, or a server that several machines share."""

import time
from typing import Any

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError

from wsrpn.errors import InputError
from wsrpn.study.sampler import quiet

HEARTBEAT = 30  # seconds between signs of life of a trial
GRACE = 300  # seconds without one after which another machine takes it over
ATTEMPTS = 3  # times that a trial is taken up without coming to its next validation
_TRIES, _PAUSE = 4, 0.5  # to open a database that another process is just making; seconds
_EXAMPLE = "sqlite:///FILE or postgresql+psycopg2://USER:PASSWORD@HOST/NAME"


class Database:
    """An open database.

    Args:
        url: of a kind that SQLAlchemy knows.

    Raises:
        InputError: no database is to be had there; its sentence holds no password.
    """

    def __init__(self, url: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        self.shown, self._url = shown(url), url
        self.storage = self._open()

    def _open(self) -> RDBStorage:
        for left in reversed(range(_TRIES)):
            try:
                return self._storage()
            except (DatabaseError, optuna.exceptions.StorageInternalError) as error:
                if not left:
                    raise InputError(self._refusal(error)) from None
                time.sleep(_PAUSE)
            except Exception as error:  # whatever a driver raises, or that there is none
                raise InputError(self._refusal(error)) from None
        raise AssertionError

    def _storage(self) -> RDBStorage:
        ways: dict[str, Any] = {"pool_pre_ping": True}
        if make_url(self._url).get_backend_name() == "sqlite":
            ways = {"connect_args": {"timeout": 60}}  # seconds that a writer waits for another one
        with quiet():
            return RDBStorage(
                self._url.replace("{", "{{").replace("}", "}}"),  # Optuna fills in a template
                engine_kwargs=ways,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(ATTEMPTS),
            )

    def _refusal(self, error: Exception) -> str:
        return f"{self.shown}: cannot be used as a database: {self.told(error)}"

    def told(self, error: Exception) -> str:
        """What an error says, without anything that the URL has to open the door."""
        cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
        text = " ".join(str(getattr(cause, "orig", None) or cause).split())
        parts = make_url(self._url)
        for secret in (parts.password, *parts.query.values()):
            text = text.replace(str(secret), "***") if secret else text
        return text

    def close(self) -> None:
        """Let it go."""
        self.storage.remove_session()
        self.storage.engine.dispose()


def is_of_database(error: Exception) -> bool:
    """Whether it is the database that fails, and not a training."""
    return type(error).__module__.partition(".")[0] in {"optuna", "sqlalchemy"}


def is_out_of_reach(error: Exception) -> bool:
    """Whether it may answer again later."""
    told = isinstance(error, optuna.exceptions.UpdateFinishedTrialError)
    return is_of_database(error) and not told


def shown(url: str) -> str:
    """A database without user, password and options; of a file its path.

    Raises:
        InputError: not the URL of a database.

    Example:
        >>> shown("postgresql://me:secret@host/studies?sslmode=require"), shown("sqlite:///a.db")
        ('postgresql://host/studies', 'a.db')
    """
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        raise InputError(f"--storage: not the URL of a database; write it as {_EXAMPLE}.") from None
    if parts.get_backend_name() != "sqlite":
        return f"{parts.drivername}://{parts.host or ''}/{parts.database or ''}"
    if parts.database in (None, "", ":memory:"):
        raise InputError(f"--storage: a file is missing; write it as {_EXAMPLE}.")
    return str(parts.database)


def sqlite(path: str) -> str:
    """The URL of a SQLite file, whatever letters its path has.

    Example:
        >>> sqlite("/a b?/100%.db")
        'sqlite:////a b%3F/100%25.db'
    """
    return URL.create("sqlite", database=path).render_as_string()
