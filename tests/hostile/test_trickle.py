"""Frames that come a byte a second, or stop in the middle: whoever is not through the handshake in its time is sent away,
at whatever stage, and however busy the line is kept."""
import contextlib
import select
import time
from concurrent import futures

import hostile
import wire
from hostile import SILENT, data, frame

HANDSHAKE_S = 10.0
LATE_S = 3.0


class Slow:
    """A connection that says its bytes one by one, and notes when it was sent away."""

    def __init__(self, name, client, raw, pause):
        self.name, self.client, self.raw, self.pause = name, client, raw, pause
        self.due = time.monotonic()
        self.ended = None

    def step(self, now):
        if self.due <= now and self.raw:
            with contextlib.suppress(OSError):
                self.client.socket.send(self.raw[:1])
            self.raw, self.due = self.raw[1:], now + self.pause


class Trickle(hostile.Case):
    def setUp(self):
        super().setUp()
        operator = self.token('operator')
        # Silence after the handshake is another matter.
        self.start_job(sets=(f'security.operator_token_file={operator}', 'server.heartbeat.timeout=99'), token=self.token('worker'))
        self.operator_secret = hostile.handshake.secret_of(operator)

    def slow(self, name, stage, raw, pause=1.0):
        began = time.monotonic()
        slow = Slow(name, self.at(stage, **({'secret': self.operator_secret} if stage == 'ASK' else {})), raw, pause)
        slow.began = began
        return slow

    def test_bytes_one_by_one(self):
        layout = frame(wire.LAYOUT, hostile.layout(self.tensors))
        long = frame(wire.LAYOUT, hostile.layout(self.tensors) + data(99, bytes(500000)))
        hello = frame(wire.HELLO, hostile.hello(nonce=bytes(32)))
        proof = frame(wire.PROOF, data(1, bytes(32)))
        ask = frame(wire.ASK, data(1, b'status'))
        with self.attack(rounds=200), futures.ThreadPoolExecutor() as pool:
            began = time.monotonic()
            late = pool.submit(self.late_at_each_stage)
            all_ = [self.slow(name, *how) for name, *how in (
                ('nothing', 'HELLO', b''), ('a header', 'HELLO', hello), ('slower', 'HELLO', hello, 4.0),
                ('faster', 'HELLO', hello, 0.2), ('most of a HELLO', 'HELLO', hello[:60], 0.01),
                ('zeros', 'HELLO', b'SGNP\4\1' + bytes(33)),
                ('no proof', 'PROOF', b''), ('a proof', 'PROOF', proof), ('most of it', 'PROOF', proof[:-1], 0.01),
                ('no layout', 'LAYOUT', b''), ('a layout', 'LAYOUT', layout), ('most of it', 'LAYOUT', layout[:-1], 0.01),
                ('much of it', 'LAYOUT', long, 0.001),
                ('no command', 'ASK', b''), ('a command', 'ASK', ask), ('most of it', 'ASK', ask[:-1], 0.01))]
            waiting = {slow.client.socket: slow for slow in all_}
            while waiting and time.monotonic() < began + hostile.harness.seconds(HANDSHAKE_S + 2 * LATE_S):
                for s in select.select(list(waiting), [], [], 0.01)[0]:
                    waiting.pop(s).ended = time.monotonic()
                for slow in waiting.values():
                    slow.step(time.monotonic())
            late.result()
            self.assertLess(time.monotonic() - began, hostile.harness.seconds(HANDSHAKE_S + LATE_S))
        for slow in all_:
            with self.subTest(slow.name):
                self.assertIsNotNone(slow.ended, 'it is still there')
                took = slow.ended - slow.began
                self.assertTrue(HANDSHAKE_S - 1 < took < hostile.harness.seconds(HANDSHAKE_S + LATE_S), took)
                reason, words = self.goodbye(slow.client)
                self.assertEqual(reason, SILENT, words)
                self.assertRegex(words, 'no HELLO within 10 s|the handshake was not over within 10 s')
        self.check_undisturbed()

    def late_at_each_stage(self):
        """Each frame in time, and yet not all of them."""
        clients = [self.connect() for _ in range(4)]
        for step in (lambda c: c.hello(digest=hostile.DIGEST),
                     lambda c: (c.challenge(), c.prove(c.make_proof(self.secret)))):
            time.sleep(0.4 * HANDSHAKE_S)
            for client in clients:
                step(client)
        for client in clients:
            self.refused(client, b'', SILENT, 'the handshake was not over within 10 s')


if __name__ == '__main__':
    hostile.main()
