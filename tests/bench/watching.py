"""Rounds of a job that is watched beside rounds of the same job that is not; see watching.sh."""
import argparse
import contextlib
import http.client
import json
import socket
import statistics
import subprocess
import sys
import threading
import time


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Client:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection('127.0.0.1', port, timeout=30)

    def get(self, path):
        self.connection.request('GET', path)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f'{path}: {answer.status} {text[:200]}')
        return text

    def status(self):
        """The text is shared by all who ask within a quarter of a second."""
        time.sleep(0.3)
        return json.loads(self.get('/status'))

    def totals(self):
        times = self.status()['times']
        return times['rounds'], times['round_seconds']


class Watcher(threading.Thread):
    """One dashboard, or a scrape."""

    def __init__(self, port, every, scrapes):
        super().__init__(daemon=True)
        self.client, self.every, self.scrapes = Client(port), every, scrapes
        self.stops = threading.Event()
        self.bytes = self.asked = 0

    def look(self, last):
        if self.scrapes:
            self.bytes += len(self.client.get('/metrics'))
            self.asked += 1
            return last
        self.bytes += len(self.client.get('/status'))
        points = self.client.get(f'/series?from={last}')
        self.bytes += len(points)
        self.asked += 2
        lines = points.splitlines()
        return json.loads(lines[-1])['first'] - 1 if lines else last

    def run(self):
        last = 0
        if not self.scrapes:
            self.bytes += len(self.client.get('/'))
        while not self.stops.is_set():
            last = self.look(last)
            self.stops.wait(self.every)


class Greedy(threading.Thread):
    """As many connections as one likes, each asking again and again for the dearest answers, without waiting for them."""
    PATHS = ('series', 'status', 'metrics', 'history')

    def __init__(self, port, connections):
        super().__init__(daemon=True)
        self.sockets = [socket.create_connection(('127.0.0.1', port)) for _ in range(connections)]
        self.stops = threading.Event()
        self.bytes = self.asked = 0

    def look(self, i, s):
        with contextlib.suppress(OSError):
            s.send(f'GET /{self.PATHS[i % len(self.PATHS)]} HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode())
            self.asked += 1
        with contextlib.suppress(OSError):
            self.bytes += len(s.recv(1 << 20))

    def run(self):
        for s in self.sockets:
            s.setblocking(False)
        while not self.stops.wait(0.01):
            for i, s in enumerate(self.sockets):
                self.look(i, s)
        for s in self.sockets:
            s.close()


def rounds_in(client, seconds):
    """Milliseconds a round, over so many seconds."""
    before = client.totals()
    time.sleep(seconds)
    after = client.totals()
    return (after[1] - before[1]) / (after[0] - before[0]) * 1e3


def watched(args, port, client):
    watchers = [Watcher(port, args.every, False) for _ in range(args.dashboards)] + [Watcher(port, args.every, True)]
    if args.greedy > 0:
        watchers = [Greedy(port, args.greedy)]
    for w in watchers:
        w.start()
    ms = rounds_in(client, args.seconds)
    for w in watchers:
        w.stops.set()
    for w in watchers:
        w.join(30)
    return ms, sum(w.bytes for w in watchers), sum(w.asked for w in watchers)


def measure(args, port):
    client = Client(port)
    alone, seen, size, asked = [], [], 0, 0
    for pair in range(args.pairs):
        order = (False, True) if pair % 2 == 0 else (True, False)
        for look in order:
            if look:
                ms, n, k = watched(args, port, client)
                seen.append(ms)
                size, asked = size + n, asked + k
            else:
                alone.append(rounds_in(client, args.seconds))
    ratios = [s / a for s, a in zip(seen, alone)]
    what = f'{args.greedy} greedy connections' if args.greedy > 0 else \
        f'{args.dashboards} dashboard(s) and a scrape every {args.every:g} s'
    print(f'{args.params} parameters, {args.workers} workers, {args.phase}: a round takes {statistics.median(alone):.3f} ms '
          f'alone and {statistics.median(seen):.3f} ms with {what} '
          f'({asked} requests, {size / 1e6:.1f} MB); ratio of each of {args.pairs} pairs: median {statistics.median(ratios):.4f}, '
          f'quartiles {statistics.quantiles(ratios, n=4)[0]:.4f} to {statistics.quantiles(ratios, n=4)[2]:.4f}')
    load = client.status()['http_load']
    print(f'HTTP took {load["seconds"] * 1e3:.0f} ms of the loop for {load["requests"]} requests, at most '
          f'{load["longest_ms"]:.2f} ms at once')


def wait_for_rounds(bench, port):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and bench.poll() is None:
        with contextlib.suppress(OSError):
            if Client(port).totals()[0] > 20:
                return
        time.sleep(0.2)
    raise SystemExit('watching: the job of signpost bench did not begin')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', required=True)
    parser.add_argument('--params', default='1e6')
    parser.add_argument('--workers', type=int, default=4)
    parser.add_argument('--pairs', type=int, default=12)
    parser.add_argument('--seconds', type=float, default=3.0)
    parser.add_argument('--phase', default='sign')
    parser.add_argument('--compute', default='on')
    parser.add_argument('--dashboards', type=int, default=1)
    parser.add_argument('--greedy', type=int, default=0)
    parser.add_argument('--every', type=float, default=1.0)
    args = parser.parse_args()
    port = free_port()
    bench = subprocess.Popen([f'{args.build}/deploy/tool/signpost', 'bench', '--params', args.params, '--workers', str(args.workers),
                              '--phase', args.phase, '--compute', args.compute, '--rounds', '1000000', '--http',
                              f'127.0.0.1:{port}'], stdout=subprocess.DEVNULL)
    try:
        wait_for_rounds(bench, port)
        measure(args, port)
    finally:
        bench.terminate()
        bench.wait(60)


if __name__ == '__main__':
    sys.exit(main())
