"""Seeded choices that stay put when candidates are added: rendezvous hashing and a hash ring."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator


def rank(*parts: object) -> int:
    """A 64-bit number that depends on nothing but `parts`."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def ranked(candidates: Iterable[str], *key: object) -> list[str]:
    """Distinct candidates in the order of rank(key, candidate): a new one moves no pair of others."""
    return sorted(dict.fromkeys(candidates), key=lambda candidate: (rank(*key, candidate), candidate))


class Ring:
    """Many candidates on a circle of hashes; a key starts at its own place and walks round.

    Adding a candidate changes the first choice of only those keys that lie just before it, and a
    choice costs a binary search rather than a hash per candidate.
    """

    def __init__(self, candidates: Iterable[str]) -> None:
        self._places = sorted((rank("ring", item), item) for item in dict.fromkeys(candidates))

    def __len__(self) -> int:
        return len(self._places)

    def walk(self, *key: object) -> Iterator[str]:
        """All candidates, each once, from the place of `key` on."""
        start = bisect_left(self._places, (rank(*key), ""))
        for step in range(len(self._places)):
            yield self._places[(start + step) % len(self._places)][1]
