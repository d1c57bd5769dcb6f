"""Peers that speak no TLS, or not as they should, at a server that does; and the other way round. A job of two workers runs
all the while and must not notice."""
import os
import re
import socket
import ssl
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'integration'))

import handshake  # noqa: E402
import harness  # noqa: E402
import wire  # noqa: E402
from test_certificates import Hostile, resident_kb  # noqa: E402

HANDSHAKE_S = 10  # SP_HANDSHAKE_MS_MAX
ALERT, HANDSHAKE_RECORD = 21, 22


def record(kind, content, version=0x0301, length=None):
    length = len(content) if length is None else length
    return bytes([kind]) + version.to_bytes(2, 'big') + length.to_bytes(2, 'big') + content


class Plain(Hostile):
    def client_hello(self):
        """The first record of an honest client."""
        out = ssl.MemoryBIO()
        tls = self.certs.client('worker').wrap_bio(ssl.MemoryBIO(), out, server_hostname='localhost')
        with self.assertRaises(ssl.SSLWantReadError):
            tls.do_handshake()
        return out.read()

    def say(self, *pieces, end=False):
        """Sends bytes; returns all that comes back until the server ends."""
        s = self.connect()
        heard = b''
        try:
            for piece in pieces:
                s.sendall(piece)
            if end:
                s.shutdown(socket.SHUT_WR)
            while data := s.recv(65536):
                heard += data
        except (ConnectionResetError, BrokenPipeError):
            pass
        s.close()
        return heard

    def alert(self, heard):
        """The last record is an alert, which ends the connection (level 2); or it is encrypted, and as long as one."""
        at, last = 0, (0, b'')
        while at + 5 <= len(heard) and heard[at:at + 4] != b'SGNP':
            length = int.from_bytes(heard[at + 3:at + 5], 'big')
            last = heard[at], heard[at + 5:at + 5 + length]
            at += 5 + length
        if last[0] != 23:
            self.assertEqual((last[0], last[1][:1]), (ALERT, b'\2'), heard[-100:])
        else:
            self.assertEqual(len(last[1]), 2 + 1 + 16, heard[-100:])

    def goodbye(self, heard):
        """A BYE in the clear at the end; returns its words."""
        at = heard.index(b'SGNP')
        (frame, raw), = wire.Splitter().feed(heard[at:])
        self.assertEqual(frame.type, wire.BYE)
        control = handshake.fields(raw[40:])
        self.assertEqual(control[1], handshake.SECRET)
        return control[2].decode()

    def test_what_is_no_tls(self):
        self.begin()
        hello = handshake.frame(wire.HELLO, handshake.data(1, b'digits'))
        for pieces in ((hello,), (hello[:3], hello[3:]), (b'S', b'GNP')):
            words = self.goodbye(self.say(*pieces))
            self.assertIn('it speaks without TLS, which this server asks for: set security.tls there', words)
        self.wait_for_words(self.server, r'warn .*sent away: TLS: it speaks without TLS')
        for name, content in (('http', b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'), ('proxy', b'CONNECT a:1 HTTP/1.0\r\n\r\n'),
                              ('ssh', b'SSH-2.0-OpenSSH_9.2\r\n'), ('zeros', bytes(100000)), ('ones', b'\xff' * 100000),
                              ('noise', os.urandom(1 << 20))):
            with self.subTest(name):
                before = self.hits('tls')
                heard = self.say(content, end=True)
                self.assertNotIn(b'digits', heard)
                self.wait_for(lambda b=before: self.hits('tls') > b, 'the server to refuse it')
        self.wait_for_words(self.server, r'warn .*sent away: TLS: what came is no TLS, or was changed on its way \(http request\)')
        with self.subTest('almost a frame'):
            self.assertNotIn(b'SGNP', self.say(b'SGNQ' + bytes(36)))
        with self.subTest('the beginning of a frame, and the end'):
            self.assertEqual(self.say(b'SGN', end=True), b'')
            self.assertEqual(self.say(end=True), b'')
        self.end()

    def test_odd_handshakes(self):
        self.begin()
        hello = self.client_hello()
        body = hello[5:]
        finished = record(HANDSHAKE_RECORD, b'\x14\0\0\x20' + bytes(32), 0x0303)
        cases = {
            'twice': (hello, hello),
            'twice in one record': (record(HANDSHAKE_RECORD, body + body),),
            'a huge message': (record(HANDSHAKE_RECORD, b'\1\xff\xff\xff' + bytes(16000)),),
            'a large message': (record(HANDSHAKE_RECORD, b'\1\2\2\0' + bytes(16000)),),  # OpenSSL takes up to 131396 bytes
            'a huge record': (record(HANDSHAKE_RECORD, b'\1' * 65535),),
            'an empty record': (record(HANDSHAKE_RECORD, b''),) * 40,
            'finished first': (finished,),
            'finished after hello': (hello, finished),
            'data first': (record(23, b'x' * 100),),
            'an alert': (record(ALERT, b'\2\x28'),),
            'an unknown record': (record(99, b'x' * 100),),
            'a server hello': (record(HANDSHAKE_RECORD, b'\2' + body[1:]),),
            'no ciphers': (hello.replace(b'\x13\x01', b'\x13\x77').replace(b'\x13\x02', b'\x13\x77').replace(
                b'\x13\x03', b'\x13\x77'),),
            'SSL 2': (b'\x80\x2e\1\0\2\0\x15\0\0\0\x10' + bytes(64),),
        }
        for name, pieces in cases.items():
            with self.subTest(name):
                before = self.hits('tls')
                heard = self.say(*pieces)
                if name != 'an alert':
                    self.alert(heard)
                self.wait_for(lambda b=before: self.hits('tls') > b, 'the server to refuse it')
        self.end()

    def test_old_versions(self):
        self.begin()
        context = self.certs.client('worker')
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.assertRaises(ssl.SSLError) as caught:
            context.wrap_socket(self.connect(), server_hostname='localhost')
        self.assertIn('PROTOCOL_VERSION', caught.exception.reason)
        self.wait_for_words(self.server, r'warn .*sent away: TLS: it does not speak TLS 1\.3')
        self.end()

    def test_silence_in_the_handshake(self):
        """Half a ClientHello, a whole one, or a byte now and then: gone after ten seconds, whatever came."""
        self.begin()
        hello = self.client_hello()
        began = time.monotonic()
        silent = [self.connect() for _ in range(3)]
        silent[0].sendall(hello[:len(hello) // 2])
        silent[1].sendall(hello)
        slow, held = silent[2], hello
        slow.settimeout(0.25)
        ended = False
        while not ended and time.monotonic() - began < harness.seconds(15):
            try:
                slow.sendall(held[:1])
                held = held[1:]
                ended = slow.recv(1000) == b''
            except socket.timeout:
                pass
            except OSError:
                ended = True
        self.assertTrue(ended)
        self.assertGreater(time.monotonic() - began, HANDSHAKE_S - 1)
        for s in silent[:2]:
            s.settimeout(harness.seconds(5))
            try:
                while s.recv(65536):
                    pass
            except ConnectionResetError:
                pass
        self.assertLess(time.monotonic() - began, harness.seconds(HANDSHAKE_S + 5))
        self.wait_for_words(self.server, r'warn .*sent away: no HELLO within 10 s', times=3)
        self.assertEqual(self.hits('handshake_time'), 3)
        self.end()

    def test_memory_of_strangers(self):
        """200 connections at once, each in the middle of a message as large as OpenSSL takes it: bounded for each, and given
        back."""
        self.begin('server.limits.handshakes=1000')
        part = (record(HANDSHAKE_RECORD, b'\1\2\0\0' + bytes(16000)) + record(HANDSHAKE_RECORD, bytes(16000)) * 7)[:-100]
        open_ = []
        for _ in range(200):
            s = self.connect()
            s.sendall(part)
            open_.append(s)
        self.wait_for_round(self.server, self.server.status()['round'] + 10)
        each = (resident_kb(self.server) - self.before_kb) / 200
        self.assertLess(each, 300 if harness.SLOW == 1 else 900, 'kB for each')
        for s in open_:
            s.close()
        for _ in range(3):
            self.wait_for_round(self.server, self.server.status()['round'] + 10)
            again = []
            for _ in range(200):
                s = self.connect()
                s.sendall(part)
                again.append(s)
            for s in again:
                s.close()
        self.before_kb += int(each * 200)
        self.end()


class Workers(Hostile):
    def test_a_plain_worker(self):
        """It is told what it lacks, and ends: that does not become right by waiting."""
        self.begin()
        worker = self.start_worker(self.server)
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err(), r'refused: it speaks without TLS, which this server asks for: set security\.tls there')
        self.end()

    def test_a_plain_server(self):
        """A worker with TLS says what is wrong and goes on trying: the server may be replaced, and then it is."""
        listen = f'127.0.0.1:{harness.free_port()}'
        server = self.start_server('workers=1', listen=listen)
        worker = self.start_worker(server, *self.certs.sets('worker'))
        self.wait_for_words(worker, r'waiting for the server .*\(it answers without TLS: it has no security\.tls, or it turned us '
                                    r'away at the door\)')
        self.wait_for_words(server, r'warn .*sent away: .*not a Signpost frame')
        self.assertTrue(worker.alive())
        server.kill()
        server = self.start_server('workers=1', 'train.rounds=5', *self.certs.sets('server'), listen=listen, run='two')
        self.assert_done(self.finish(server, [worker]))

    def test_at_a_full_house(self):
        """More connections than the server takes: a worker with TLS is told so in the clear, and comes in later."""
        self.begin('server.limits.connections=3')
        idle = self.connect()
        self.wait_for(lambda: self.server.status()['connections'] >= 3 if 'connections' in self.server.status() else True,
                      'the third connection')
        time.sleep(0.2)
        worker = self.start_worker(self.server, *self.certs.sets('worker'))
        self.wait_for_words(worker, r'waiting for the server .*it turned us away at the door')
        self.assertGreater(self.hits('connections'), 0)
        idle.close()
        self.wait_for_words(worker, r'(?i)spare')
        worker.kill()
        self.end()


del Hostile  # or its tests, of which it has none, were looked for here as well

if __name__ == '__main__':
    unittest.main(verbosity=2)
