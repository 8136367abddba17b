"""A drive as a file of this host, without a machine: QEMU's `qemu-storage-daemon` exports it by FUSE.

It takes a qemu-storage-daemon that is built with libblkio and libfuse (`make guest` of brownout unpacks one), and root or fusermount3.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

from brownout.drive import Drive, DriveError

#: Seconds in which the export must be there.
START_SECONDS = 30


def find_storage_daemon() -> str | None:
    """BROWNOUT_STORAGE_DAEMON, the one that `make guest` unpacked, or the one in PATH; none if there is none that knows our socket."""
    cache = os.environ.get("BROWNOUT_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "brownout")
    unpacked: list[str] = []
    try:
        for line in (Path(cache) / "guest.env").read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "QEMU_STORAGE_DAEMON":
                unpacked.append(value)
    except OSError:
        pass
    for program in [os.environ.get("BROWNOUT_STORAGE_DAEMON"), *unpacked, "qemu-storage-daemon"]:
        found = shutil.which(program) if program else None
        if found and "fuse" in subprocess.run([found, "--help"], capture_output=True, text=True).stdout:
            return found
    return None


class FuseExport:
    """A drive that was started with `vhost_user=True`, as one file. Leaving its `with` block ends the export in order."""

    def __init__(self, process: subprocess.Popen[bytes], file: Path) -> None:
        self._process = process
        self.file = file

    @classmethod
    def start(cls, drive: Drive, file: Path, *, program: str | None = None) -> FuseExport:
        """Exports the drive at a file, which is made if it is not there, and waits until it can be used."""
        found = program or find_storage_daemon()
        if found is None:
            raise DriveError("there is no qemu-storage-daemon with FUSE: run `make guest`, or set BROWNOUT_STORAGE_DAEMON")
        file.touch()
        disk = f"driver=virtio-blk-vhost-user,node-name=disk,path={drive.socket},cache.direct=on"
        export = f"fuse,id=export,node-name=disk,mountpoint={file},writable=on"
        log = file.with_name(file.name + ".log")
        with log.open("w") as errors:
            words = [found, "--blockdev", disk, "--export", export]
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=errors, stdout=errors)
        until = time.monotonic() + START_SECONDS
        while file.stat().st_size == 0:
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                process.wait()
                raise DriveError(f"the export did not start: {log.read_text().strip()}")
            time.sleep(0.02)
        return cls(process, file)

    def stop(self) -> None:
        """Ends the export; what was written through it and not synced stays where it is in the drive."""
        self._process.terminate()
        self._end()

    def kill(self) -> None:
        """What a host's crash does: whoever waits for the file hears an error."""
        self._process.kill()
        self._end()

    def _end(self) -> None:
        self._process.wait()
        # A process that was killed leaves a mount behind.
        for words in (["umount", "-l"], ["fusermount3", "-u", "-z"]):
            if shutil.which(words[0]) and subprocess.run([*words, str(self.file)], capture_output=True).returncode == 0:
                return

    def __enter__(self) -> FuseExport:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self.stop()
