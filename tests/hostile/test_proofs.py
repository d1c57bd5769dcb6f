"""Proofs that prove nothing: reflected, replayed, of another role, of other words; at a server with secrets."""
import functools
import os

import hostile
import wire
from hostile import PROTOCOL, SECRET, data, frame, handshake, uint
from test_mutations import Record


class Proofs(hostile.Case):
    def setUp(self):
        super().setUp()
        self.operator = self.token('operator')
        self.start_job(sets=(f'security.operator_token_file={self.operator}',), token=self.token('worker'))
        self.operator_secret = handshake.secret_of(self.operator)

    def say(self, role=handshake.WORKER, slot=-1):
        """As far as the server's CHALLENGE."""
        client = self.connect()
        client.hello(role=role, slot=slot, digest=hostile.DIGEST if role == handshake.WORKER else 0)
        client.challenge()
        return client

    def proof_is_wrong(self, client, proof):
        self.refused(client, frame(wire.PROOF, data(1, proof)), SECRET, 'the proof is wrong')

    def test_reflections(self):
        """The server's own proofs sent back to it, on the same connection or another."""
        with self.attack():
            for role in (handshake.WORKER, handshake.OPERATOR):
                client = self.say(role)
                self.proof_is_wrong(client, client.server_proof)
                first, second = self.say(role), self.say(role)
                self.proof_is_wrong(first, second.server_proof)
                self.proof_is_wrong(second, first.server_proof)
                # The server's nonce, sent to it as one's own, gets its proof; that of a server.
                client = self.say(role)
                mirror = self.connect()
                mirror.nonce = client.server_nonce
                mirror.hello(role=role, digest=hostile.DIGEST if role == handshake.WORKER else 0)
                mirror.challenge()
                self.assertNotEqual(mirror.server_nonce, client.server_nonce)
                self.proof_is_wrong(client, mirror.server_proof)
                # A CHALLENGE is nothing that a client says.
                client = self.say(role)
                self.refused(client, frame(wire.CHALLENGE, data(1, client.server_nonce) + data(2, client.server_proof)),
                             PROTOCOL, 'CHALLENGE before PROOF')
        self.check_undisturbed()

    def test_replays(self):
        """What a real worker said, said again, all of it or frame by frame."""
        said = {}
        proxy = wire.Proxy(self.address, functools.partial(Record, said=said))
        worker = self.start_worker(proxy.address, *self.worker_sets)
        self.wait_for_words(self.server, 'is a spare')
        worker.kill()
        proxy.close()
        frames = [raw for _, raw in wire.Splitter().feed(said[0])]
        self.assertEqual([raw[5] for raw in frames[:3]], [wire.HELLO, wire.PROOF, wire.LAYOUT])
        hello, proof, layout = frames[:3]
        with self.attack():
            for times in range(20):
                client = self.connect()
                client.send(hello + proof + layout if times % 2 else hello)
                self.assertEqual(client.next()[0], wire.CHALLENGE)
                self.refused(client, b'' if times % 2 else proof + layout, SECRET, 'the proof is wrong')
            for raw, words in ((proof, 'PROOF before HELLO'), (layout, 'LAYOUT before HELLO'),
                               (hello + hello, 'HELLO before PROOF'), (hello + layout, 'LAYOUT before PROOF')):
                client = self.connect()
                client.send(raw)
                if raw[5] == wire.HELLO:
                    self.assertEqual(client.next()[0], wire.CHALLENGE)
                self.refused(client, b'', PROTOCOL, words)
            # The same proof twice on one connection.
            client = self.say()
            right = frame(wire.PROOF, data(1, client.make_proof(self.secret)))
            self.refused(client, right + right, PROTOCOL, 'PROOF before LAYOUT')
        self.check_undisturbed()

    def test_roles(self):
        """An operator's secret makes no worker, a worker's no operator; nor does a proof made for the other role."""
        secrets = {handshake.WORKER: self.secret, handshake.OPERATOR: self.operator_secret}
        with self.attack():
            for role, other in ((handshake.WORKER, handshake.OPERATOR), (handshake.OPERATOR, handshake.WORKER)):
                for secret, of in ((secrets[other], role), (secrets[role], other), (secrets[other], other)):
                    with self.subTest(role=role, proof_of=of, right_secret=secret is secrets[role]):
                        client = self.say(role)
                        self.proof_is_wrong(client, client.make_proof(secret, role=of))
            client = self.say()
            self.proof_is_wrong(client, client.make_proof(self.secret, prover=handshake.SERVER))
            # With the right proof, what the other one would say.
            client = self.at('LAYOUT')
            self.refused(client, frame(wire.ASK, data(1, b'stop')), PROTOCOL, 'ASK before LAYOUT')
            client = self.at('ASK', secret=self.operator_secret)
            self.refused(client, frame(wire.LAYOUT, hostile.layout(self.tensors)), PROTOCOL, 'LAYOUT before ASK')
        self.check_undisturbed()

    def test_proofs_of_other_words(self):
        """A proof is of all that stands in the HELLO, and of both nonces."""
        with self.attack():
            for name, change in (('slot', {'slot': 1}), ('digest', {'digest': 1}), ('job', {'job': 'digit'}),
                                 ('nonce', {'nonce': bytes(32)}), ('server_nonce', {'server_nonce': bytes(32)})):
                with self.subTest(name):
                    client = self.say()
                    vars(client).update(change)
                    self.proof_is_wrong(client, client.make_proof(self.secret))
            for name, make in (('of zeros', lambda right: bytes(32)), ('cut', lambda right: right[1:] + right[:1]),
                               ('of random bytes', lambda right: os.urandom(32)),
                               ('the last bit off', lambda right: right[:-1] + bytes([right[-1] ^ 128]))):
                with self.subTest(name):
                    client = self.say()
                    self.proof_is_wrong(client, make(client.make_proof(self.secret)))
            for secret in (b'', bytes(32), self.secret[:-1], self.secret + b'\0', self.secret.hex().encode()):
                with self.subTest(secret=len(secret)):
                    client = self.say()
                    if secret == self.secret + b'\0':
                        continue    # HMAC fills a key up with zeros: it is the same one
                    self.proof_is_wrong(client, client.make_proof(secret))
        self.check_undisturbed()

    def test_lengths(self):
        with self.attack():
            for length in (1, 16, 31, 33, 64, 3000):
                for role in (handshake.WORKER, handshake.OPERATOR):
                    with self.subTest(nonce=length, role=role):
                        control = hostile.hello(role=role, nonce=bytes(length))
                        self.refused(self.connect(), frame(wire.HELLO, control), PROTOCOL, 'nonce of the wrong length')
                    with self.subTest(proof=length, role=role):
                        self.refused(self.say(role), frame(wire.PROOF, data(1, bytes(length))), PROTOCOL,
                                     'proof of the wrong length')
            self.refused(self.say(), frame(wire.PROOF), PROTOCOL, 'proof of the wrong length')
            self.refused(self.say(), frame(wire.PROOF, uint(1, 7)), PROTOCOL, 'cannot be decoded')
            self.refused(self.connect(), frame(wire.HELLO, hostile.hello()), SECRET, 'asks workers for a secret')
            self.refused(self.connect(), frame(wire.HELLO, hostile.hello(role=handshake.OPERATOR)), SECRET,
                         'asks operators for their secret')
            # Nothing of what a HELLO says is looked at, or answered, before the proof.
            client = self.connect()
            client.hello(job='another', slot=200, examples=0, digest=5)
            client.challenge()
            self.proof_is_wrong(client, bytes(32))
        self.check_undisturbed()


if __name__ == '__main__':
    hostile.main()
