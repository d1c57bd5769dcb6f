"""Thousands of connections, as fast as they can be made; hundreds that stay."""
import contextlib
import signal
import socket
import time

import hostile
import wire
from hostile import frame

MANY = 5000
OPEN = 400
GROWTH_KIB = 32 * 1024     # where processors are short, all 2,112 connections that may be there at once are, of 13 KiB each


class Floods(hostile.Case):
    limited = True

    def setUp(self):
        super().setUp()
        self.start_job()
        host, port = self.address.split(':')
        self.port = host, int(port)

    def throw(self, raw, reads=False, resets=False):
        """Connects, says it, and is gone."""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError), \
                socket.create_connection(self.port, timeout=hostile.harness.seconds(15)) as s:
            if raw:
                s.sendall(raw)
            if reads:
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            if resets:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')

    def flood_of(self, many, raw, **how):
        with self.attack(growth_kib=GROWTH_KIB):
            self.flood([lambda: self.throw(raw, **how)] * many)
        status = self.server.status()
        self.assertEqual((status['live'], status['stage']), (3, 'running'))

    def test_without_a_word(self):
        self.flood_of(MANY, b'')
        self.flood_of(MANY // 5, b'', resets=True)
        self.check_undisturbed(lines=300)

    def test_with_bytes(self):
        for raw, how in ((b'GET / HTTP/1.1\r\n\r\n' * 10, {}), (bytes(40), {'reads': True}), (b'SGNP', {'resets': True}),
                         (bytes(20000), {'resets': True})):
            self.flood_of(MANY // 4, raw, **how)
        self.check_undisturbed(lines=600)

    def test_with_whole_handshakes(self):
        """They become spares; or have another job, model or slot in mind, and are told so."""
        layout = frame(wire.LAYOUT, hostile.layout(self.tensors))
        other = [('w', (3,), 0)]
        hellos = (frame(wire.HELLO, hostile.hello()) + layout,
                  frame(wire.HELLO, hostile.hello('another')) + layout,
                  frame(wire.HELLO, hostile.hello(slot=100)) + layout,
                  frame(wire.HELLO, hostile.hello(examples=1)) + layout,
                  frame(wire.HELLO, hostile.hello(digest=hostile.layout_digest(other))) +
                  frame(wire.LAYOUT, hostile.layout(other)))
        with self.attack(growth_kib=GROWTH_KIB):
            self.flood([lambda raw=raw: self.throw(raw, reads=True) for raw in hellos * (MANY // 5 // len(hellos))])
        self.check_undisturbed(lines=600)

    def test_addresses_pay_for_themselves(self):
        """Where places for handshakes are few, the address with most of them loses its oldest; and no other."""
        self.server.send(signal.SIGTERM)
        self.wait_for_end(self.server)
        server = self.start_server('server.limits.handshakes=8', 'workers=3', run='few')
        port = ('127.0.0.1', int(server.address().rsplit(':', 1)[1]))

        def knock(address):
            s = socket.create_connection(port, timeout=hostile.harness.seconds(15), source_address=(address, 0))
            self.addCleanup(s.close)
            s.setblocking(False)
            return s

        def heard(s):
            try:
                return s.recv(65536)
            except BlockingIOError:
                return None
        honest = knock('127.0.0.1')
        others = [knock('127.0.0.2') for _ in range(30)]
        self.wait_for(lambda: server.status()['sent_away']['handshakes'] == 23, 'all but eight to be sent away')
        for n, s in enumerate(others):
            said = self.wait_for(lambda s=s: heard(s), 'a reason') if n < 23 else heard(s)
            if n < 23:
                self.assertIn(b'too many connections shake hands', said)
            else:
                self.assertIsNone(said, n)
        self.assertIsNone(heard(honest))

    def test_hundreds_that_stay(self):
        """The job goes on beside them, and others still come in; when they are gone, so is what they took."""
        with self.attack(growth_kib=GROWTH_KIB):
            for _ in range(OPEN):
                self.clients.append(hostile.Worker(self.address))
            for client in self.clients[::2]:
                client.send(frame(wire.HELLO, hostile.hello())[:30])
            time.sleep(0.5)
            said = []
            for client in self.clients:     # there may be a limit
                client.socket.setblocking(False)
                with contextlib.suppress(BlockingIOError, ConnectionResetError):
                    said.append(client.socket.recv(65536))
            for _, raw in wire.Splitter().feed(b''.join(said)):
                self.assertEqual(hostile.fields(raw[40:]).get(1), hostile.BUSY)
        with self.attack(growth_kib=GROWTH_KIB):
            client = hostile.Worker(self.address)
            self.clients.append(client)
            with contextlib.suppress(EOFError):  # sent away as one too many in this second
                self.assertEqual(client.enter().get(1), 1)
        self.check_undisturbed(lines=600)


if __name__ == '__main__':
    hostile.main()
