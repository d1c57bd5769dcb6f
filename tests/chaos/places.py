"""Where server and workers live, and what can happen to the lines between them."""
import sys
from pathlib import Path

import hosts
from relay import Relay

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
import harness  # noqa: E402
import wire  # noqa: E402


class Lines:
    """One machine: every worker reaches the server through a relay of its own."""
    sets = ()

    def __init__(self, workers, _folder, policy=wire.Policy):
        self.listen = f'127.0.0.1:{harness.free_port()}'
        self.relays = [Relay(self.listen, policy) for _ in range(workers)]

    def server(self):
        return []

    def worker(self, _i):
        return []

    def address(self, i):
        return self.relays[i].address

    def close(self):
        for relay in self.relays:
            relay.close()


class Hosts:
    """Every process has a host of its own, all of them on one switch; a secret, because the server's is no loopback."""

    def __init__(self, workers, folder):
        token = folder / 'token'
        token.write_text('chaos-suite-secret-of-32-bytes-or-more\n')
        token.chmod(0o600)
        self.sets = (f'security.token_file={token}', 'security.insecure=true')
        self.listen = f'{hosts.Hosts.ip(0)}:7700'
        self.hosts = hosts.Hosts(workers)

    def server(self):
        return self.hosts.inside(0)

    def worker(self, i):
        return self.hosts.inside(i + 1)

    def address(self, _i):
        return self.listen

    def close(self):
        self.hosts.close()


PLACES = {'lines': Lines, 'hosts': Hosts}
