"""One small data set and one trained run that the flows share and do not change."""

import os

import pytest

from tests import cli, make


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """Phantoms are cached here, not in the home of whoever runs the tests."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("XDG_CACHE_HOME")
    if before is not None:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """48 images of 16 patients with boxes, in a folder with images.csv."""
    return make.manifest(tmp_path_factory.mktemp("data"), 48, size=(48, 48))


@pytest.fixture(scope="session")
def trained(tmp_path_factory, data):
    """A run folder with a calibration; copy it before changing it."""
    run = tmp_path_factory.mktemp("runs") / "run"
    for done in (cli.train(data, run), cli.wsrpn("calibrate", run)):
        assert done.exit_code == 0, done.stderr
    return run


@pytest.fixture(autouse=True)
def _no_debug(monkeypatch):
    """`wsrpn --debug` of one test must not reach the next."""
    monkeypatch.delenv("WSRPN_DEBUG", raising=False)
