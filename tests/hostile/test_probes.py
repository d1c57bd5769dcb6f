"""Probes that want more than an answer: a slot, weights, a plan, a ticket; many of them; and some that know no secret."""
import contextlib
import json
import os
import socket

import hostile
import wire
from hostile import PROTOCOL, SEAT, SECRET, data, frame, handshake

MANY = 1500
GROWTH_KIB = 32 * 1024     # as in test_floods.py


def probe(tensors=None, **how):
    """All that a probe says to a server without a secret."""
    how.setdefault('digest', hostile.layout_digest(tensors) if tensors else 0)
    hello = frame(wire.HELLO, hostile.hello(role=handshake.PROBE, **how))
    return hello + (frame(wire.LAYOUT, hostile.layout(tensors)) if tensors else b'')


class Probes(hostile.Case):
    seat = True

    def answers(self, client, raw):
        """Everything that comes back: (type, control fields); the connection has ended then."""
        client.send(raw)
        came = []
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                kind, control, bulk = client.next()
                self.assertEqual(bulk, b'')
                came.append((kind, control))
        return came

    def answer(self, raw):
        """Of the one ANSWER that comes back."""
        came = self.answers(self.connect(), raw)
        self.assertEqual([kind for kind, _ in came], [wire.ANSWER], came)
        return json.loads(came[0][1][1])

    def check_slots(self, joins=(1, 1, 1, 0)):
        status = self.server.status()
        self.assertEqual((status['live'], status['spares'], [s['joins'] for s in status['slots']]), (3, 0, list(joins)))

    def test_takes_nothing(self):
        """The seat that it is told of stays free, whatever it says; in the answer is neither plan, ticket nor weights."""
        self.start_job()
        with self.attack():
            for tensors in (self.tensors, None):
                for slot, told in ((-1, SEAT), (SEAT, SEAT), (0, -1)):
                    for ticket in (b'', bytes(16), os.urandom(16)):
                        got = self.answer(probe(tensors, slot=slot, ticket=ticket))
                        self.assertEqual((got['slot'], got['taken'], got['workers'], got['compared']),
                                         (told, 3, 4, tensors is not None))
                        self.assertEqual(set(got), {'version', 'job', 'workers', 'taken', 'slot', 'compared', 'started',
                                                    'round', 'rounds', 'phase', 'time'})
            self.check_slots()
        self.check_undisturbed()

    def test_says_more(self):
        """What a worker would say next is not for a probe to say: it hears no more than the answer."""
        self.start_job()
        ready = frame(wire.READY, hostile.data(1, bytes(8)), round_=1)
        more = (ready, frame(wire.PUSH, round_=5, flags=hostile.ABSTAIN), frame(wire.RESYNC, round_=1),
                probe(self.tensors), frame(wire.ASK, data(1, b'stop')), frame(wire.HELLO, hostile.hello()))
        with self.attack():
            for raw in more:
                came = self.answers(self.connect(), probe(self.tensors) + raw)
                self.assertEqual([kind for kind, _ in came], [wire.ANSWER], came)
                # Before the answer it is out of order.
                if raw not in (more[3], more[4], more[5]):
                    hello = frame(wire.HELLO, hostile.hello(role=handshake.PROBE))
                    self.refused(self.connect(), hello + raw, PROTOCOL, 'before LAYOUT')
            hello = frame(wire.HELLO, hostile.hello(role=handshake.PROBE))
            self.refused(self.connect(), hello + frame(wire.ASK, data(1, b'stop')), PROTOCOL, 'ASK before LAYOUT')
            other = frame(wire.LAYOUT, hostile.layout([('w', (3,), 0)]))
            self.refused(self.connect(), hello + other, PROTOCOL, 'does not match the digest')
            self.check_slots()
        self.check_undisturbed()

    def test_without_the_secret(self):
        """It is told nothing; and with a probe's proof nobody becomes a worker, or with a worker's a probe."""
        self.start_job(token=self.token('secret'))
        with self.attack():
            self.refused(self.connect(), probe(self.tensors), SECRET, 'asks workers for a secret')
            self.refused(self.connect(), probe(), SECRET, 'asks workers for a secret')
            for role, other in ((handshake.PROBE, handshake.WORKER), (handshake.WORKER, handshake.PROBE),
                                (handshake.PROBE, handshake.OPERATOR)):
                with self.subTest(role=role, proof_of=other):
                    client = self.connect()
                    client.hello(role=role, digest=hostile.layout_digest(self.tensors))
                    client.challenge()
                    proof = client.make_proof(self.secret, role=other)
                    self.refused(client, frame(wire.PROOF, data(1, proof)), SECRET, 'proof is wrong')
            client = self.connect()
            client.say_hello(role=handshake.PROBE)
            client.send(frame(wire.LAYOUT, hostile.layout(self.tensors)))
            kind, control, _ = client.next()
            self.assertEqual((kind, json.loads(control[1])['slot']), (wire.ANSWER, SEAT))
            self.check_slots()
        self.check_undisturbed()


class Floods(hostile.Case):
    limited = True

    def throw(self, raw, tally):
        with contextlib.suppress(ConnectionResetError, BrokenPipeError), \
                socket.create_connection(self.port, timeout=hostile.harness.seconds(15)) as s:
            s.sendall(raw)
            came = b''
            while piece := s.recv(65536):
                came += piece
            for got, _ in wire.Splitter().feed(came):
                tally.append(got.type)

    def test_floods(self):
        """They come in 200 a second and address, as all do: the others are turned away at the door."""
        self.start_job()
        host, port = self.address.split(':')
        self.port = host, int(port)
        tally = []
        with self.attack(growth_kib=GROWTH_KIB):
            for raw in (probe(self.tensors), probe()):
                self.flood([lambda raw=raw: self.throw(raw, tally)] * MANY)
        self.assertEqual(set(tally), {wire.ANSWER, wire.BYE})
        status = self.server.status()
        self.assertEqual((status['live'], status['spares'], status['stage']), (3, 0, 'running'))
        self.assertGreater(status['sent_away']['joins'], 0, status['sent_away'])
        self.check_undisturbed(lines=300)


if __name__ == '__main__':
    hostile.main()
