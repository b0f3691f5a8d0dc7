"""OpenStack Swift with one replica of everything, and TempAuth to let its user in."""

from __future__ import annotations

import getpass
import os
import sys

from tests.integration.engines.processes import Engine, find_programs
from tests.integration.process import free_port

__all__ = ["Swift"]

_SERVERS = ("account", "container", "object")

_HASHES = """\
[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests

[storage-policy:0]
name = only
default = yes
"""

_SERVER = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {directory}
devices = {directory}/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
workers = 0

[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
"""

_PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {directory}
workers = 0

[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats tempauth slo dlo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}

[filter:listing_formats]
use = egg:swift#listing_formats

[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{name} = {password} .admin http://127.0.0.1:{port}/v1/AUTH_{account}

[filter:slo]
use = egg:swift#slo

[filter:dlo]
use = egg:swift#dlo
"""


#: What swift-ring-builder does, for all three rings at once: each start of it takes half a second.
_RINGS = """\
import sys
from swift.common.ring import RingBuilder

for word in sys.argv[1:]:
    name, _, port = word.partition(":")
    builder = RingBuilder(2, 1, 0)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "sda", "weight": 1.0})
    builder.rebalance()
    builder.get_ring().save(f"{name}.ring.gz")
"""


class Swift(Engine):
    """
    Swift with one user.

    @ivar port: where its proxy server listens.
    @ivar auth_url: where the user gets a token.
    """

    needs_attributes = True
    account, name, password = "tests", "tester", "not-a-secret-at-all"

    @property
    def user(self) -> str:
        """As TempAuth wants it."""
        return f"{self.account}:{self.name}"

    def find(self) -> None:
        """See L{Engine.find}."""
        names = ["swift-proxy-server", *(f"swift-{name}-server" for name in _SERVERS)]
        # Beside the interpreter, where pip puts them.
        here = os.path.dirname(os.path.abspath(sys.executable))
        self.programs = find_programs(names, "pip install swift", here)
        self.programs |= find_programs(["memcached"], "the package memcached of Debian has it")

    def start(self) -> None:
        """See L{Engine.start}."""
        os.makedirs(self.path("devices", "sda"))
        self.write("swift.conf", _HASHES)
        ports = {name: free_port() for name in _SERVERS}
        memcached = free_port()
        self.port = free_port()
        self.auth_url = f"http://127.0.0.1:{self.port}/auth/v1.0"
        # Where it keeps tokens.
        user = getpass.getuser()
        self.spawn("memcached", self.programs["memcached"], "-l", "127.0.0.1", "-p", str(memcached), "-u", user)
        self._make_rings(ports)
        common = {"user": user, "directory": self.directory}
        for name, port in ports.items():
            configuration = self.write(f"{name}.conf", _SERVER.format(name=name, port=port, **common))
            self.spawn(name, self.programs[f"swift-{name}-server"], configuration)
        login = {"account": self.account, "name": self.name, "password": self.password}
        configuration = self.write("proxy.conf", _PROXY.format(port=self.port, memcached=memcached, **login, **common))
        self.spawn("proxy", self.programs["swift-proxy-server"], configuration)
        self.wait_for_port(memcached, "memcached")
        for name, port in {**ports, "proxy": self.port}.items():
            self.wait_for_port(port, name)

    def _make_rings(self, ports: dict[str, int]) -> None:
        words = [f"{name}:{port}" for name, port in ports.items()]
        self.run(sys.executable, "-c", _RINGS, *words)

    def revive(self, name: str) -> None:
        """See L{Engine.revive}."""
        super().revive(name)
        if name == "proxy":
            self.wait_for_port(self.port, name)
