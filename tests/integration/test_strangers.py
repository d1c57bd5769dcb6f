"""Strangers at the door: garbage, silence and hang-ups at the operator's socket and at the workers' port."""
import contextlib
import json
import random
import socket
import time

import harness
import wire

LONG = ('train.epochs=3000',)


class Operator(harness.Case):
    def test_status_has_what_people_ask_for(self):
        server = self.start_server(*LONG)
        before = server.status()
        self.assertEqual((before['stage'], before['round'], before['live'], before['params']), ('new', 0, 0, None))
        self.start_workers(server, 4)
        status = self.wait_for_round(server, 50)
        self.assertEqual((status['job'], status['stage'], status['workers'], status['live'], status['spares']),
                         ('digits', 'running', 4, 4, 0))
        self.assertEqual((status['pid'], status['address'], status['params'], status['rounds']),
                         (server.pid, server.address(), 4810, 69000))
        self.assertEqual([s['slot'] for s in status['slots']], [0, 1, 2, 3])
        for slot in status['slots']:
            self.assertEqual((slot['state'], slot['missed'], slot['joins']), ('live', 0, 1))
            self.assertRegex(slot['address'], r'^127\.0\.0\.1:\d+$')
            self.assertTrue(0 < slot['disagreement'] < 0.5, slot)
            self.assertLessEqual(abs(slot['votes'] - status['round']), 1)
        later = self.wait_for_round(server, status['round'] + 10)
        self.assertGreater(later['bytes_pushed'], status['bytes_pushed'])
        self.assertGreaterEqual(later['seconds'], status['seconds'])

    def test_garbage(self):
        server = self.start_server(*LONG)
        workers = self.start_workers(server, 2) + self.start_workers(server, 2)
        self.wait_for_round(server, 10)
        rng = random.Random(5)
        lines = [b'\n', b'STATUS\n', b'status \n', b'stop now\n', b'sto\n', b'\0\n', b'status\0\n', b'{"a": 1}\n',
                 b'\xff\xfe\xfd\n', bytes(rng.randrange(1, 10) for _ in range(200)) + b'\n']
        for line in lines:
            with self.subTest(line):
                answer = server.ask_raw(line)
                if line == b'status\0\n':
                    continue  # a C string ends there
                self.assertRegex(json.loads(answer)['error'], r'unknown command')
        self.assertIn('too long', json.loads(server.ask_raw(b'x' * 256))['error'])
        self.assertEqual(json.loads(server.ask_raw(b'status\nstop\n'))['stage'], 'running', 'one line a connection')
        # Connections that say nothing, hang up in between, or do not read the answer.
        idle = []
        for i in range(40):
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(server.run / 'signpostd.sock'))
            with contextlib.suppress(BrokenPipeError):  # it may be one too many
                s.sendall((b'', b'sta', b'status\n')[i % 3])
            if i % 2:
                s.close()
            else:
                idle.append(s)
        self.assertTrue(server.alive())
        for s in idle:
            s.close()
        self.wait_for(lambda: self.answers(server), 'the socket to be free again')
        status = server.status()
        self.assertEqual((status['stage'], status['live']), ('running', 4))
        self.assertEqual([s['missed'] for s in status['slots']], [0] * 4)
        self.assertTrue(all(w.alive() for w in workers))

    @staticmethod
    def answers(server):
        try:
            return server.status()
        except (OSError, ValueError):
            return None

    def test_a_half_line_is_given_up_after_some_seconds(self):
        server = self.start_server()
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(harness.seconds(15))
            s.connect(str(server.run / 'signpostd.sock'))
            s.sendall(b'stat')
            self.assertEqual(s.recv(100), b'')
        self.assertEqual(server.status()['stage'], 'new')


class Strangers(harness.Case):
    """Garbage at the TCP port of a job that is running."""

    def setUp(self):
        self.server = self.start_server('train.epochs=150', 'optimizer.sgd.lr=0.1')
        self.workers = self.start_workers(self.server, 4)
        self.wait_for_round(self.server, 20)
        host, port = self.server.address().split(':')
        self.port = (host, int(port))

    def tell(self, data):
        """Sends bytes; returns the frames that come back before the server hangs up."""
        with socket.create_connection(self.port, timeout=harness.seconds(15)) as s:
            answer = b''
            try:
                s.sendall(data)
                while piece := s.recv(65536):
                    answer += piece
            except (ConnectionResetError, BrokenPipeError):
                pass
        return list(wire.Splitter().feed(answer))

    def check_undisturbed(self):
        summary = self.finish(self.server, self.workers)
        self.assert_done(summary)
        self.assertEqual([s['votes'] for s in summary['slots']], [summary['rounds']] * 4)
        self.assertEqual([s['joins'] for s in summary['slots']], [1] * 4)
        self.assertEqual([s['resyncs'] for s in summary['slots']], [0] * 4)

    def goodbye(self, data, words):
        frames = self.tell(data)
        self.assertEqual([frame.type for frame, _ in frames], [wire.BYE])
        self.assertIn(words, frames[0][1])

    def test_garbage(self):
        rng = random.Random(3)
        self.goodbye(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'.ljust(64), b'not a Signpost frame')
        self.goodbye(bytes(rng.randrange(256) for _ in range(100000)), b'not a Signpost frame')
        self.goodbye(bytes(4096), b'not a Signpost frame')
        header = wire.HEADER.pack(b'SGNP', wire.VERSION, 99, 0, 0, 0, 0, 0, 0, 0, 0)
        self.goodbye(header, b'unknown frame type 99')
        for control, bulk, words in ((2**32 - 1, 0, b'control bytes'), (0, 2**32 - 1, b'bulk bytes')):
            self.goodbye(wire.HEADER.pack(b'SGNP', wire.VERSION, wire.PUSH, 0, 1, control, 0, 8, bulk, 0, 0), words)
        self.goodbye(wire.HEADER.pack(b'SGNP', wire.VERSION, wire.PUSH, 0, 1, 0, 2**64 - 1, 2**32 - 1, 65536, 0, 0),
                     b'range')
        self.goodbye(wire.HEADER.pack(b'SGNP', wire.VERSION, wire.HELLO, 0, 0, 0, 0, 0, 0, 0, 12345), b'checksum')
        self.check_undisturbed()

    def test_hang_ups(self):
        """Connections that end at any byte of a header, with a reset or without."""
        header = wire.HEADER.pack(b'SGNP', wire.VERSION, wire.HELLO, 0, 0, 500, 0, 0, 0, 0, 0) + bytes(300)
        for length in (0, 1, 4, 5, 39, 40, 41, 200, 340):
            for reset in (False, True):
                s = socket.create_connection(self.port)
                s.sendall(header[:length])
                if reset:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
                s.close()
        self.check_undisturbed()

    def test_silence(self):
        """A connection that says nothing, in numbers, while the job runs to its end."""
        silent = [socket.create_connection(self.port) for _ in range(50)]
        half = socket.create_connection(self.port)
        half.sendall(b'SGNP\x02\x01')
        self.check_undisturbed()
        for s in silent + [half]:
            s.close()


class SilentStranger(harness.Case):
    def test_who_says_nothing_is_sent_away(self):
        server = self.start_server()
        host, port = server.address().split(':')
        with socket.create_connection((host, int(port)), timeout=harness.seconds(20)) as s:
            began = time.monotonic()
            answer = b''
            while piece := s.recv(65536):
                answer += piece
        self.assertTrue(9 < time.monotonic() - began < harness.seconds(14))
        frames = list(wire.Splitter().feed(answer))
        self.assertEqual([frame.type for frame, _ in frames], [wire.BYE])
        self.assertIn(b'no HELLO within 10 s', frames[0][1])
        self.wait_for_words(server, r'sent away: no HELLO within 10 s')


if __name__ == '__main__':
    harness.main()
