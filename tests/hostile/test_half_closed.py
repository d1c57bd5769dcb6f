"""Connections of which one side is closed, or that are reset, at every stage and in the middle of every frame."""
import contextlib
import socket
import time

import hostile
import wire
from hostile import frame

STAGES = 'HELLO', 'PROOF', 'LAYOUT', 'SPARE', 'RECEIVING', 'READY'


class HalfClosed(hostile.Case):
    seat = True

    def setUp(self):
        super().setUp()
        self.start_job(token=self.token('worker'))

    def due(self, stage, client):
        """What comes next, whole."""
        return {
            'HELLO': lambda: frame(wire.HELLO, hostile.hello(nonce=bytes(32))),
            'PROOF': lambda: frame(wire.PROOF, hostile.data(1, client.make_proof(self.secret))),
            'LAYOUT': lambda: frame(wire.LAYOUT, hostile.layout(self.tensors)),
            'SPARE': lambda: frame(wire.ALIVE),
            'RECEIVING': lambda: frame(wire.READY, hostile.fixed64(1, client.weights), round_=client.round),
            'READY': lambda: client.pushes(client.due)[0],
        }[stage]()

    def cuts(self, raw):
        return sorted({0, 1, 20, 39, 40, 41, len(raw) - 1, len(raw)} & set(range(len(raw) + 1)))

    def everywhere(self, end):
        """At each stage, after some of the bytes that are due: `end` ends it. All are gone soon after."""
        with self.attack():
            for stage in STAGES:
                whole = None
                for i in range(8):
                    client = self.at(stage)
                    whole = self.due(stage, client)
                    cuts = self.cuts(whole)
                    if stage == 'READY':
                        cuts = cuts[:-1]    # its vote would count
                    if i >= len(cuts):
                        client.socket.close()
                        break
                    with self.subTest(stage=stage, bytes=cuts[i]):
                        client.send(whole[:cuts[i]])
                        end(client)
        # A server that says goodbye to who does not close waits for 3 s.
        self.wait_for(lambda: hostile.files(self.server) <= self.files, 'all of them to be gone', 8)

    def test_resets(self):
        self.everywhere(hostile.reset)
        self.check_undisturbed(lines=300)

    def test_ends(self):
        """Of both sides."""
        self.everywhere(lambda client: client.socket.close())
        self.check_undisturbed(lines=300)

    def test_ends_of_one_side(self):
        """Nothing more is said, and nothing that comes is read: the server closes its side, too, and at once."""
        def end(client):
            client.socket.shutdown(socket.SHUT_WR)
            client.socket.settimeout(hostile.harness.seconds(5))
            with contextlib.suppress(ConnectionResetError):
                while client.socket.recv(65536):
                    pass
            client.socket.close()

        self.everywhere(end)
        self.check_undisturbed(lines=300)

    def test_ends_that_are_not_read(self):
        """The same, by who does not even take note."""
        def end(client):
            client.socket.shutdown(socket.SHUT_WR)

        self.everywhere(end)
        self.check_undisturbed(lines=300)

    def test_goodbyes_that_are_not_read(self):
        """Sent away, and does not go; goes on talking, or has ended its side before."""
        with self.attack():
            for stage in STAGES:
                for how in ('silent', 'talking', 'shut before', 'shut after', 'reset after'):
                    with self.subTest(stage=stage, how=how), contextlib.suppress(ConnectionResetError, BrokenPipeError):
                        client = self.at(stage)
                        client.send(bytes(40))
                        if how == 'talking':
                            client.send(bytes(200000))
                        elif how == 'shut before':
                            client.socket.shutdown(socket.SHUT_WR)
                        elif how != 'silent':
                            time.sleep(0.01)
                            (hostile.reset if how == 'reset after' else lambda c: c.socket.shutdown(socket.SHUT_WR))(client)
        self.wait_for(lambda: hostile.files(self.server) <= self.files, 'all of them to be gone', 8)
        self.check_undisturbed(lines=300)


if __name__ == '__main__':
    hostile.main()
