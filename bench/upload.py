"""
Large uploads: PUT through our streaming HTTP layer beside nginx's DAV module and twisted.web as it comes: C{python -m
bench.upload}.

README.rst tells how to read the table.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import getpass
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from bench.harness import (
    HOST,
    BenchError,
    Server,
    Spread,
    add_rounds,
    format_table,
    free_port,
    progress,
    running,
    tool,
    workspace,
)

__all__ = ["KINDS", "Upload", "main", "nginx_configuration", "put"]

#: The servers: their names in the table, and what L{bench.upload_server} calls it. The first is what the others are
#: compared with.
KINDS: dict[str, str] = {
    "nginx": "nginx, DAV PUT",
    "null": "ours, into nothing",
    "file": "ours, into a file",
    "spool": "twisted.web, spooled only",
    "stock": "twisted.web, into a file",
}

#: Those that leave a file, which can be looked at.
_keeping = ("nginx", "file", "stock")

#: In memory, so that not the disk is measured.
_memory = Path("/dev/shm/storehouse-bench")

_configuration = """\
daemon off;
worker_processes 1;
{user}
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    server {{
        listen {host}:{port}{tls};
        location / {{
            root {root};
            dav_methods PUT;
        }}
    }}
}}
"""


@attrs.frozen
class Upload:
    """
    One upload.

    @ivar seconds: from the connection to the end of the answer, as the client saw it.
    @ivar cpu: seconds of the server's processor time.
    """

    seconds: float
    cpu: float


#: What follows "listen" for TLS, in a configuration that L{nginx_configuration} makes.
_tls = """\
 ssl;
        ssl_certificate {certificate}/cert.pem;
        ssl_certificate_key {certificate}/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3"""


def nginx_configuration(directory: Path, root: Path, port: int, certificate: Path | None = None) -> str:
    """
    The text of an nginx.conf: its temporary files are on the file system of C{root}, so that it can rename what it
    received.

    @param certificate: for TLS, the directory of C{cert.pem} and C{key.pem}.
    """
    # As root nginx would change to a user that may not write here.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    tls = "" if certificate is None else _tls.format(certificate=certificate)
    return _configuration.format(user=user, directory=directory, host=HOST, port=port, root=root, tls=tls)


@contextlib.contextmanager
def _started(kind: str, directory: Path) -> Iterator[tuple[Server, Path]]:
    """A running server and the directory of its files."""
    port = free_port()
    root = directory / kind
    root.mkdir()
    if kind == "nginx":
        configuration = directory / "nginx.conf"
        configuration.write_text(nginx_configuration(directory, root, port))
        command = [tool("nginx"), "-e", str(directory / "nginx-error.log"), "-c", str(configuration)]
    else:
        command = [sys.executable, "-m", "bench.upload_server", kind, str(port), str(root)]
    with running(KINDS[kind], command, port, directory / f"{kind}.log") as server:
        yield server, root


def make_body(path: Path, size: int) -> None:
    """Fill a file with random bytes."""
    step = 2**20
    with path.open("wb") as file:
        for start in range(0, size, step):
            file.write(os.urandom(min(step, size - start)))


def put(server: Server, body: Path) -> Upload:
    """
    PUT a file by curl.

    @raise BenchError: if it is not accepted whole.
    """
    before = server.cpu_seconds()
    url = f"http://{HOST}:{server.port}/upload"
    # Without "Expect: 100-continue", which would measure a round trip that servers differ in.
    written = "%{http_code} %{size_upload} %{time_total}"
    command = [tool("curl"), "-sS", "-H", "Expect:", "-T", str(body), "-o", os.devnull, "-w", written, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"curl failed: {done.stderr}")
    status, size, seconds = done.stdout.split()
    if not status.startswith("2") or int(size) != body.stat().st_size:
        raise BenchError(f"status {status} after {size} bytes")
    return Upload(float(seconds), server.cpu_seconds() - before)


def _visit(kind: str, server: Server, root: Path, body: Path, whole: bool) -> Upload:
    """Upload once, check the file that came of it (byte for byte if C{whole}), and remove it."""
    upload = put(server, body)
    if kind in _keeping:
        file = root / "upload"
        if file.stat().st_size != body.stat().st_size or (whole and not filecmp.cmp(file, body, shallow=False)):
            raise BenchError("what was stored is not what was sent")
        file.unlink()
    return upload


def measure(kinds: Sequence[str], directory: Path, size: int, rounds: int) -> str:
    """
    Upload C{size} bytes to every server, in turn, C{rounds} times.

    @return: the table.
    @raise BenchError: if a server does not start or an upload is not stored right.
    """
    body = directory / "body"
    make_body(body, size)
    with contextlib.ExitStack() as stack:
        servers = {kind: stack.enter_context(_started(kind, directory)) for kind in kinds}
        uploads: dict[str, list[Upload]] = {kind: [] for kind in kinds}
        for number in range(rounds + 1):
            for kind, (server, root) in servers.items():
                progress(f"round {number} of {rounds}, {KINDS[kind]}")
                try:
                    upload = _visit(kind, server, root, body, whole=not number)
                except (BenchError, OSError) as error:
                    raise BenchError(f"{KINDS[kind]}: {error}") from error
                if number:
                    uploads[kind].append(upload)
        progress("")
        peaks = {kind: server.peak_rss() for kind, (server, _) in servers.items()}
    return _table(uploads, peaks, size)


def _table(uploads: dict[str, list[Upload]], peaks: dict[str, int], size: int) -> str:
    gib = size / 2**30
    rates = {kind: Spread(tuple(gib / upload.seconds for upload in of_kind)) for kind, of_kind in uploads.items()}
    first = next(iter(rates))
    rows = []
    for kind, rate in rates.items():
        cpu = Spread(tuple(upload.cpu / gib for upload in uploads[kind])).median
        ratio = rate.median / rates[first].median
        rows.append(
            [
                KINDS[kind],
                f"{rate.median:.2f}",
                rate.range(".2f"),
                f"{ratio:.2f}",
                f"{cpu:.2f}",
                f"{peaks[kind] / 2**20:.0f}",
            ]
        )
    head = ["server", "GiB/s", "lowest-highest", f"x {first}", "cpu s/GiB", "peak RSS MiB"]
    return format_table(f"PUT of {gib:g} GiB by curl, one at a time, nothing pinned", head, rows)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.upload",
        description="Measure large uploads through our streaming HTTP layer beside nginx and twisted.web. Needs curl and nginx with its DAV module.",
    )
    add_rounds(parser)
    parser.add_argument(
        "--size", metavar="MIB", type=int, default=1024, help="the size of the body in MiB (default: %(default)s)"
    )
    parser.add_argument(
        "--only",
        metavar="KIND",
        action="append",
        choices=KINDS,
        help=f"only this server, may be repeated: {', '.join(KINDS)}",
    )
    dir_help = "where to keep files meanwhile (default: %(default)s, in memory, so that not the disk is measured)"
    parser.add_argument("--dir", metavar="DIR", type=Path, default=_memory, help=dir_help)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    parser = _arguments()
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.size < 1:
        parser.error("--rounds and --size must be at least 1")
    size = options.size * 2**20
    kinds = [kind for kind in KINDS if options.only is None or kind in options.only]
    try:
        # The body, the two copies that twisted.web makes of it, and some air.
        with workspace(options.dir, 3 * size + 2**28) as directory:
            print(measure(kinds, directory, size, options.rounds))
    except BenchError as error:
        progress("")
        print(f"bench.upload: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
