"""Who may come in: secrets, proofs, tickets, operators, and where the server listens."""
import os
import socket
import stat
import struct
import subprocess
import threading

import handshake
import harness
import wire

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
# The model of configs/digits.yaml, and the digest that proto/README.md defines.
DIGITS = [('dense1.weight', (64, 64), 1), ('dense1.bias', (64,), 0), ('dense2.weight', (10, 64), 1),
          ('dense2.bias', (10,), 0)]


class Secrets(harness.Case):
    def tool(self, *arguments, code=0, **more):
        done = subprocess.run([SIGNPOST, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                              cwd=self.folder, check=False, **more)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def token(self, name):
        self.tool('token', name)
        return self.folder / name

    def refuse_to_serve(self, *sets, listen='127.0.0.1:0', code=2):
        server = self.start_server(*sets, listen=listen, wait=False)
        self.wait_for_end(server, code)
        return server.err()


class Files(Secrets):
    def test_the_token_command(self):
        out, _ = self.tool('token', 'a.token')
        self.assertIn('a.token', out)
        a = self.folder / 'a.token'
        self.assertEqual(stat.S_IMODE(a.stat().st_mode), 0o600)
        self.assertRegex(a.read_text(), r'^[0-9a-f]{64}\n$')
        self.assertNotIn(a.read_text().strip(), out)
        before = a.read_text()
        _, err = self.tool('token', 'a.token', code=1)
        self.assertRegex(err, r'a\.token exists')
        self.assertEqual(a.read_text(), before)
        out, _ = self.tool('token')
        self.assertRegex(out, r'^[0-9a-f]{64}\n$')
        self.assertNotEqual(out, before)
        with open(self.folder / 'b.token', 'w', encoding='ascii') as b:
            os.fchmod(b.fileno(), 0o644)
            subprocess.run([SIGNPOST, 'token'], stdout=b, check=True, timeout=60)
        self.assertEqual(stat.S_IMODE((self.folder / 'b.token').stat().st_mode), 0o600)
        self.tool('token', 'no/such/folder', code=1)
        self.tool('token', 'a', 'b', code=2)

    def test_files_that_hold_no_secret(self):
        for name, content, mode, words in (('short', b'0' * 31, 0o600, '31 bytes'), ('empty', b'', 0o600, '0 bytes'),
                                           ('open', os.urandom(32), 0o644, 'mode 0644.*chmod 600'),
                                           ('group', os.urandom(32), 0o620, 'mode 0620'),
                                           ('long', os.urandom(5000), 0o600, 'larger than')):
            path = self.folder / name
            path.write_bytes(content)
            path.chmod(mode)
            with self.subTest(name):
                self.assertRegex(self.refuse_to_serve(f'security.token_file={path}'),
                                 rf'^signpostd: security\.token_file: .*{words}')
                worker = self.start_worker('127.0.0.1:1', f'security.token_file={path}')
                self.wait_for_end(worker, 1)
                self.assertRegex(worker.err(), rf'(?s){words}')
                _, err = self.tool('check', harness.DIGITS, '--set', f'security.token_file={path}', code=1)
                self.assertRegex(err, words)
        err = self.refuse_to_serve(f'security.token_file={self.folder}/none', code=1)
        self.assertRegex(err, r'none: No such file or directory \(make one with: signpost token ')
        token = self.token('one')
        self.assertRegex(self.refuse_to_serve(f'security.token_file={token}',
                                              f'security.operator_token_file={token}'), 'must be another file')
        copy = self.folder / 'copy'
        copy.write_text(token.read_text())
        copy.chmod(0o600)
        self.assertRegex(self.refuse_to_serve(f'security.token_file={token}', f'security.operator_token_file={copy}'),
                         'hold the same secret')

    def test_raw_bytes_and_another_spelling(self):
        """A secret of raw bytes, and the same written in capital digits with white space around: one secret."""
        raw = self.folder / 'raw'
        raw.write_bytes(bytes(range(200, 240)))
        text = self.folder / 'text'
        text.write_text(f'\n  {bytes(range(200, 240)).hex().upper()} \n\n')
        for path in (raw, text):
            path.chmod(0o400)
        server = self.start_server(f'security.token_file={raw}', 'train.rounds=3')
        workers = self.start_workers(server, 4, f'security.token_file={text}')
        self.finish(server, workers)


class Listening(Secrets):
    def test_off_loopback(self):
        token = self.token('t')
        for listen in ('0.0.0.0:0', '[::]:0'):
            err = self.refuse_to_serve(listen=listen)
            self.assertRegex(err, r'can be reached from other machines, and without a secret .*signpost token')
            err = self.refuse_to_serve('security.insecure=true', listen=listen)
            self.assertRegex(err, r'without a secret')
            err = self.refuse_to_serve(f'security.token_file={token}', listen=listen)
            self.assertRegex(err, r'security\.insecure: true')
        server = self.start_server(f'security.token_file={token}', 'security.insecure=true', listen='0.0.0.0:0')
        self.wait_for_words(server, r'warn .*NOT protected')
        security = server.status()['security']
        self.assertEqual((security['secret'], security['network_operators'], security['insecure']), (True, False, True))
        self.assertRegex(self.tool('status', server.run)[0], r'security +.*NOT protected')

    def test_on_loopback(self):
        server = self.start_server(listen='127.0.0.1:0')
        self.assertEqual(server.status()['security']['secret'], False)
        self.wait_for_words(server, r'info .*no secret')
        server = self.start_server(listen='[::1]:0', run='two')
        self.assertEqual(server.status()['security']['insecure'], False)


class Workers(Secrets):
    def test_a_job_with_a_secret(self):
        """It runs as without one, and the secret is never on the wire."""
        seen = []

        class Tap(wire.Policy):
            def pass_on(self, direction, data):
                seen.append(data)
                return data

        token = self.token('t')
        sets = ('train.rounds=40', 'seed=3')
        _, plain = self.whole_job(*sets, run='plain')
        server = self.start_server(*sets, f'security.token_file={token}')
        proxy = wire.Proxy(server.address(), Tap)
        workers = [self.start_worker(proxy.address, f'security.token_file={token}') for _ in range(4)]
        summary = self.finish(server, workers)
        proxy.close()
        self.assertEqual(summary['weights_digest'], plain['weights_digest'])
        everything = b''.join(seen)
        self.assertGreater(len(everything), 100000)
        self.assertNotIn(handshake.secret_of(token), everything)
        self.assertNotIn(token.read_bytes().strip(), everything)

    def test_refusals(self):
        right, wrong = self.token('right'), self.token('wrong')
        server = self.start_server(f'security.token_file={right}')
        worker = self.start_worker(server)
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err(), r'refused: this server asks workers for a secret')
        worker = self.start_worker(server, f'security.token_file={wrong}')
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err(), r'did not prove that it holds the same secret as this worker')
        self.wait_for_words(server, r"left in the handshake: it said goodbye: the server's proof is wrong")
        server = self.start_server(run='open')
        worker = self.start_worker(server, f'security.token_file={right}')
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err(), r'refused: this server runs without a secret, and the worker has one')

    def impostor(self, answer):
        """A server that takes a HELLO and then says what `answer(nonce)` gives; returns its address."""
        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)

        def serve():
            while True:
                try:
                    s, _ = listener.accept()
                except OSError:
                    return
                header = s.recv(40, socket.MSG_WAITALL)
                hello = handshake.fields(s.recv(struct.unpack_from('<I', header, 12)[0], socket.MSG_WAITALL))
                s.sendall(answer(hello[10]))
                try:
                    self.heard.append(s.recv(65536))
                except ConnectionResetError:
                    self.heard.append(b'')  # it closed without reading the rest
                s.close()

        self.heard = []
        threading.Thread(target=serve, daemon=True).start()
        return '127.0.0.1:%d' % listener.getsockname()[1]

    def test_impostors(self):
        """A server that cannot prove that it holds the secret gets no proof and no layout, and is not believed."""
        token = self.token('t')
        sets = (f'security.token_file={token}',)
        challenge = handshake.frame(wire.CHALLENGE, handshake.data(1, bytes(32)) + handshake.data(2, bytes(32)))
        worker = self.start_worker(self.impostor(lambda _: challenge), *sets)
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err(), r'did not prove')
        self.assertEqual([f.type for f, _ in wire.Splitter().feed(self.heard[0])], [wire.BYE])
        for name, answer, words in (
                ('welcome', handshake.frame(wire.WELCOME, handshake.uint(1, 1)), r'sent WELCOME without proving'),
                ('done', handshake.frame(wire.BYE, b''), r"says 'the job is done', but did not prove"),
                ('stopped', handshake.frame(wire.BYE, handshake.uint(1, 1)), r"says 'the job was stopped', but did not"),
                ('job', handshake.frame(wire.BYE, handshake.uint(1, handshake.JOB)), r'but did not prove')):
            with self.subTest(name):
                worker = self.start_worker(self.impostor(lambda _, a=answer: a), *sets)
                self.wait_for_words(worker, words)
                self.wait_for(lambda: len(self.heard) >= 2, 'the worker to come again')
                self.assertEqual(self.heard[0], b'')
                self.assertTrue(worker.alive())
                worker.kill()


class Strangers(Secrets):
    """Clients of every wrong kind at a running job, which they must not change."""

    def setUp(self):
        self.worker_token, self.operator_token = self.token('w'), self.token('o')
        self.secret = handshake.secret_of(self.worker_token)
        self.sets = ('train.rounds=4000', 'seed=5', f'security.token_file={self.worker_token}',
                     f'security.operator_token_file={self.operator_token}')
        self.server = self.start_server(*self.sets)
        self.workers = self.start_workers(self.server, 4, self.sets[2], slots=True)
        self.wait_for_round(self.server, 20)


    def connect(self):
        client = handshake.Client(self.server.address(), harness.seconds(15))
        self.addCleanup(client.socket.close)
        return client

    def refused(self, client, reason, words):
        got, said = client.goodbye()
        self.assertEqual(got, reason, said)
        self.assertRegex(said, words)

    def test_wrong_ways_in(self):
        wrong = os.urandom(32)
        c = self.connect()
        c.hello(nonce=None)
        self.refused(c, handshake.SECRET, 'asks workers for a secret')
        c = self.connect()
        c.hello()
        c.challenge()
        self.assertEqual(c.server_proof, c.make_proof(self.secret, handshake.SERVER), "the server's own proof is right")
        first = c.make_proof(self.secret)
        c.prove(c.make_proof(wrong))
        self.refused(c, handshake.SECRET, 'the proof is wrong')
        for name, make in (('reflected', lambda c: c.server_proof), ('replayed', lambda c: first),
                           ('zeros', lambda c: bytes(32)), ("another role's", lambda c: c.make_proof(self.secret, role=1)),
                           ('one bit off', lambda c: bytes([c.make_proof(self.secret)[0] ^ 1]) + c.make_proof(self.secret)[1:])):
            with self.subTest(name):
                c = self.connect()
                c.hello()
                c.challenge()
                c.prove(make(c))
                self.refused(c, handshake.SECRET, 'the proof is wrong')
        c = self.connect()
        c.hello(digest=7)
        c.challenge()
        c.digest = 8
        c.prove(c.make_proof(self.secret))
        self.refused(c, handshake.SECRET, 'the proof is wrong')
        for length in (1, 31, 33):
            c = self.connect()
            c.hello(nonce=bytes(length))
            self.refused(c, handshake.PROTOCOL, 'nonce of the wrong length')
        c = self.connect()
        c.hello()
        c.challenge()
        c.prove(bytes(31))
        self.refused(c, handshake.PROTOCOL, 'proof of the wrong length')
        self.check_undisturbed()

    def test_out_of_order(self):
        for kind in (wire.LAYOUT, wire.PUSH, wire.READY, wire.PROOF, wire.ASK, wire.ALIVE, wire.RESYNC, wire.WEIGHTS):
            c = self.connect()
            c.send(handshake.frame(kind))
            self.refused(c, handshake.PROTOCOL, 'before HELLO')
            c = self.connect()
            c.hello()
            c.challenge()
            c.send(handshake.frame(kind if kind != wire.PROOF else wire.HELLO))
            self.refused(c, handshake.PROTOCOL, 'before PROOF')
        c = self.connect()
        c.hello(more=handshake.data(15, bytes(5000)))
        self.refused(c, handshake.PROTOCOL, 'at most 4096 are allowed')
        c = self.connect()
        c.hello(role=3)
        self.refused(c, handshake.PROTOCOL, 'unknown role')
        self.check_undisturbed()

    def enter(self, **how):
        """With the right secret, as far as the layout."""
        c = self.connect()
        c.hello(**how)
        c.challenge()
        c.prove(c.make_proof(self.secret))
        c.send_layout()
        return c

    def test_with_the_secret_but_wrong(self):
        self.refused(self.enter(tensors=DIGITS, digest=1), handshake.PROTOCOL, 'does not match the digest')
        one = [('w', (3,), 0)]
        self.refused(self.enter(tensors=one, digest=layout_digest(one)), handshake.LAYOUT, 'differs from the job')
        right = layout_digest(DIGITS)
        self.refused(self.enter(tensors=DIGITS, digest=right, job='mnist'), handshake.JOB, "runs job 'digits', not 'mnist'")
        self.refused(self.enter(tensors=DIGITS, digest=right, examples=9), handshake.DATA, '1437 training examples')
        self.refused(self.enter(tensors=DIGITS, digest=right, slot=4), handshake.SLOT, 'slot 4 does not exist')
        # A live slot cannot be had without its ticket: whoever asks for it waits as a spare.
        for ticket in (b'', os.urandom(16), bytes(16)):
            kind, control, _ = self.enter(tensors=DIGITS, digest=right, slot=2, ticket=ticket).next()
            self.assertEqual((kind, control.get(1)), (wire.WELCOME, 1))
        self.assertEqual(self.server.status()['live'], 4)
        self.check_undisturbed()

    def test_operators(self):
        worker, operator = self.worker_token, self.operator_token
        address = self.server.address()
        out, _ = self.tool('status', '--server', address, '--token-file', operator)
        self.assertRegex(out, r'^digits at .*: running')
        _, err = self.tool('status', '--server', address, '--token-file', worker, code=1)
        self.assertRegex(err, r'did not prove that it holds this secret')
        _, err = self.tool('stop', '--server', address, '--token-file', worker, code=1)
        self.assertRegex(err, r'did not prove')
        # An operator's secret does not make a worker.
        c = self.connect()
        c.hello()
        c.challenge()
        c.prove(c.make_proof(handshake.secret_of(operator)))
        self.refused(c, handshake.SECRET, 'the proof is wrong')
        c = self.connect()
        c.hello(role=handshake.OPERATOR, nonce=None)
        self.refused(c, handshake.SECRET, 'asks operators for their secret')
        c = self.connect()
        c.hello(role=handshake.OPERATOR)
        c.challenge()
        c.prove(c.make_proof(handshake.secret_of(operator)))
        c.send(handshake.frame(wire.PUSH))
        self.refused(c, handshake.PROTOCOL, 'PUSH before ASK')
        c = self.connect()
        c.hello(role=handshake.OPERATOR, job='other')
        c.challenge()
        c.prove(c.make_proof(handshake.secret_of(operator)))
        c.send(handshake.frame(wire.ASK, handshake.data(1, b'stop')))
        self.refused(c, handshake.JOB, "runs job 'digits'")
        c = self.connect()
        c.hello(role=handshake.OPERATOR, job='')
        c.challenge()
        c.prove(c.make_proof(handshake.secret_of(operator)))
        c.send(handshake.frame(wire.ASK, handshake.data(1, b'dance')))
        kind, control, _ = c.next()
        self.assertEqual(kind, wire.ANSWER)
        self.assertIn(b'unknown command', control[1])
        self.assertEqual(stat.S_IMODE((self.server.run / 'signpostd.sock').stat().st_mode), 0o600)
        self.check_undisturbed()

    def check_undisturbed(self):
        summary = self.finish(self.server, self.workers)
        self.assert_done(summary)
        self.assertEqual([s['votes'] for s in summary['slots']], [summary['rounds']] * 4)
        self.assertEqual([s['joins'] for s in summary['slots']], [1] * 4)
        _, alone = self.whole_job('train.rounds=4000', 'seed=5', run='alone')
        self.assertEqual(summary['weights_digest'], alone['weights_digest'])


class Takeover(Secrets):
    def test_only_the_ticket_takes_a_live_slot(self):
        """A client that joined, and whose connection is still open, is replaced by who brings its ticket."""
        token = self.token('t')
        secret = handshake.secret_of(token)
        server = self.start_server('workers=1', f'security.token_file={token}')
        tickets = []
        clients = []
        for ticket in (b'', None):
            c = handshake.Client(server.address(), harness.seconds(15))
            self.addCleanup(c.socket.close)
            c.hello(tensors=DIGITS, digest=layout_digest(DIGITS), ticket=tickets[0] if ticket is None else ticket)
            c.challenge()
            c.prove(c.make_proof(secret))
            c.send_layout()
            kind, control, _ = c.next()
            self.assertEqual((kind, control.get(1, 0)), (wire.WELCOME, 0))
            self.assertEqual(len(control[3]), 16)
            tickets.append(control[3])
            clients.append(c)
        self.assertNotEqual(tickets[0], tickets[1])
        self.assertEqual(clients[0].goodbye()[0], handshake.REPLACED)


class NoNetworkOperators(Secrets):
    def test_a_server_without_an_operators_secret(self):
        token = self.token('t')
        server = self.start_server(f'security.token_file={token}')
        _, err = self.tool('status', '--server', server.address(), '--token-file', token, code=1)
        self.assertRegex(err, r'refused: this server takes no operators over the network')

    def test_stop_over_the_network(self):
        token = self.token('o')
        server = self.start_server(f'security.operator_token_file={token}', 'train.epochs=3000')
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 5)
        out, _ = self.tool('stop', '--server', server.address(), '--token-file', token)
        self.assertRegex(out, 'stopping')
        self.assertTrue(self.finish(server, workers)['stopped'])

    def test_usage(self):
        for arguments in (('status', '--server', '127.0.0.1:1'), ('status', '--token-file', 'x', 'run'), ('status',)):
            self.tool(*arguments, code=2)
        self.token('t')
        _, err = self.tool('status', '--server', f'127.0.0.1:{harness.free_port()}', '--token-file', 't', code=1)
        self.assertRegex(err, r'cannot connect to 127\.0\.0\.1:\d+: Connection refused')


def layout_digest(tensors):
    """XXH64 with seed 0, written out from its specification."""
    text = b''.join(name.encode() + b'\0' + struct.pack('<II', len(shape), flags) +
                    b''.join(struct.pack('<Q', n) for n in shape) for name, shape, flags in tensors)
    return xxh64(text)


def xxh64(text):
    p1, p2, p3, p4, p5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
                          0x27D4EB2F165667C5)
    mask = 2**64 - 1

    def rol(x, r):
        return (x << r | x >> 64 - r) & mask

    def turn(acc, lane):
        return rol((acc + lane * p2) & mask, 31) * p1 & mask

    at = 0
    if len(text) >= 32:
        v = [(p1 + p2) & mask, p2, 0, -p1 & mask]
        while at + 32 <= len(text):
            for i in range(4):
                v[i] = turn(v[i], int.from_bytes(text[at:at + 8], 'little'))
                at += 8
        h = (rol(v[0], 1) + rol(v[1], 7) + rol(v[2], 12) + rol(v[3], 18)) & mask
        for lane in v:
            h = ((h ^ turn(0, lane)) * p1 + p4) & mask
    else:
        h = p5
    h = (h + len(text)) & mask
    while at + 8 <= len(text):
        h = (rol(h ^ turn(0, int.from_bytes(text[at:at + 8], 'little')), 27) * p1 + p4) & mask
        at += 8
    if at + 4 <= len(text):
        h = (rol(h ^ (int.from_bytes(text[at:at + 4], 'little') * p1 & mask), 23) * p2 + p3) & mask
        at += 4
    for byte in text[at:]:
        h = rol(h ^ (byte * p5 & mask), 11) * p1 & mask
    h = (h ^ h >> 33) * p2 & mask
    h = (h ^ h >> 29) * p3 & mask
    return h ^ h >> 32


if __name__ == '__main__':
    harness.main()
