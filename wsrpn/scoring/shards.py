"""Which process scores which slide, decided by its name alone."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from wsrpn.errors import InputError


@dataclass(frozen=True)
class Shard:
    """One of several processes that share a cohort.

    Attributes:
        number: of this one, from 1.
        count: of all.
    """

    number: int = 1
    count: int = 1

    @staticmethod
    def parse(text: str) -> "Shard":
        """A shard as the command line takes it.

        Raises:
            InputError: not of this form.

        Example:
            >>> Shard.parse("2/3")
            Shard(number=2, count=3)
        """
        first, slash, second = text.partition("/")
        if slash and first.isdecimal() and second.isdecimal():
            shard = Shard(int(first), int(second))
            if 1 <= shard.number <= shard.count:
                return shard
        raise InputError(f"--shard {text}: write i/n, from 1/n to n/n; for example 1/4.")

    def has(self, slide: str) -> bool:
        """Whether this process scores a slide."""
        return shard_of(slide, self.count) == self.number


def shard_of(slide: str, count: int) -> int:
    """Number of the process for a slide, from 1; the same on every machine."""
    return int(hashlib.sha256(slide.encode()).hexdigest(), 16) % count + 1


def shards_of(slides: Iterable[str], count: int) -> tuple[int, ...]:
    """Numbers of the processes that some slides belong to, each once."""
    return tuple(sorted({shard_of(slide, count) for slide in slides}))
