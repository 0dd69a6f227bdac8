"""Name → part. A part is a function or a class, and its signature is its schema.

Keyword-only parameters that have a default are options: they can be set in a config and are checked
with pydantic. Parameters without a default are given by the program when the part is built. A class
that takes `**options` and hands them to its base class has the options of that one, too.
"""

import hashlib
import importlib.util
import inspect
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import pydantic

from wsrpn.errors import InputError, nearest

Part = TypeVar("Part", bound=Callable[..., Any])


class Registry(Generic[Part]):
    """The parts of one kind, by name.

    Args:
        kind: what one part is called in an error sentence, for example "loss".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._parts: dict[str, Part] = {}
        self._facts: dict[str, dict[str, Any]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[Part], Part]:
        """Decorator that enters a part under `name` with facts such as `reads` or `gives`.

        Raises:
            ValueError: the name is taken by another part.
        """

        def enter(part: Part) -> Part:
            if name in self._parts:
                raise ValueError(f"Two parts are registered as {self.kind} '{name}'.")
            self._parts[name] = part
            self._facts[name] = facts
            return part

        return enter

    def __getitem__(self, name: str) -> Part:
        if name not in self._parts:
            raise InputError(f"No {self.kind} is called '{name}'. {nearest(name, self._parts)}")
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._parts))

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __len__(self) -> int:
        return len(self._parts)

    def facts(self, name: str) -> dict[str, Any]:
        """The facts that `name` was registered with."""
        self[name]
        return self._facts[name]

    def options(self, name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All options of a part: its defaults with `given` over them, checked and converted.

        Raises:
            InputError: an unknown option or a value of the wrong type, with its dotted path.
        """
        return checked(signature_schema(self[name]), given or {}, where=f"{self.kind} {name}")

    def build(self, name: str, given: Mapping[str, Any] | None = None, **runtime: Any) -> Any:
        """Call the part with its checked options and what the program adds at run time."""
        return self[name](**runtime, **self.options(name, given))


def signature_schema(part: Callable[..., Any]) -> type[pydantic.BaseModel]:
    """The options of a function or class as a pydantic model that refuses unknown keys."""
    fields: dict[str, Any] = {}
    for function in _makers(part):
        hints = typing.get_type_hints(function, include_extras=True)
        for name, parameter in inspect.signature(function).parameters.items():
            has_default = parameter.default is not inspect.Parameter.empty
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and has_default:
                fields.setdefault(name, (hints.get(name, Any), parameter.default))
    return pydantic.create_model(
        getattr(part, "__name__", "Part"),
        __config__=pydantic.ConfigDict(
            extra="forbid", arbitrary_types_allowed=True, protected_namespaces=()
        ),
        **fields,
    )


def _makers(part: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """A function; or a class's constructor and those that its `**options` go on to."""
    if not inspect.isclass(part):
        yield part
        return
    for kind in part.__mro__:
        maker = vars(kind).get("__init__")
        if maker is not None:
            yield maker
            taken = inspect.signature(maker).parameters.values()
            if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in taken):
                return


def checked(
    schema: type[pydantic.BaseModel], given: Mapping[str, Any], *, where: str
) -> dict[str, Any]:
    """`given` filled and converted by `schema`; the first thing wrong becomes a sentence."""
    try:
        filled = schema(**dict(given))
    except pydantic.ValidationError as error:
        raise InputError(sentence(error, where, schema.model_fields)) from None
    return {name: getattr(filled, name) for name in schema.model_fields}


def sentence(error: pydantic.ValidationError, where: str, known: Mapping[str, Any]) -> str:
    """One line from pydantic's first complaint: path, what is wrong, the way out."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"{where}: unknown key '{path}'. {nearest(path, known)}"
    if first["type"] == "missing":
        return f"{where}: {path}: is missing."
    return f"{where}: {path}: {first['msg']} (got {first['input']!r})."


def load_code(paths: Iterable[Path], *, raw: bool = False) -> None:
    """Import Python files that register parts of the user's own, each once per process.

    Args:
        paths: the files.
        raw: let what goes wrong in a file through as it is.

    Raises:
        InputError: no such file, or it fails, with the line of it.
    """
    for path in paths:
        if not path.is_file():
            raise InputError(f"--code {path}: no such file.")
        # In sys.modules, so that annotations of its classes can be looked up there.
        name = f"wsrpn_code_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
        spec = importlib.util.spec_from_file_location(name, path)
        if name in sys.modules:
            continue
        if spec is None or spec.loader is None:
            raise InputError(f"--code {path}: a Python file (.py) was expected.")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            if raw:
                raise
            own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
            line = f":{own[-1].lineno}" if own else ""
            raise InputError(f"--code {path}{line}: {type(error).__name__}: {error}") from None
