"""Fixtures for pytest: `drive` is a new drive for each test, `make_drive` makes as many as a test wants.

The program is the option --brownout's, the variable BROWNOUT_BIN's, or the one in PATH.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from brownout.drive import Drive

MakeDrive = Callable[..., Drive]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    said = "the program brownout [default: BROWNOUT_BIN, or the one in PATH]"
    parser.addoption("--brownout", default=None, metavar="PROGRAM", help=said)


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", "brownout(**options): how the fixture `drive` starts its drive, as Drive.start takes it")


@pytest.fixture(scope="session")
def brownout_program(request: pytest.FixtureRequest) -> str:
    """The program."""
    return str(request.config.getoption("--brownout") or os.environ.get("BROWNOUT_BIN") or "brownout")


@pytest.fixture
def make_drive(brownout_program: str, tmp_path: Path) -> Iterator[MakeDrive]:
    """Starts drives, each in a folder of its own; those that run at the end of the test are killed."""
    drives: list[Drive] = []

    def make(**options: Any) -> Drive:
        folder = options.pop("folder", None) or tmp_path / f"drive-{len(drives) + 1}"
        folder.mkdir(exist_ok=True)
        drive = Drive.start(folder, **{"program": brownout_program, **options})
        drives.append(drive)
        return drive

    yield make
    for drive in drives:
        if drive.is_running:
            drive.kill()


@pytest.fixture
def drive(request: pytest.FixtureRequest, make_drive: MakeDrive) -> Drive:
    """A drive; a test may say how it is started by `@pytest.mark.brownout(namespaces=["size=1GiB"])`."""
    marker = request.node.get_closest_marker("brownout")
    return make_drive(**(marker.kwargs if marker else {}))
