"""
The servers that L{bench.uploads} visits, by curl: the seed's Go program, nginx and storehouse, all with TLS, one
certificate and files in one place.

The Go program is that of rfielding/uploader, from a clone that is given.  A copy is changed before it is built
(L{SUBSTITUTIONS}): where it keeps files, its port, and its check of a cookie, which under today's Go never passes, since
it throws away bytes that come together with the end of a part.  For the same reason the last bytes of a file are lost,
fewer than its buffer has; that is left as it is.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from bench.harness import CHECKOUT, HOST, BenchError, Server, free_port, running, tool
from bench.upload import nginx_configuration

__all__ = [
    "LOST",
    "OURS",
    "SUBSTITUTIONS",
    "Side",
    "Transfer",
    "Way",
    "build_uploader",
    "client_cpu",
    "make_certificate",
    "nginx",
    "storehouse",
    "uploader",
]

#: What is replaced in uploader.go, each exactly once.
SUBSTITUTIONS = (
    ("isAuthorized := false", "isAuthorized := true"),
    ('"/tmp/uploader", "127.0.0.1", 6060', 'os.Args[1], "127.0.0.1", port'),
    ("\ts := makeServer(", "\tport, _ := strconv.Atoi(os.Args[2])\n\ts := makeServer("),
)

#: Fewer bytes than these are lost of each file by the Go program.
LOST = 8192

#: What all servers are made to speak, so that none has a cheaper cipher.
_TLS = ("--http1.1", "--tlsv1.3", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256")


@attrs.frozen
class Way:
    """
    How storehouse is started.

    @ivar durable: uploads wait for the disk.
    @ivar encrypted: there is a master key.
    @ivar settings: more of them, by name.
    """

    durable: bool = True
    encrypted: bool = False
    settings: Mapping[str, str] = {}


#: Our ways, by their names in tables.
OURS: dict[str, Way] = {
    "ours, durable": Way(),
    "ours, relaxed": Way(durable=False),
    "ours, relaxed, BLAKE3": Way(durable=False, settings={"objects-hash": "BLAKE3"}),
    "ours, encrypted, durable": Way(encrypted=True),
    "ours, encrypted, relaxed": Way(durable=False, encrypted=True),
}


@attrs.frozen
class Transfer:
    """
    Bytes that went one way.

    @ivar seconds: from the connection to the end of the answer, as the client saw it.
    @ivar cpu: seconds of the server's processor time.
    @ivar client_cpu: seconds of the client's.
    """

    seconds: float
    cpu: float
    client_cpu: float


@attrs.frozen
class Side:
    """
    A server that is visited by curl.

    @ivar certificate: by which it is known.
    @ivar form_url: takes forms; empty if it takes none.
    @ivar put_url: takes PUT of files, whose names are put behind it; empty if it takes none.
    @ivar get_url: gives files, whose names are put behind it.
    @ivar files: where it keeps them under their names; C{None} if it has C{DELETE}.
    @ivar lost: fewer bytes than these may be missing at the end of a file; 0 for none.
    @ivar key: who visits it, as C{ID:SECRET}; empty for anybody.
    """

    server: Server
    certificate: Path
    form_url: str
    put_url: str
    get_url: str
    files: Path | None = None
    lost: int = 0
    key: str = ""

    @property
    def name(self) -> str:
        """In tables."""
        return self.server.name

    def curl(self, *arguments: str) -> list[str]:
        """The command."""
        who = ["-u", self.key] if self.key else []
        # Without "Expect: 100-continue", which would measure a round trip that servers differ in.
        return [tool("curl"), "-sS", *_TLS, "--cacert", str(self.certificate), "-H", "Expect:", *who, *arguments]

    def cipher(self) -> str:
        """What curl and the server agree on."""
        command = self.curl("-v", "-o", os.devnull, self.get_url)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(r"SSL connection using (.*)", done.stderr)
        if found is None:
            raise BenchError(f"no TLS: {done.stderr[-500:]}")
        return found[1].strip()

    def upload(self, body: Path) -> list[str]:
        """What has curl upload a file as a form, or by PUT if no forms are taken."""
        if self.form_url:
            return ["-o", os.devnull, "-H", "Accept: application/json", "-F", f"file=@{body}", self.form_url]
        return ["-o", os.devnull, "-T", str(body), self.put_url + body.name]

    def send(self, body: Path) -> Transfer:
        """Upload a file: L{upload}."""
        return self._transfer(body.stat().st_size, *self.upload(body))

    def put(self, body: Path) -> Transfer:
        """Upload a file by PUT."""
        return self._transfer(body.stat().st_size, "-o", os.devnull, "-T", str(body), self.put_url + body.name)

    def get(self, body: Path, target: str = os.devnull) -> Transfer:
        """Download what was uploaded."""
        return self._transfer(body.stat().st_size - self.lost, "-o", target, self.get_url + body.name)

    def remove(self, body: Path) -> None:
        """Remove what was uploaded."""
        if self.files is not None:
            (self.files / body.name).unlink()
        else:
            self._transfer(0, "-X", "DELETE", "-o", os.devnull, self.get_url + body.name)

    def compare(self, body: Path, back: Path) -> None:
        """
        Download what was uploaded to C{back}, and look whether it is the same.

        @raise BenchError: if it is not.
        """
        self.get(body, str(back))
        lost = body.stat().st_size - back.stat().st_size
        if lost:
            if not 0 < lost < self.lost:
                raise BenchError(f"{lost} bytes are missing")
            with body.open("rb") as file, back.open("ab") as copy:
                file.seek(-lost, os.SEEK_END)
                copy.write(file.read())
        if not filecmp.cmp(back, body, shallow=False):
            raise BenchError("what came back is not what was sent")
        back.unlink()

    def _transfer(self, size: int, *arguments: str) -> Transfer:
        """
        Have curl do one thing.

        @raise BenchError: if it fails, or fewer than C{size} bytes went, or came.
        """
        before, used = self.server.cpu_seconds(), client_cpu()
        command = self.curl("-w", "%{http_code} %{size_upload} %{size_download} %{time_total}", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{self.name}: curl failed: {done.stderr}")
        status, sent, received, seconds = done.stdout.split()
        if not status.startswith("2") or max(int(sent), int(received)) < size:
            raise BenchError(f"{self.name}: status {status}, {sent} bytes sent and {received} received")
        return Transfer(float(seconds), self.server.cpu_seconds() - before, client_cpu() - used)


def client_cpu() -> float:
    """The processor time, in seconds, of all clients that have ended."""
    # Of children that ended: servers run on.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_certificate(directory: Path) -> None:
    """C{cert.pem} and C{key.pem}: of an elliptic curve, for L{HOST}."""
    command = [tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem"), "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:{HOST}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"openssl made no certificate: {done.stderr}")


def substituted(source: str) -> str:
    """
    The text of uploader.go as it is measured.

    @raise BenchError: if it is not the text that the substitutions are for.
    """
    for old, new in SUBSTITUTIONS:
        if source.count(old) != 1:
            raise BenchError(f"uploader.go has {old!r} {source.count(old)} times, not once")
        source = source.replace(old, new)
    return source


def build_uploader(clone: Path, directory: Path) -> Path:
    """
    Build the Go program.

    @param clone: of rfielding/uploader.
    @return: the binary, in a directory of its own below C{directory}.
    """
    build = directory / "uploader"
    build.mkdir()
    try:
        source = (clone / "uploader.go").read_text()
    except OSError as error:
        raise BenchError(f"{clone} is no clone of rfielding/uploader: {error}") from None
    (build / "uploader.go").write_text(substituted(source))
    # It needs Go's standard library alone.
    variables = {**os.environ, "GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(build / "cache")}
    done = subprocess.run(
        [tool("go"), "build", "-o", "uploader", "uploader.go"],
        cwd=build,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"uploader.go could not be built:\n{done.stderr}")
    return build / "uploader"


@contextlib.contextmanager
def uploader(binary: Path, directory: Path) -> Iterator[Side]:
    """The Go program. It is started where C{cert.pem} and C{key.pem} are, and logs to nowhere."""
    port = free_port()
    files = directory / "go"
    files.mkdir()
    command = [str(binary), str(files), str(port)]
    with running("Go program", command, port, directory / "go.log", quiet=True) as server:
        url = f"https://{HOST}:{port}"
        yield Side(server, directory / "cert.pem", f"{url}/upload", "", f"{url}/download/", files, LOST)


@contextlib.contextmanager
def nginx(directory: Path) -> Iterator[Side]:
    """nginx: one worker, DAV PUT and static files."""
    port = free_port()
    files = directory / "nginx"
    files.mkdir()
    configuration = directory / "nginx.conf"
    configuration.write_text(nginx_configuration(directory, files, port, certificate=directory))
    command = [tool("nginx"), "-e", str(directory / "nginx-error.log"), "-c", str(configuration)]
    with running("nginx", command, port, directory / "nginx.log") as server:
        url = f"https://{HOST}:{port}/"
        yield Side(server, directory / "cert.pem", "", url, url, files)


@contextlib.contextmanager
def storehouse(name: str, directory: Path) -> Iterator[Side]:
    """
    A running storehouse, with nothing open but the upload door.

    @param name: one of L{OURS}.
    """
    way = OURS[name]
    port = free_port()
    root = directory / re.sub(r"\W+", "-", name)
    options = {
        "--root": str(root),
        "--append": "off",
        "--admin": "off",
        "--sfsp": "off",
        "--s3": "off",
        "--objects-scrub-rate": "off",
        "--objects-sync": "disk" if way.durable else "os",
        "--https": f"tcp:{port}:interface={HOST}",
        "--https-cert": str(directory / "cert.pem"),
        "--https-key": str(directory / "key.pem"),
    }
    if way.settings:
        file = root.with_suffix(".toml")
        file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in way.settings.items()))
        options["--config"] = str(file)
    twistd = Path(sys.executable).parent / "twistd"
    command = [sys.executable, str(twistd), "-n", "--pidfile=", "--reactor=storehouse", "storehouse"]
    for pair in options.items():
        command += pair
    environment = {"masterkey": "bench of uploads"} if way.encrypted else {}
    key = _access_key(root, environment)
    with running(name, command, port, root.with_suffix(".log"), environment=environment) as server:
        url = f"https://{HOST}:{port}"
        urls = (f"{url}/upload", f"{url}/upload/", f"{url}/download/")
        yield Side(server, directory / "cert.pem", *urls, key=key)


def _access_key(root: Path, environment: Mapping[str, str]) -> str:
    """A new user's access key, as C{ID:SECRET}."""
    command = [sys.executable, "-m", "storehouse.cli", "user", "add", "--json", "--root", str(root), "bench"]
    variables = {**os.environ, "PYTHONPATH": str(CHECKOUT), **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if done.returncode:
        raise BenchError(f"no user could be made:\n{done.stderr}")
    found = json.loads(done.stdout)
    return f"{found['key_id']}:{found['secret']}"
