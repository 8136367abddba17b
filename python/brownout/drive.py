"""A drive: the process `brownout serve`, and orders for it by its control socket, which QEMU's own library speaks."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Coroutine, Mapping, Sequence, TypeVar

from qemu.qmp import ExecuteError, QMPClient

from brownout.report import Report

Answer = TypeVar("Answer")

#: Seconds that a drive has to end in order.
STOP_SECONDS = 60


class DriveError(Exception):
    """The drive did not start, or did not do what it was told."""


@dataclass(frozen=True)
class Event:
    """Something that the drive told of by itself."""

    name: str
    data: Mapping[str, Any]


class Drive:
    """A drive that runs. Leaving its `with` block ends it in order."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, ready: Mapping[str, Any]) -> None:
        self._process = process
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient("brownout")
        self.folder = folder
        self.ready = ready
        """What the drive said as it was ready: sockets, version, configuration."""

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        program: str | Path = "brownout",
        namespaces: Sequence[str] = ("size=64MiB,lba=4KiB",),
        media: str | None = "cache_age=none",
        device: str | None = None,
        vhost_user: bool = False,
        arguments: Sequence[str] = (),
    ) -> Drive:
        """Starts a drive whose sockets and log are in a folder, and waits until it is ready.

        Options are those of `brownout serve`. With `cache_age=none`, what is not flushed stays volatile, however long a test takes.
        """
        found = shutil.which(str(program))
        if found is None:
            raise DriveError(f"{program} is not a program: install brownout, or say where it is")
        front = ["--vhost-user", "disk.sock"] if vhost_user else ["--socket", "nvme.sock"]
        words = [str(Path(found).resolve()), "serve", "--json", "--control", "control.sock", *front]
        for namespace in namespaces:
            words += ["--namespace", namespace]
        for option, value in (("--media", media), ("--device", device)):
            words += [option, value] if value is not None else []
        log = folder / "brownout.log"
        with log.open("w") as errors:
            process = subprocess.Popen([*words, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait()
            process.stdout.close()
            raise DriveError(f"the drive did not start: {log.read_text().strip()}")
        drive = cls(process, folder, json.loads(line))
        try:
            drive._run(drive._client.connect(str(drive.control)))
        except BaseException:
            drive.kill()
            raise
        return drive

    @property
    def control(self) -> Path:
        """The control socket, for other clients too."""
        return self.folder / str(self.ready["control"])

    @property
    def socket(self) -> Path:
        """Where QEMU plugs the drive in: vfio-user, or vhost-user if that was asked for."""
        at = self.ready["vhost-user"] or self.ready["sockets"][0]
        return self.folder / str(at)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process.poll() is None

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """Sends any command of the control socket; `brownout ctl help` lists them. Returns its answer."""
        try:
            return self._run(self._client.execute(command, dict(arguments or {})))
        except ExecuteError as error:
            raise DriveError(f"{command}: {error}") from error

    def arm(self, at: Mapping[str, object], **more: object) -> None:
        """Lets power go at a step, a command or by chance: `arm({"step": "flush-programmed", "nth": 3}, policy="random", seed=7)`."""
        self.execute("crash-arm", {"at": dict(at), **more})

    def cut(self, **more: object) -> Report:
        """Cuts power now: `policy` and `seed` say what survives; by default nothing that was not durable does."""
        return Report.read(self.execute("power-cut", more))

    def restore(self) -> Mapping[str, Any]:
        """Gives power back; returns what recovery found."""
        answer: Mapping[str, Any] = self.execute("power-restore")
        return answer

    def report(self) -> Report | None:
        """The last power loss, if there was one."""
        report = self.execute("query-crash").get("report")
        return None if report is None else Report.read(report)

    def wait_for(self, name: str, seconds: float = 30) -> Event:
        """Waits for an event that came since the last wait, or will; others before it are dropped."""

        async def look() -> Event:
            async for message in self._client.events:
                if message["event"] == name:
                    data = message.get("data")
                    return Event(name, data if isinstance(data, dict) else {})
            raise DriveError(f"the drive ended before the event {name}")

        try:
            return self._run(asyncio.wait_for(look(), seconds))
        except asyncio.TimeoutError:
            raise DriveError(f"no event {name} in {seconds} s") from None

    def stop(self) -> None:
        """Ends the drive in order, as SIGTERM does; what is in its cache becomes durable."""
        self._process.terminate()
        self._end()
        if self._process.returncode != 0:
            said = (self.folder / "brownout.log").read_text().strip()
            raise DriveError(f"the drive ended with {self._process.returncode}: {said}")

    def kill(self) -> None:
        """Kills the process: a power cut for a drive on a file."""
        self._process.kill()
        self._end()

    def _end(self) -> None:
        try:
            self._process.wait(STOP_SECONDS)
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()
            if not self._loop.is_closed():
                try:
                    self._loop.run_until_complete(self._client.disconnect())
                except Exception:  # Whatever the library says of a peer that is gone.
                    pass
                self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self._loop.run_until_complete(work)

    def __enter__(self) -> Drive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.is_running:
            if error is None:
                self.stop()
            else:
                self.kill()
