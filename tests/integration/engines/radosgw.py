"""radosgw, Ceph's S3 server, on a cluster of one monitor and one store in memory."""

from __future__ import annotations

import json
import uuid

from tests.integration.engines.processes import Engine, find_programs
from tests.integration.process import free_port

__all__ = ["RadosGateway"]

_PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")

# Without a cache: a gateway that has one tells all others of changes, and waits half a minute for one that was killed.
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}]
public network = 127.0.0.0/8
ms bind ipv6 = false
auth allow insecure global id reclaim = false
keyring = {directory}/keyring
run dir = {directory}/run
admin socket =
pid file =
log file = {directory}/$name.log
crash dir = {directory}/crash
mon data = {directory}/mon
osd data = {directory}/osd
rgw data = {directory}/rgw
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 1
mon max pg per osd = 1000
mon osd report timeout = 900
paxos propose interval = 0.05
paxos min wait = 0.01
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = {memory}
osd crush initial weight = 1
rgw rados pool pg num min = 4
rgw frontends = beast endpoint=127.0.0.1:{port}{tls}
rgw thread pool size = 16
rgw enable usage log = false
rgw cache enabled = false
"""

_CAPABILITIES = {
    "mon.": ("mon", "allow *"),
    "client.admin": ("mon", "allow *", "osd", "allow *", "mgr", "allow *"),
    "client.rgw": ("mon", "allow rw", "osd", "allow rwx"),
    "osd.0": ("mon", "allow profile osd", "osd", "allow *"),
}


class RadosGateway(Engine):
    """
    An S3 server with one user.

    @ivar port: where it listens.
    @ivar endpoint: its URL.
    """

    #: Bytes that it keeps, at most.
    memory = 1 << 30

    #: What is added to where it listens, for TLS.
    tls = ""

    access_key = "STOREHOUSETESTS"
    secret_key = "not-a-secret-at-all"

    def find(self) -> None:
        """See L{Engine.find}."""
        self.programs = find_programs(
            _PROGRAMS, "the packages ceph-mon, ceph-osd, ceph-common and radosgw of Debian have it"
        )

    def start(self) -> None:
        """See L{Engine.start}."""
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        mon_port = free_port()
        configuration = self.write(
            "ceph.conf",
            _CONFIGURATION.format(
                fsid=fsid,
                mon_port=mon_port,
                port=self.port,
                directory=self.directory,
                memory=self.memory,
                tls=self.tls,
            ),
        )
        with_conf = ("-c", configuration)
        self._make_keys()
        map_path = self.path("monmap")
        self.tool("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", map_path)
        keyring = self.path("keyring")
        self.tool("ceph-mon", *with_conf, "--mkfs", "-i", "a", "--monmap", map_path, "--keyring", keyring)
        self.spawn("mon", self.programs["ceph-mon"], *with_conf, "-i", "a", "-f")
        # Waits for the monitor.
        self.tool("ceph", *with_conf, "--connect-timeout", "60", "osd", "new", osd)
        self.write("osd/type", "memstore\n")
        self.tool("ceph-osd", *with_conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.spawn("osd", self.programs["ceph-osd"], *with_conf, "-i", "0", "-f")
        self.spawn("radosgw", self.programs["radosgw"], *with_conf, "-n", "client.rgw", "-f")
        self.wait_for_port(self.port, "radosgw")
        user = ("--uid", "tests", "--display-name", "tests")
        keys = ("--access-key", self.access_key, "--secret-key", self.secret_key)
        made = self.tool("radosgw-admin", *with_conf, "-n", "client.rgw", "user", "create", *user, *keys)
        if json.loads(made)["user_id"] != "tests":
            raise AssertionError(made)

    def tool(self, name: str, *words: str) -> str:
        """Run one of Ceph's programs."""
        return self.run(self.programs[name], *words)

    def _make_keys(self) -> None:
        keyring = self.path("keyring")
        create = ["--create-keyring"]
        for name, capabilities in _CAPABILITIES.items():
            pairs = zip(capabilities[::2], capabilities[1::2], strict=True)
            words = [word for service, allowed in pairs for word in ("--cap", service, allowed)]
            self.tool("ceph-authtool", *create, keyring, "--gen-key", "-n", name, *words)
            create = []

    def revive(self, name: str) -> None:
        """See L{Engine.revive}."""
        super().revive(name)
        if name == "radosgw":
            self.wait_for_port(self.port, name)
