"""What documents promise: commands that exist, links that lead somewhere, a whole package."""

import ast
import contextlib
import functools
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import typer

from wsrpn_cli.app import app

ROOT = Path(__file__).parent.parent
# Typer has a click of its own in some versions; this is the error of the one in use.
MissingParameter = next(
    c for c in typer.BadParameter.__subclasses__() if c.__name__ == "MissingParameter"
)
SHELL = {"sh", "bash", "shell", "console"}
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.M | re.S)
_DEFAULT = re.compile(r"\$\{\w+:-'?([^}']*)'?\}")  # of a shell variable
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
SKIPPED = {".git", ".venv", "__pycache__", "build", "dist", "runs", "demo", "node_modules"}


@functools.cache
def files():
    """Files of the project: those that git tracks or would, or all where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        listed = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if not SKIPPED & set(p.parts)]
    return tuple(ROOT / name for name in listed if (ROOT / name).is_file())


def named(path):
    return path.relative_to(ROOT).as_posix()


DOCUMENTS = [p for p in files() if p.suffix == ".md"]


def commands(script):
    """Words of each `wsrpn …` and `make …` in a shell script, whatever stands around it."""
    text = _DEFAULT.sub(r"\1", script.replace("\\\n", " "))
    for line in text.splitlines():
        part: list[str] = []
        for word in [*_words(line.strip().removeprefix("$ ")), ";"]:
            if set(word) <= set("|&;()"):
                yield from _ours(part)
                part = []
            else:
                part.append(word)


def _words(line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        return [word for word in lexer if word]
    except ValueError:  # a quote that goes on in the next line
        return line.split("'")[0].split()


def _ours(words):
    while words and re.fullmatch(r"\w+=.*", words[0]):  # OMP_NUM_THREADS=1 wsrpn …
        words = words[1:]
    if "wsrpn_cli.app" in words:  # torchrun … -m wsrpn_cli.app train …
        words = ["wsrpn", *words[words.index("wsrpn_cli.app") + 1 :]]
    words = words[: min([words.index(w) for w in ("<", ">", ">>") if w in words], default=None)]
    if words and Path(words[0]).name in {"wsrpn", "make"}:
        yield [Path(words[0]).name, *words[1:]]


def understood(words):
    """Parse a command as the program does, without running it.

    Raises:
        LookupError: no such command, or no such target of make.
        Exception: what click says of options and arguments.
    """
    if words[0] == "make":
        unknown = {word for word in words[1:] if "=" not in word} - targets()
        if unknown:
            raise LookupError(f"make has no target {unknown}")
        return
    command, path, rest = typer.main.get_command(app), "wsrpn", list(words[1:])
    while hasattr(command, "commands"):
        rest = rest[1:] if rest[:1] == ["--debug"] else rest
        if not rest or rest[0].startswith("-"):
            return
        if rest[0] not in command.commands:
            raise LookupError(f"{path} has no command {rest[0]}")
        command, path, rest = command.commands[rest[0]], f"{path} {rest[0]}", rest[1:]
    if "--help" not in rest:
        command.make_context(path, rest)


def targets():
    return set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M))


def scripts():
    """Every shell block of every document, and every shell script."""
    for path in DOCUMENTS:
        for language, text in _BLOCK.findall(path.read_text("utf-8")):
            if language in SHELL:
                yield pytest.param(text, id=f"{named(path)}: {text.strip()[:30]}")
    for path in files():
        if path.suffix == ".sh":
            yield pytest.param(path.read_text("utf-8"), id=named(path))


@pytest.mark.parametrize("script", list(scripts()))
def test_commands_in_documents_and_scripts_exist_with_their_options(script):
    for words in commands(script):
        understood(words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_commands_in_running_text_exist_too(path):
    for text in re.findall(r"`((?:wsrpn|make) [^`]+)`", _BLOCK.sub("", path.read_text("utf-8"))):
        for words in commands(text):
            if "…" in words[1]:
                continue
            # The text may leave out what it does not speak of.
            with contextlib.suppress(MissingParameter):
                understood(words)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("wsrpn eval runs/a --jsn", "No such option: --jsn"),
        ("wsrpn trian wsrpn", "no command trian"),
        ("wsrpn train", "Missing parameter"),
        ("x=1 cat a | wsrpn data chek b > c", "wsrpn data has no command chek"),
        ("torchrun -m wsrpn_cli.app train wsrpn --epochs many", "valid integer"),
        ("make tset", "no target"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line, says):
    (words,) = commands(line)
    with pytest.raises(Exception, match=says):
        understood(words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_of_documents_lead_to_files_that_are_there(path):
    for target in _LINK.findall(path.read_text("utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_python_in_documents_imports_what_exists(path):
    for language, text in _BLOCK.findall(path.read_text("utf-8")):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wsrpn"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


def test_no_file_names_a_place_on_somebodys_machine():
    places = [f"/{word}/".encode() for word in ("work", "root", "home", "Users")]
    places += [b"/tmp" + b"/venv"]
    allowed = {Path(__file__)}
    for path in files():
        if path not in allowed:
            content = path.read_bytes()
            assert not [p for p in places if p in content], named(path)


# --- the package


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def modules():
    """Path in the package → file, of everything below wsrpn/ and cli/."""
    return {
        named(p).replace("cli/", "wsrpn_cli/", 1) if named(p).startswith("cli/") else named(p): p
        for p in files()
        if named(p).startswith(("wsrpn/", "cli/"))
    }


def test_the_packages_are_the_folders_that_hold_an_init(project):
    folders = {Path(n).parent.as_posix() for n in modules() if n.endswith("/__init__.py")}
    assert {f.replace("/", ".") for f in folders} == set(project["tool"]["setuptools"]["packages"])
    for name in modules():
        assert Path(name).parent.as_posix() in folders, f"{name} is in no package"


def test_the_wheel_holds_every_file_of_the_tree(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    extra = [ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE")]
    for path in [*extra, *modules().values()]:
        copy = source / named(path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    build = "from setuptools.build_meta import build_wheel; build_wheel('out')"
    done = subprocess.run(
        [sys.executable, "-c", build],
        cwd=source, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next((source / "out").glob("*.whl"))) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == set(modules())
