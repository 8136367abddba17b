"""Runs the command of the unit brownout@.service as systemd would, and waits until it says that it is ready. Run in a new Debian."""

import configparser
import os
import shutil
import signal
import socket
import subprocess
import tempfile

NAME = "first"
unit = configparser.ConfigParser(interpolation=None, strict=False)
unit.optionxform = str
unit.read("/usr/lib/systemd/system/brownout@.service")
service = unit["Service"]
assert service["Type"] == "notify", service["Type"]

with tempfile.TemporaryDirectory() as folder:
    os.makedirs(f"{folder}/brownout/{NAME}")
    os.makedirs("/etc/brownout", exist_ok=True)
    config = f"/etc/brownout/{NAME}.toml"
    with open(config, "w") as file:
        file.write('[media]\nstore = "file:disk.img"\n\n[[namespace]]\nsize = "64MiB"\n')
    words = service["ExecStart"].replace("%i", NAME).replace("%t", folder).split()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(f"{folder}/notify")
    listener.settimeout(30)
    environment = dict(os.environ, NOTIFY_SOCKET=f"{folder}/notify")
    drive = subprocess.Popen(words, cwd=f"{folder}/brownout/{NAME}", env=environment, stdout=subprocess.DEVNULL)
    try:
        assert b"READY=1" in listener.recv(4096)
        status = subprocess.run(
            ["brownout", "ctl", f"{folder}/brownout/{NAME}/control.sock", "--table", "query-status"],
            check=True, capture_output=True, text=True,
        )
        assert status.stdout.startswith("running"), status.stdout
    finally:
        drive.send_signal(signal.SIGTERM)
        code = drive.wait(timeout=30)
    assert code == 0, code
    assert os.path.getsize(f"{folder}/brownout/{NAME}/disk.img") > 0
    listener.close()
# Its owner's, and so not the package's to purge.
shutil.rmtree("/etc/brownout")
