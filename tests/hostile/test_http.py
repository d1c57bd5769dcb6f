"""Clients of HTTP that are slow, silent, greedy or write nonsense: the rounds do not hear of them."""
import contextlib
import os
import re
import socket
import time

import hostile

SHARE = 50          # of the loop's time HTTP has one part in so many
PIECE = 1024        # bytes of a curve at a time
CONNECTIONS = 32    # that the server takes at once; further ones wait
NONSENSE = (b'GET / HTTP/9.9\r\n\r\n', b'\r\n' * 5000, b'GET ' + b'/' * 60000 + b' HTTP/1.1\r\n\r\n', b'\x16\x03\x01\x02\x00',
            b'SGNP' + bytes(2000), b'GET /status HTTP/1.1\r\nHost: x\r\n' + b'A: b\r\n' * 9000,
            b'POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n',
            b'GET /status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n' + b'ffffffff\r\n' + bytes(5000),
            b'GET /series?from=' + b'9' * 20000 + b' HTTP/1.1\r\nHost: localhost\r\n\r\n', os.urandom(20000))


class Http(hostile.Case):
    def setUp(self):
        super().setUp()
        self.start_job(sets=('server.http=127.0.0.1:0',))
        host, port = self.wait_for_words(self.server, r'dashboard at http://(\S+):(\d+)/').groups()
        self.web = host, int(port)
        self.sockets = []
        self.addCleanup(self.leave)

    def knock(self):
        self.sockets.append(socket.create_connection(self.web, timeout=hostile.harness.seconds(20)))
        return self.sockets[-1]

    def leave(self):
        for s in self.sockets:
            s.close()
        self.sockets.clear()

    def check_undisturbed(self, **more):
        """The library does not notice that a client has hung up in the midst of its request, but by its silence."""
        self.leave()
        self.wait_for(lambda: hostile.files(self.server) <= self.files, 'silent connections to be closed', 60)
        super().check_undisturbed(**more)

    def ask(self, s, path='/status'):
        s.sendall(f'GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode())

    def load(self):
        """What HTTP has cost the server's loop."""
        return self.server.status()['http_load']

    def test_pieces(self):
        """What is dear to make is made once for all who ask at a time, and a curve leaves in small pieces."""
        def read_all(s):
            data = b''
            while not data.endswith(b'0\r\n\r\n'):
                data += s.recv(1 << 16)
            return data

        all_ = [self.knock() for _ in range(8)]
        for s in all_:
            self.ask(s)
        answers = [s.recv(1 << 20).partition(b'\r\n\r\n')[2] for s in all_]
        self.assertLess(len(set(answers)), 4, 'eight clients asked for the status at once: each got one of its own')
        self.ask(all_[0], '/series')
        body, sizes = read_all(all_[0]).partition(b'\r\n\r\n')[2], []
        while body:
            head, _, body = body.partition(b'\r\n')
            sizes.append(int(head, 16))
            body = body[sizes[-1] + 2:]
        self.assertGreater(len(sizes), 3)
        self.assertLessEqual(max(sizes), PIECE)
        self.leave()

    def answered(self, path='/healthz', limit_s=30):
        """Whether somebody with a plain request still gets an answer, in the end."""
        deadline = time.monotonic() + hostile.harness.seconds(limit_s)
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                with contextlib.closing(socket.create_connection(self.web, timeout=2)) as s:
                    self.ask(s, path)
                    if s.recv(100).startswith(b'HTTP/1.1 200'):
                        return True
            time.sleep(0.05)
        return False

    def test_nonsense(self):
        before = len(self.server.err())
        with self.attack(rounds=100):
            for _ in range(3):
                for raw in NONSENSE:
                    s = self.knock()
                    with contextlib.suppress(OSError):
                        s.sendall(raw)
                        s.settimeout(0.1)
                        answer = s.recv(1000)
                        self.assertRegex(answer, rb'^HTTP/1.1 [345]\d\d |^$', raw[:60])
                    s.close()
        self.assertTrue(self.answered())
        self.assertEqual(re.findall(r'.* (?:info|warn|error) +http .*', self.server.err()[before:]), [], 'lines of the log')
        self.check_undisturbed()

    def test_silence_and_slowness(self):
        """More connections than it takes, that say nothing, or a byte now and then, or do not read what they asked for: they
        are gone after their ten seconds without a word, and others come to their turn."""
        with self.attack(rounds=200):
            all_ = [self.knock() for _ in range(5 * CONNECTIONS // 2)]
            for i, s in enumerate(all_):
                with contextlib.suppress(OSError):
                    if i % 3 == 1:
                        s.sendall(b'GET /status HTTP/1.1\r\nHost')
                    elif i % 3 == 2:
                        self.ask(s, '/series')
            self.assertTrue(self.answered(limit_s=60))
        self.check_undisturbed()

    def test_greed(self):
        """As many requests as it will take, on all connections at once, for the dearest answers."""
        before, began = self.load(), time.monotonic()
        with self.attack(rounds=300):
            all_ = [self.knock() for _ in range(CONNECTIONS)]
            got, deadline = 0, time.monotonic() + 5
            for s in all_:
                s.setblocking(False)
            while time.monotonic() < deadline:
                for i, s in enumerate(all_):
                    with contextlib.suppress(OSError):
                        s.send(f'GET /{("series", "status", "metrics", "history")[i % 4]} HTTP/1.1\r\nHost: localhost\r\n\r\n'
                               .encode())
                    with contextlib.suppress(OSError):
                        got += len(s.recv(1 << 20))
                time.sleep(0.001)
            self.assertGreater(got, 100000)
        self.leave()
        after, took = self.load(), time.monotonic() - began
        self.assertGreater(after['requests'], before['requests'] + 50)
        self.assertLess(after['seconds'] - before['seconds'], took / SHARE + 2 * after['longest_ms'] / 1e3,
                        'HTTP took more of the loop than its share')
        self.assertTrue(self.answered('/status'))
        self.check_undisturbed()


if __name__ == '__main__':
    hostile.main()
