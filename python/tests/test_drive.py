"""Drives as tests use them. The host is `brownout trace replay`, which needs no machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from brownout import Drive, DriveError, Report
from brownout.plugin import MakeDrive

BLOCK = 4096


def host(program: str, drive: Drive, *blocks: int) -> subprocess.Popen[bytes]:
    """A host that writes single blocks one after the other, and then shuts the drive down in order."""
    log = drive.folder / "writes.log"
    writes = "".join(f"{number} disk write {block * BLOCK} {BLOCK}\n" for number, block in enumerate(blocks, 10))
    log.write_text(f"fio version 3 iolog\n0 disk add\n0 disk open\n{writes}999 disk close\n")
    words = [program, "trace", "replay", str(log), "--socket", str(drive.socket), "--speed", "asap", "--json"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def lose_power(program: str, drive: Drive, **more: object) -> Report:
    """Writes blocks 2, 16 and 30; power goes as the last of them is fetched. The host waits for it in vain."""
    drive.arm({"match": {"opcode": "write", "lba": 30}}, **more)
    writer = host(program, drive, 2, 16, 30)
    try:
        assert drive.wait_for("POWER_CUT").name == "POWER_CUT"
    finally:
        writer.kill()
        writer.wait()
    report = drive.report()
    assert report is not None
    return report


def test_a_drive_says_what_it_is(drive: Drive) -> None:
    assert drive.ready["ready"] is True
    assert drive.ready["pid"] == drive.pid
    assert drive.execute("query-status")["status"] == "running"
    assert drive.report() is None


def test_what_was_not_flushed_is_lost_with_power(drive: Drive, brownout_program: str) -> None:
    report = lose_power(brownout_program, drive)
    assert [(change.kind, change.first, change.blocks) for change in report.lost] == [("write", 2, 1), ("write", 16, 1)]
    assert drive.execute("query-status")["status"] != "running"
    assert drive.restore()["recovery"]["clean"] is False
    assert drive.execute("query-status")["status"] == "running"


def test_a_policy_says_what_survives(drive: Drive, brownout_program: str) -> None:
    report = lose_power(brownout_program, drive, policy="all-survive")
    assert [change.first for change in report.not_durable] == [2, 16] and report.lost == ()


def test_what_the_host_shut_down_is_durable(drive: Drive, brownout_program: str) -> None:
    assert host(brownout_program, drive, 2, 16).wait() == 0
    report = drive.cut()
    assert report.not_durable == () and report.commands > 0
    assert drive.report() == report


@pytest.mark.brownout(namespaces=["size=16MiB,lba=512", "size=16MiB,lba=4KiB"])
def test_a_marker_says_how_a_drive_is_made(drive: Drive) -> None:
    sizes = [namespace["lba"] for namespace in drive.ready["configuration"]["namespace"]]
    assert sizes == ["512", "4KiB"]


def test_a_file_outlives_its_drive(make_drive: MakeDrive, brownout_program: str, tmp_path: Path) -> None:
    media = f"store=file:{tmp_path}/disk.img"
    with make_drive(media=media) as first:
        assert host(brownout_program, first, 5).wait() == 0
    with make_drive(media=media, namespaces=[]) as second:
        assert second.cut().not_durable == ()
        assert second.restore()["recovery"]["clean"] is False
    words = [brownout_program, "media", "info", f"{tmp_path}/disk.img", "--json"]
    info = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    assert (info["clean"], info["host-writes"]) == (True, 1)


def test_what_cannot_be_is_an_error_that_says_why(make_drive: MakeDrive, drive: Drive) -> None:
    with pytest.raises(DriveError, match="give a power of two"):
        make_drive(namespaces=["size=16MiB,lba=3000"])
    with pytest.raises(DriveError, match="not a program"):
        make_drive(program="/nowhere/brownout")
    with pytest.raises(DriveError, match="crash-arm"):
        drive.arm({"step": "no-such-step"})
    with pytest.raises(DriveError, match="no event"):
        drive.wait_for("POWER_CUT", seconds=0.2)
