"""Writing so that a file is either absent or whole, and reading what was written so."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsrpn.errors import InputError

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}", re.IGNORECASE)
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def write(path: Path, data: bytes) -> str:
    """Write a file so that a kill at any moment leaves the old or the new one, never a part.

    A temporary file in the same folder is written, synced and renamed, then the folder is synced.

    Returns:
        sha256 of the data.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        # The user named this file, not the temporary one.
        raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return hashlib.sha256(data).hexdigest()


def safe_name(name: str) -> str:
    """A file name for any name: its own where every system takes it, else with a digest behind.

    Example:
        >>> safe_name("tumor_001"), safe_name("a/b")
        ('tumor_001', 'a_b-c14cddc0')
    """
    if _PLAIN.fullmatch(name) and not _DEVICES.fullmatch(name) and not name.endswith("."):
        return name
    short = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', name)[:60]}-{short}"


def refuse_file(out: Path) -> None:
    """Stop where a file stands in the place of a folder.

    Raises:
        InputError: it does.
    """
    if out.is_file():
        raise InputError(f"{out}: is a file; a folder is expected.")


def write_with(path: Path, save: Callable[[Path], None]) -> None:
    """The same for a library that wants to write the file itself; the suffix is kept.

    It is not synced: after a power failure such a file, a picture, may have to be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp.{os.getpid()}{path.suffix}")
    try:
        save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable; does nothing where folders cannot be opened (Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> str:
    """Write JSON (no NaN: undefined figures are null), atomically. Returns the sha256."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return write(path, text.encode("utf-8"))


def read_json(path: Path, *, what: str) -> Any:
    """Read JSON.

    Raises:
        InputError: the file is missing, is no JSON or nested too deeply; `what` says what was
            expected of it.
    """
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {what} was expected.") from None
    except RecursionError:
        raise InputError(f"{path}: not readable as {what} (nested too deeply).") from None
    except (OSError, ValueError) as error:  # also a number of more digits than Python takes
        raise InputError(f"{path}: not readable as {what} ({error}).") from None


def user_cache() -> Path:
    """What can be made again is kept in `$WSRPN_CACHE`, or `wsrpn` in the user's cache folder.

    That is `$XDG_CACHE_HOME` or `~/.cache`; where neither can be written, a folder for temporary
    files.
    """
    own, home = os.environ.get("WSRPN_CACHE", ""), os.environ.get("XDG_CACHE_HOME", "")
    folder = (Path(home) if home else Path("~/.cache").expanduser()) / "wsrpn"
    folder = Path(own).expanduser() if own else folder
    user = os.getuid() if hasattr(os, "getuid") else "user"
    spare = Path(tempfile.gettempdir()) / f"wsrpn-{user}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return spare
    return folder if os.access(folder, os.W_OK) else spare
