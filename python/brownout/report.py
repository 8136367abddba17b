"""What a power loss cost: each change that was not durable when power went, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping


@dataclass(frozen=True)
class Change:
    """A write or a deallocation that was not durable."""

    kind: str
    """What it was: "write", "deallocate", and others."""
    namespace: int
    first: int
    """The first of its blocks."""
    blocks: int
    completed: bool
    """Whether the host had been told that it was done."""
    fate: str
    """What became of it: "lost", "survived", "torn", and others."""
    raw: Mapping[str, Any]
    """All that the drive says of it."""

    @staticmethod
    def read(raw: Mapping[str, Any]) -> Change:
        """Reads what the drive says."""
        span = raw["range"]
        return Change(
            kind=raw["change"],
            namespace=raw["namespace"],
            first=span["first"],
            blocks=span["blocks"],
            completed=raw["completed"],
            fate=raw["fate"],
            raw=raw,
        )


@dataclass(frozen=True)
class Report:
    """A power loss."""

    commands: int
    """Commands that the drive had taken before."""
    not_durable: tuple[Change, ...]
    """The oldest first."""
    raw: Mapping[str, Any]
    """All that the drive says of it."""

    @staticmethod
    def read(raw: Mapping[str, Any]) -> Report:
        """Reads what the drive says."""
        changes = tuple(Change.read(change) for change in raw["not-durable"])
        return Report(commands=raw["commands"], not_durable=changes, raw=raw)

    @property
    def lost(self) -> tuple[Change, ...]:
        """Changes of which nothing is left."""
        return tuple(change for change in self.not_durable if change.fate == "lost")
