"""Hosts of their own for server and workers: network namespaces on one switch. Needs root and iproute2; links with a delay
need ethtool and the program `wire` (tests/deploy/wire.c) as well.
"""
import contextlib
import os
import shutil
import subprocess
import sys

NETWORK = '10.78.0'


def missing():
    """Why this cannot be had here, or None."""
    if os.geteuid() != 0:
        return 'network namespaces take root'
    if shutil.which('ip') is None or shutil.which('tc') is None:
        return 'the programs ip and tc are not there (package iproute2)'
    try:
        with contextlib.closing(Hosts(1)) as two:
            two.rehearse()
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        return f'hosts of their own cannot be had here: {error}'
    return None


def call(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise RuntimeError(f'{" ".join(words)}: {done.stderr.strip()}')


class Link:
    """What each host's link is: `rate` both ways, as tc has it ('100mbit'), and where `wire` is a program, so many
    milliseconds of delay each way and a part of the frames lost.
    """

    def __init__(self, rate='', wire='', delay_ms=0, loss_percent=0):
        self.rate, self.wire, self.delay_ms, self.loss_percent = rate, wire, delay_ms, loss_percent


class Hosts:
    """Host 0 is the server's, 1 to `count` are the workers'. Their names hold our process id: two runs do not meet."""

    def __init__(self, count, link=None):
        self.name = f'spchaos{os.getpid()}'
        self.link = link or Link()
        self.made, self.wires = [], []
        try:
            self._space('sw')
            call('ip', '-n', self._of('sw'), 'link', 'add', 'br0', 'type', 'bridge')
            call('ip', '-n', self._of('sw'), 'link', 'set', 'br0', 'up')
            for i in range(count + 1):
                self._host(i)
        except BaseException:
            self.close()
            raise

    def _of(self, what):
        return f'{self.name}-{what}'

    def _space(self, what):
        call('ip', 'netns', 'add', self._of(what))
        self.made.append(self._of(what))

    def _host(self, i):
        host, switch = self._of(i), self._of('sw')
        self._space(i)
        call('ip', '-n', host, 'link', 'set', 'lo', 'up')
        there = f'w{i}' if self.link.wire else f'p{i}'
        call('ip', 'link', 'add', 'eth0', 'netns', host, 'type', 'veth', 'peer', 'name', there, 'netns', switch)
        call('ip', '-n', host, 'addr', 'add', f'{self.ip(i)}/24', 'dev', 'eth0')
        if self.link.wire:
            self._wire(i, host, switch)
        call('ip', '-n', host, 'link', 'set', 'eth0', 'up')
        call('ip', '-n', switch, 'link', 'set', f'p{i}', 'master', 'br0', 'up')
        if self.link.wire:  # the default congestion control may be one that does not mind losses
            call('ip', '-n', host, 'route', 'replace', f'{NETWORK}.0/24', 'dev', 'eth0', 'src', self.ip(i), 'congctl', 'cubic')
        if self.link.rate:  # a smaller burst would cut large segments, which lowers the rate
            for space, device in ((host, 'eth0'), (switch, f'p{i}')):
                call('tc', '-n', space, 'qdisc', 'add', 'dev', device, 'root', 'tbf', 'rate', self.link.rate, 'burst', '256kb',
                     'latency', '100ms')

    def _wire(self, i, host, switch):
        """eth0 = w - wire - x = p: frames as they would be on a cable, so nothing may be left to the card."""
        call('ip', '-n', switch, 'link', 'add', f'x{i}', 'type', 'veth', 'peer', 'name', f'p{i}')
        for space, device in ((host, 'eth0'), (switch, f'w{i}'), (switch, f'x{i}'), (switch, f'p{i}')):
            call('ip', 'netns', 'exec', space, 'ethtool', '-K', device, 'tso', 'off', 'gso', 'off', 'gro', 'off', 'tx', 'off', 'rx', 'off')
        for device in f'w{i}', f'x{i}':
            call('ip', '-n', switch, 'link', 'set', device, 'up')
        self.wires.append(subprocess.Popen(['ip', 'netns', 'exec', switch, self.link.wire, f'w{i}', f'x{i}', str(self.link.delay_ms),
                                            str(self.link.loss_percent), str(i + 1)], stdout=subprocess.PIPE, text=True))
        if self.wires[-1].stdout.readline() != 'ready\n':
            raise RuntimeError(f'the wire of host {i} did not start')

    def count(self, i, way):
        """Bytes that have left the host's card ('tx') or reached it ('rx'), with all headers."""
        done = subprocess.run([*self.inside(i), 'cat', f'/sys/class/net/eth0/statistics/{way}_bytes'], capture_output=True,
                              text=True, check=True, timeout=30)
        return int(done.stdout)

    @staticmethod
    def ip(i):
        return f'{NETWORK}.{i + 1}'

    def inside(self, i):
        """The words in front of a command that is to run on this host."""
        return ['ip', 'netns', 'exec', self._of(i)]

    def rehearse(self):
        """All that a storm is going to ask of this machine, so that what it cannot do is not taken for a fault of ours."""
        there = f"('{self.ip(0)}', 7700)"
        server = subprocess.Popen([*self.inside(0), sys.executable, '-c', 'import socket; s = socket.create_server('
                                   f'{there}); s.settimeout(20); print(flush=True); s.accept()'], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        try:
            if server.stdout.readline() != '\n':
                raise RuntimeError(f'a server on a host of its own: {server.stderr.read().strip()[-300:]}')
            call(*self.inside(1), sys.executable, '-c', f'import socket; socket.create_connection({there}, 10)')
            for i in range(2):
                for way in 'in', 'out':
                    self.part(i, way)
                    self.heal(i, way)
        finally:
            server.kill()
            server.communicate()

    def cut(self, i):
        """The switch forgets the host: nothing passes either way, and no card loses its carrier."""
        call('ip', '-n', self._of('sw'), 'link', 'set', f'p{i}', 'nomaster')

    def mend(self, i):
        call('ip', '-n', self._of('sw'), 'link', 'set', f'p{i}', 'master', 'br0')

    def part(self, i, way):
        """Nothing gets out of the host, or in, and nobody is told: every packet is larger than this bucket."""
        self._queue('add', i, way, 'tbf', 'rate', '8bit', 'burst', '10b', 'limit', '10b')

    def heal(self, i, way):
        self._queue('del', i, way)

    def _queue(self, verb, i, way, *what):
        space, device = (self._of(i), 'eth0') if way == 'out' else (self._of('sw'), f'p{i}')
        call('tc', '-n', space, 'qdisc', verb, 'dev', device, 'root', *what)

    def close(self):
        for wire in self.wires:
            wire.kill()
            wire.communicate()
        for space in reversed(self.made):
            subprocess.run(['ip', 'netns', 'del', space], capture_output=True, check=False, timeout=30)
        self.made = []
