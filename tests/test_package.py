"""What `import wsrpn` gives."""

import subprocess
import sys

import pytest

import wsrpn
from wsrpn import config


def test_public_names_are_loaded_when_used_and_are_what_they_say():
    for name, module in wsrpn._PUBLIC.items():
        value = getattr(wsrpn, name)
        assert (value.__module__, value.__name__) == (module, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        wsrpn.nonsense  # noqa: B018


def test_importing_the_package_loads_no_heavy_library():
    heavy = "torch", "numpy", "pandas", "matplotlib", "pydantic"
    code = f"import sys, wsrpn; print([n for n in {heavy!r} if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(("word", "value"), [("auto", "auto"), ("no", False), ("true", True)])
def test_channels_last_takes_what_yaml_makes_of_a_word(word, value):
    run = config.load("wsrpn-demo", [f"train.channels_last={word}"])
    assert run.train.channels_last == value
