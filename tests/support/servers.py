"""Real servers on free loopback ports: S3 by moto, SSH by the sshd of the machine, models by transformers."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

SSHD_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server takes connections; fails when it ends or needs more than three minutes."""
    for _ in range(1800):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"no server on port {port} after three minutes: {log.read_text()}")


@contextmanager
def serving(words: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that ends, with its children, with the block."""
    with log.open("ab") as stream:
        server = subprocess.Popen(words, stdout=stream, stderr=stream)
    try:
        wait_for(port, server, log)
        yield server
    finally:
        stop(server)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End a server and its children at once, transfers in progress included."""
    if server.poll() is None:
        # sshd gives each connection a session of its own: a signal to its group would not reach them.
        for process in [*psutil.Process(server.pid).children(recursive=True), server]:
            process.kill()
        server.wait()


@contextmanager
def s3(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of an S3 server without content, and its process."""
    port = free_port()
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with serving(words, port, folder / "s3.log") as server:
        yield f"http://127.0.0.1:{port}", server


# In front of what starts the next one.
needs_serving = pytest.mark.skipif(
    not all(map(find_spec, ("fastapi", "uvicorn"))),
    reason="transformers serve needs fastapi and uvicorn: pip install 'transformers[serving]'",
)


@contextmanager
def transformers_serve(log: Path, *model: str) -> Iterator[str]:
    """The address of `transformers serve` on a CPU, for a client of OpenAI."""
    port = free_port()
    words = [sys.executable, "-m", "transformers.cli.transformers", "serve", "--host", "127.0.0.1"]
    with serving([*words, "--device", "cpu", "--port", str(port), *model], port, log):
        yield f"http://127.0.0.1:{port}/v1"


class Sshd:
    """An SSH server with a key of its own that lets this user in with the key `client_key`."""

    def __init__(self, folder: Path) -> None:
        """Skips the test, with the reason, where the machine cannot run one."""
        program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
        if not program:
            pytest.skip("sshd is not installed (Debian: openssh-server)")
        self.folder, self.port, self.user = folder, free_port(), getpass.getuser()
        for key in ("host_key", "client_key"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(words, check=True)
        config = folder / "sshd_config"
        config.write_text(SSHD_CONFIG.format(port=self.port, folder=folder))
        self.words = [program, "-D", "-e", "-f", str(config)]
        checked = subprocess.run([*self.words, "-t"], capture_output=True, text=True, check=False)
        if checked.returncode:
            pytest.skip(f"sshd does not start here: {checked.stderr.strip()}")

    def serving(self) -> object:
        """The server, for a `with` block; it can be started again."""
        return serving(self.words, self.port, self.folder / "sshd.log")
