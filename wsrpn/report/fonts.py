"""Letters of any language on a picture, and words that are words, never formulas."""

import functools
from typing import Any

# matplotlib's own font has no Chinese, Japanese or Korean; those of these that are installed help.
_OTHERS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei", "PingFang SC",
    "Hiragino Sans", "Arial Unicode MS", "Noto Sans",
)  # fmt: skip


@functools.cache
def families() -> tuple[str, ...]:
    """Fonts in the order in which a letter is looked for."""
    from matplotlib.font_manager import fontManager

    known = set(fontManager.get_font_names())
    return ("DejaVu Sans", *(name for name in _OTHERS if name in known))


def style() -> dict[str, Any]:
    """Options of a text of words that nobody has looked at: their fonts, no formula in dollars."""
    return {"family": list(families()), "parse_math": False}


@functools.cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    paths = [findfont(FontProperties(family=[name])) for name in families()]
    return frozenset(code for path in paths for code in get_font(path).get_charmap())


def legible(text: str) -> str:
    r"""The text on one line; a letter that no font of this machine has is written as its number.

    Boxes for missing letters would make two Chinese names the same.

    Example:
        >>> legible("a\nb \U0010fffd")
        'a b \\U0010fffd'
    """
    one = " ".join(text.split())
    return "".join(c if ord(c) in _letters() and c.isprintable() else ascii(c)[1:-1] for c in one)
