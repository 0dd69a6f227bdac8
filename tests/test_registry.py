"""The registry: a part's signature is its schema."""

from typing import Any, Literal

import pytest

from wsrpn.errors import InputError
from wsrpn.registry import Registry


@pytest.fixture
def parts():
    registry = Registry("shape")

    @registry.register("ball", reads=("air",))
    def ball(size, *, classes, colour: Literal["red", "blue"] = "red", radius: float = 1.0):
        return size, classes, colour, radius

    @registry.register("box")
    class Box:
        def __init__(self, *, classes: int, sides: tuple[float, ...] = (1.0, 2.0)) -> None:
            self.classes, self.sides = classes, sides

    return registry


def test_options_are_the_keyword_parameters_that_have_a_default(parts):
    assert parts.options("ball") == {"colour": "red", "radius": 1.0}
    assert parts.options("box", {"sides": [3, "4"]}) == {"sides": (3.0, 4.0)}


def test_a_class_that_hands_its_options_on_has_those_of_its_base():
    registry = Registry("shape")

    class Base:
        def __init__(self, *, classes: int, size: float = 1.0, colour: str = "red") -> None:
            self.told = (classes, size, colour)

    @registry.register("child")
    class Child(Base):
        def __init__(self, *, classes: int, size: float = 2.0, **options: Any) -> None:
            super().__init__(classes=classes, size=size, **options)

    @registry.register("stranger")
    class Stranger(Child):
        def __init__(self, *, wings: int = 2) -> None:
            super().__init__(classes=wings)

    assert registry.options("child") == {"size": 2.0, "colour": "red"}
    assert registry.build("child", {"colour": "blue"}, classes=3).told == (3, 2.0, "blue")
    assert registry.options("stranger") == {"wings": 2}
    with pytest.raises(InputError, match="Did you mean 'colour'"):
        registry.options("child", {"color": "red"})


def test_a_part_is_built_from_checked_options_and_what_the_program_adds(parts):
    box = parts.build("box", {"sides": [5]}, classes=3)
    assert (box.classes, box.sides) == (3, (5.0,))
    assert parts["ball"](1, classes=2, **parts.options("ball", {"radius": "1e-3"}))[3] == 1e-3


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("bal", {}, "No shape is called 'bal'. Did you mean 'ball'? Known: ball, box."),
        ("ball", {"color": "red"}, "shape ball: unknown key 'color'. Did you mean 'colour'?"),
        ("ball", {"size": 1}, "unknown key 'size'"),
        ("box", {"classes": 1}, "unknown key 'classes'"),
        ("ball", {"colour": "green"}, "colour: Input should be 'red' or 'blue' (got 'green')."),
        ("box", {"sides": [1, "wide"]}, "sides.1: Input should be a valid number"),
    ],
)
def test_what_does_not_fit_is_a_sentence(parts, name, options, words):
    with pytest.raises(InputError) as caught:
        parts.options(name, options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_sorted_and_facts_are_kept(parts):
    assert list(parts) == ["ball", "box"]
    assert len(parts) == 2
    assert "ball" in parts
    assert "cone" not in parts
    assert parts.facts("ball") == {"reads": ("air",)}
    with pytest.raises(InputError, match="No shape"):
        parts.facts("cone")


def test_a_name_is_given_once(parts):
    with pytest.raises(ValueError, match="Two parts are registered as shape 'ball'"):
        parts.register("ball")(lambda: None)
