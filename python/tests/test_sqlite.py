"""SQLite in a file of the FUSE export, and power cuts under it: what COMMIT acknowledged is there, or the drive has lied.

The database is the drive's file; its journal lies beside it, on the host. Power goes under a process that inserts rows; the export and
that process are killed, as a crash of the host would do, and another process looks at what is left.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from brownout import Drive, FuseExport, find_storage_daemon

WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA synchronous=FULL")
for number in range(1, 1_000_000):
    database.execute("INSERT INTO row VALUES (?, ?)", (number, "x" * 400))
    database.commit()
    print(number, flush=True)
"""

can_mount = os.path.exists("/dev/fuse") and (os.geteuid() == 0 or shutil.which("fusermount3") is not None)
pytestmark = pytest.mark.skipif(
    not can_mount or find_storage_daemon() is None, reason="no qemu-storage-daemon with FUSE: `make guest` unpacks one"
)


def make_database(export: FuseExport, scratch: Path) -> None:
    """An empty table at the beginning of the drive, durable. SQLite itself makes no database of a file full of zeroes."""
    with sqlite3.connect(scratch) as database:
        database.execute("CREATE TABLE row (number INTEGER PRIMARY KEY, text TEXT)")
    database.close()
    with export.file.open("r+b") as file:
        file.write(scratch.read_bytes())
        file.flush()
        os.fsync(file.fileno())


def lose_power_under_sqlite(drive: Drive, folder: Path) -> int:
    """Rows go in until power goes at a write; how many of them were acknowledged."""
    export = FuseExport.start(drive, folder / "disk")
    make_database(export, folder / "empty.db")
    drive.arm({"match": {"opcode": "write"}, "nth": 150})
    words = [sys.executable, "-c", WRITER, str(export.file)]
    writer = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        drive.wait_for("POWER_CUT")
    finally:
        writer.kill()
        export.kill()
        said, _ = writer.communicate()
    drive.restore()
    return len(said.split())


def rows_that_are_left(drive: Drive, folder: Path) -> int:
    """Counts them, after SQLite has recovered, and looks whether the database is sound."""
    with FuseExport.start(drive, folder / "disk") as export:
        database = sqlite3.connect(export.file)
        try:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            count: int = database.execute("SELECT count(*) FROM row").fetchone()[0]
            return count
        finally:
            database.close()


@pytest.mark.brownout(vhost_user=True)
def test_what_commit_acknowledged_survives_a_power_cut(drive: Drive, tmp_path: Path) -> None:
    acknowledged = lose_power_under_sqlite(drive, tmp_path)
    assert acknowledged > 0
    assert acknowledged <= rows_that_are_left(drive, tmp_path) <= acknowledged + 1


@pytest.mark.brownout(vhost_user=True, media="cache_age=none,misbehave=ignored-flush")
def test_a_drive_that_ignores_flushes_loses_what_commit_acknowledged(drive: Drive, tmp_path: Path) -> None:
    acknowledged = lose_power_under_sqlite(drive, tmp_path)
    try:
        left = rows_that_are_left(drive, tmp_path)
    except (sqlite3.DatabaseError, AssertionError):
        return
    assert left < acknowledged
