"""TLS 1.3 with certificates on both sides: the same job as without, nothing readable on the way, files that are renewed,
lines that break."""
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess

import certificates
import harness
import wire

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
SHORT = ('workers=2', 'train.rounds=60', 'optimizer.switch.when=at', 'optimizer.switch.step=30')
LONG = ('workers=2', 'train.epochs=3000')
CHUNKS = 'model.hidden=[2000]'  # 150000 coordinates: three chunks of 64 KiB in the margin phase, and more after it


class Tls(harness.Case):
    def setUp(self):
        self.certs = certificates.copy(self.folder / 'certs')

    def tool(self, *arguments, code=0):
        done = subprocess.run([SIGNPOST, *map(str, arguments)], capture_output=True, text=True, timeout=harness.seconds(60),
                              cwd=self.folder, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def token(self, name):
        self.tool('token', name)
        return self.folder / name

    def serve(self, *sets, who='server', **more):
        return self.start_server(*sets, *self.certs.sets(who), **more)

    def work(self, server, *sets, who='worker', **more):
        return self.start_worker(server, *sets, *self.certs.sets(who), **more)

    def pinned(self, server, *sets, addresses=None):
        """Two workers over TLS, each in a slot of its own; `addresses` of proxies, perhaps."""
        addresses = addresses or [server.address()] * 2
        return [self.work(address, *sets, slot=slot) for slot, address in enumerate(addresses)]

    def plain(self, *sets):
        """The digest of the same job without TLS."""
        models = [item for item in sets if item.startswith('model.')]
        server = self.start_server(*sets, run='plain')
        summary = self.finish(server, self.start_workers(server, 2, *models, slots=True))
        self.assert_done(summary)
        return summary['weights_digest']

    def check_undisturbed(self, summary, workers):
        self.assert_done(summary)
        self.assertEqual([s['votes'] for s in summary['slots']], [summary['rounds']] * 2)
        self.assertEqual([s['joins'] for s in summary['slots']], [1, 1])
        self.check_weights(summary, workers)

    def check_weights(self, summary, workers):
        """No weights went astray on the way."""
        self.assertEqual(sum(s['resyncs'] for s in summary['slots']), 0)
        for worker in workers:
            self.assertEqual(re.findall(r'weights digest ([0-9a-f]{16})', worker.err()), [summary['weights_digest']])

    def tap(self, server):
        """A proxy that records; returns (its address, what it has seen)."""
        seen = []

        class Tap(wire.Policy):
            def pass_on(self, direction, data):
                seen.append(data)
                return data

        proxy = wire.Proxy(server.address(), Tap)
        self.addCleanup(proxy.close)
        return proxy.address, seen


class Jobs(Tls):
    def test_the_same_job_and_nothing_readable(self):
        """With TLS alone, and with the secret as well: the weights of a job without either."""
        plain = self.plain(*SHORT)
        token = f'security.token_file={self.token("t")}'
        for name, more in (('tls', ()), ('both', (token,))):
            with self.subTest(name):
                server = self.serve(*SHORT, *more, run=name)
                self.wait_for_words(server, r"info .*TLS: certificate of 'server' in .*valid until")
                taps = [self.tap(server) for _ in range(2)]
                workers = self.pinned(server, *more, addresses=[address for address, _ in taps])
                self.assertEqual(server.status()['security']['tls'], True)
                summary = self.finish(server, workers)
                self.check_undisturbed(summary, workers)
                self.assertEqual(summary['weights_digest'], plain)
                for _, seen in taps:
                    # A word may lie across two pieces of one direction only by chance; all of it is looked through.
                    everything = b''.join(seen)
                    self.assertGreater(len(everything), 20000)
                    for word in (b'SGNP', b'dense1.weight', b'digits', b'signpost:worker'):
                        self.assertNotIn(word, everything)

    def test_many_chunks_in_every_phase(self):
        sets = ('workers=2', CHUNKS, 'train.rounds=24', 'optimizer.switch.when=at', 'optimizer.switch.step=8',
                'optimizer.switch.to=margin', 'optimizer.margin.until=0.67', 'optimizer.sgd.lr=0.05')
        server = self.serve(*sets)
        workers = self.pinned(server, CHUNKS)
        summary = self.finish(server, workers)
        self.check_undisturbed(summary, workers)
        self.assertEqual([w['to'] for w in summary['switches']], ['margin', 'sgd'])
        self.assertEqual(summary['weights_digest'], self.plain(*sets))

    def test_off_loopback(self):
        """TLS needs neither a secret nor a word that it is insecure."""
        server = self.serve(*SHORT, listen='0.0.0.0:0')
        self.assertEqual(server.status()['security']['insecure'], False)
        self.assertNotIn('NOT protected', server.err())
        port = server.address().rsplit(':', 1)[1]
        workers = self.pinned(server, addresses=[f'127.0.0.1:{port}', f'localhost:{port}'])
        self.check_undisturbed(self.finish(server, workers), workers)

    def test_the_name_that_is_meant(self):
        """Reached by a name that the certificate lacks; security.tls.name says which it should have."""
        self.certs.make('other', 'DNS:params.example', 'serverAuth')
        server = self.serve(*SHORT, who='other')
        worker = self.work(server)
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err(), r"TLS with the server 127\.0\.0\.1:\d+: its certificate does not name '127\.0\.0\.1'.*"
                                       r"security\.tls\.name")
        worker = self.work(server, 'security.tls.name=elsewhere.example')
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err(), r"does not name 'elsewhere\.example'")
        workers = self.pinned(server, 'security.tls.name=params.example')
        self.check_undisturbed(self.finish(server, workers), workers)

    def test_each_worker_its_own(self):
        """A certificate for each worker, as make-certs.sh makes them with --workers; and one of another kind of key."""
        self.certs.run('--workers', 1)
        self.certs.make('rsa', algorithm=('RSA', 'rsa_keygen_bits:2048'))
        server = self.serve(*SHORT)
        workers = [self.work(server, who=who, slot=slot) for slot, who in enumerate(('worker-0', 'rsa'))]
        self.check_undisturbed(self.finish(server, workers), workers)


class Operators(Tls):
    def test_by_certificate(self):
        server = self.serve(*LONG)
        workers = self.pinned(server)
        self.wait_for_round(server, 3)
        there = ('--server', server.address())
        self.assertRegex(self.tool('status', *there, *self.certs.tool('operator')), r'^digits at .*: running')
        err = self.tool('status', *there, *self.certs.tool('worker'), code=1)
        self.assertRegex(err, r"refused: this certificate is not an operator's")
        err = self.tool('stop', *there, *self.certs.tool('worker'), code=1)
        self.assertRegex(err, r"not an operator's")
        token = self.token('o')
        err = self.tool('stop', *there, '--token-file', token, code=1)  # no TLS at all
        self.assertRegex(err, r'refused: it speaks without TLS')
        err = self.tool('stop', *there, *self.certs.tool('operator'), '--token-file', token, code=1)
        self.assertRegex(err, r'this server has no secret for operators')
        err = self.tool('stop', *there, *self.certs.tool('operator'), '--name', 'other.example', code=1)
        self.assertRegex(err, r"TLS with .*does not name 'other\.example'")
        # Nor does an operator's certificate make a worker.
        worker = self.work(server, who='operator')
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err(), r"refused: this certificate is not a worker's")
        other = certificates.copy(self.folder / 'others', 'two')
        err = self.tool('stop', *there, '--cert', other.cert('operator'), '--key', other.key('operator'), '--ca', self.certs.ca,
                        code=1)
        self.assertRegex(err, r'does not know who signed our certificate')
        self.assertEqual(server.status()['live'], 2)
        self.assertRegex(self.tool('stop', *there, *self.certs.tool('operator')), 'stopping')
        summary = self.finish(server, workers)
        self.assertTrue(summary['stopped'])
        self.assertEqual([s['joins'] for s in summary['slots']], [1, 1])

    def test_by_certificate_and_secret(self):
        """Where the server has a secret for operators, the certificate alone is not enough, nor is the secret."""
        token, wrong = self.token('o'), self.token('wrong')
        server = self.serve(*LONG, f'security.operator_token_file={token}')
        there = ('--server', server.address())
        mine = self.certs.tool('operator')
        self.assertRegex(self.tool('status', *there, *mine, '--token-file', token), r'^digits at ')
        self.assertRegex(self.tool('status', *there, *mine, code=1), r'asks operators for their secret')
        self.assertRegex(self.tool('status', *there, *mine, '--token-file', wrong, code=1), r'did not prove')
        err = self.tool('status', *there, *self.certs.tool('worker'), '--token-file', token, code=1)
        self.assertRegex(err, r"not an operator's")
        self.assertRegex(self.tool('status', *there, '--token-file', token, code=1), r'speaks without TLS')
        # Workers need no secret for that.
        self.slot_of(self.work(server))

    def test_a_server_without_tls(self):
        server = self.start_server(*LONG, f'security.operator_token_file={self.token("o")}')
        err = self.tool('status', '--server', server.address(), *self.certs.tool('operator'), code=1)
        self.assertRegex(err, r'it answers without TLS')


class Renewal(Tls):
    def serial(self, server):
        """Of the certificate that a client is shown."""
        context = self.certs.client('worker')
        host, port = server.address().rsplit(':', 1)
        with socket.create_connection((host, int(port)), timeout=harness.seconds(15)) as s:
            with context.wrap_socket(s, server_hostname='localhost') as tls:
                self.assertEqual(tls.version(), 'TLSv1.3')
                return int(tls.getpeercert()['serialNumber'], 16)

    def test_sighup(self):
        """A renewed certificate is for new connections; a broken file changes nothing; who is there stays."""
        token = self.token('t')
        old_token = token.read_bytes()
        server = self.serve(*LONG, f'security.token_file={token}')
        workers = self.pinned(server, f'security.token_file={token}')
        self.wait_for_round(server, 3)
        first = self.certs.serial('server')
        self.assertEqual(self.serial(server), first)
        self.certs.run('--server', 'localhost')
        second = self.certs.serial('server')
        self.assertNotEqual(first, second)
        self.assertEqual(self.serial(server), first, 'not before it is asked to')
        server.send(signal.SIGHUP)
        self.wait_for_words(server, r'SIGHUP: secrets and certificates were read again')
        self.wait_for_words(server, r"TLS: certificate of 'server'", times=2)
        self.assertEqual(self.serial(server), second)
        broken = (('cert', self.certs.cert('server'), b'nonsense'), ('key', self.certs.key('server'), b''),
                  ('other key', self.certs.key('server'), self.certs.key('worker').read_bytes()),
                  ('secret', token, b'short'))
        for times, (what, path, content) in enumerate(broken, 1):
            with self.subTest(what):
                right = path.read_bytes()
                path.write_bytes(content)
                server.send(signal.SIGHUP)
                self.wait_for_words(server, r'error .*SIGHUP: security\.\S+: .*; those that were read before stay in force',
                                    times=times)
                path.write_bytes(right)
                self.assertEqual(self.serial(server), second)
        # Another secret: who comes now needs it, and those that are there stay.
        token.write_bytes(b'11' * 32 + b'\n')
        server.send(signal.SIGHUP)
        self.wait_for_words(server, r'SIGHUP: secrets and certificates were read again', times=2)
        old = self.folder / 'old'
        old.write_bytes(old_token)
        old.chmod(0o600)
        late = self.work(server, f'security.token_file={old}')
        self.wait_for_end(late, 1)
        self.assertRegex(late.err(), r'did not prove that it holds the same secret')
        round_ = server.status()['round']
        self.wait_for_round(server, round_ + 20)
        server.send(signal.SIGTERM)
        summary = self.finish(server, workers)
        self.assertEqual([s['joins'] for s in summary['slots']], [1, 1])
        self.assertEqual([s['votes'] for s in summary['slots']], [summary['rounds_done']] * 2)

    def test_sighup_without_tls(self):
        """It only reads what there is."""
        server = self.start_server(*LONG)
        server.send(signal.SIGHUP)
        self.wait_for_words(server, r'SIGHUP: secrets and certificates were read again')
        self.assertTrue(server.alive())

    def test_a_new_ca_while_the_server_is_away(self):
        """A server that dies and comes back with certificates of another CA: workers take their renewed files when they
        connect again, as soon as these are whole; until then both sides say what is wrong, and nobody gives up."""
        listen = f'127.0.0.1:{harness.free_port()}'
        server = self.serve(*LONG, 'server.min_live=2', listen=listen)
        workers = self.pinned(server)
        self.wait_for_round(server, 5)
        other = certificates.copy(self.folder / 'others', 'two')
        shutil.copy(other.cert('worker'), self.certs.cert('worker'))  # half of a pair
        server.kill()
        for worker in workers:
            self.wait_for_words(worker, r'the key in .* is not that of the certificate in .*; going on with what was read before')
        self.certs.replace('server', 'server', other)
        shutil.copy(other.ca, self.certs.ca)
        server = self.serve(*LONG, 'server.min_live=2', listen=listen)
        for worker in workers:
            self.wait_for_words(worker, r'waiting for the server .*\(its certificate is not trusted: ')
        self.wait_for_words(server, r'warn .*sent away: TLS: the other side does not know who signed our certificate')
        shutil.copy(other.key('worker'), self.certs.key('worker'))
        for worker in workers:
            self.wait_for_words(worker, r'as slot \d of', times=2)
            self.assertTrue(worker.alive())
        self.wait_for_round(server, server.status()['round'] + 10)
        server.send(signal.SIGTERM)
        self.check_weights(self.finish(server, workers), workers)

    def test_an_old_certificate_of_a_worker(self):
        """The server's CA is another one than that which signed the worker's certificate; the worker trusts both."""
        listen = f'127.0.0.1:{harness.free_port()}'
        server = self.serve(*LONG, 'server.min_live=2', listen=listen)
        workers = self.pinned(server)
        self.wait_for_round(server, 5)
        server.kill()
        other = certificates.copy(self.folder / 'others', 'two')
        self.certs.ca.write_bytes(self.certs.ca.read_bytes() + other.ca.read_bytes())
        server = self.start_server(*LONG, 'server.min_live=2', *other.sets('server'), listen=listen)
        for worker in workers:
            self.wait_for_words(worker, r'waiting for the server .*\(the other side does not know who signed our certificate')
        self.wait_for_words(server, r'warn .*sent away: TLS: its certificate is not trusted')
        self.certs.replace('worker', 'worker', other)
        for worker in workers:
            self.wait_for_words(worker, r'as slot \d of', times=2)
        server.send(signal.SIGTERM)
        self.check_weights(self.finish(server, workers), workers)

    def test_server_restarts(self):
        """Killed in the middle of the job: it goes on from its journal, the workers come back, and the weights are those
        of a job without any of that."""
        sets = ('workers=2', 'train.epochs=40', 'server.min_live=2', 'server.journal.fsync=always')
        forgetful = ('optimizer.beta1=0', 'optimizer.dither.sigma0=0', 'optimizer.switch.when=never')
        port = harness.free_port()
        server = self.serve(*sets, *forgetful, listen=f'127.0.0.1:{port}')
        workers = self.pinned(server)
        for round_ in (100, 400):
            self.wait_for_round(server, round_)
            server.kill()
            server = self.serve(*sets, *forgetful, listen=f'127.0.0.1:{port}')
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.check_weights(summary, workers)
        for worker in workers:
            self.assertEqual(len(re.findall(r'as slot \d of', worker.err())), 3)
        self.assertEqual(summary['weights_digest'], self.plain(*sets, *forgetful))


class Files(Tls):
    def refused(self, words, *, server=(), worker=(), tool=False, server_code=2):
        """Sets that a server and a worker refuse at once, with words that match."""
        if server:
            process = self.start_server(*server, wait=False)
            self.wait_for_end(process, server_code)
            self.assertRegex(process.err(), rf'(?m)^signpostd: security\.tls: .*{words}')
        if worker:
            process = self.start_worker('127.0.0.1:1', *worker)
            self.wait_for_end(process, 1)
            self.assertRegex(process.err(), words)
        if tool:
            sets = [x for item in worker or server for x in ('--set', item)]
            self.assertRegex(self.tool('check', harness.DIGITS, *sets, code=1), words)

    def test_files_that_are_missing(self):
        for missing in ('cert', 'key', 'ca'):
            with self.subTest(missing):
                def without(sets):
                    return tuple(f'{item}.none' if item.startswith(f'security.tls.{missing}=') else item for item in sets)
                words = r'cannot read the .*\.none: No such file or directory \(deploy/make-certs\.sh makes'
                self.refused(words, server=without(self.certs.sets('server')), worker=without(self.certs.sets('worker')),
                             tool=True, server_code=1)

    def test_files_of_the_wrong_kind(self):
        c = self.certs
        nothing = self.folder / 'nothing'
        nothing.touch(0o600)
        c.make('rsa', algorithm=('RSA', 'rsa_keygen_bits:2048'))
        encrypted = self.folder / 'encrypted.key'
        certificates.openssl('pkey', '-in', c.key('server'), '-aes-256-cbc', '-passout', 'pass:x', '-out', encrypted)
        encrypted.chmod(0o600)
        for name, words, server, worker in (
                ('key of another', r'the key in .* is not that of the certificate in', c.sets('server', key=c.key('worker')),
                 c.sets('worker', key=c.key('server'))),
                ('another kind of key', r'the key in .* is not that of the certificate in', c.sets('server', key=c.key('rsa')),
                 c.sets('rsa', key=c.key('server'))),
                ('no key', r'holds no private key in PEM', c.sets('server', key=nothing), c.sets('worker', key=nothing)),
                ('encrypted', r'encrypted\.key is encrypted, and there is nobody to ask .*openssl pkey -in',
                 c.sets('server', key=encrypted), c.sets('worker', key=encrypted)),
                ('empty ca', r"nothing holds no CA's certificate in PEM", c.sets('server', ca=nothing),
                 c.sets('worker', ca=nothing)),
                ('ca is a key', r"holds no CA's certificate in PEM", c.sets('server', ca=c.key('ca')),
                 c.sets('worker', ca=c.key('ca'))),
                ('wrong side', r'is not for a', c.sets('worker'), c.sets('server'))):
            with self.subTest(name):
                self.refused(words, server=server, worker=worker, tool=name != 'wrong side')
        c.cert('server').write_bytes(b'')
        self.refused(r'holds no certificate in PEM', server=c.sets('server'), tool=True)

    def test_a_key_that_others_may_read(self):
        for mode in (0o644, 0o620, 0o604):
            for who in ('server', 'worker'):
                self.certs.key(who).chmod(mode)
            with self.subTest(oct(mode)):
                self.refused(rf'mode {mode:04o}.*chmod 600', server=self.certs.sets('server'),
                             worker=self.certs.sets('worker'), tool=True)
        self.certs.key('server').chmod(0o400)
        self.assertTrue(self.serve(*SHORT).alive())

    def test_not_valid_now(self):
        for name, days, words in (('expired', (-9, -1), r'expired on .*make another one'),
                                  ('early', (2, 9), r"is valid from .* on only: is this machine's clock right\?")):
            self.certs.make(f'server-{name}', certificates.SERVER, 'serverAuth', days)
            self.certs.make(f'worker-{name}', days=days)
            with self.subTest(name):
                self.refused(words, server=self.certs.sets(f'server-{name}'), worker=self.certs.sets(f'worker-{name}'),
                             tool=True)

    def test_the_wrong_side_says_what_is_missing(self):
        self.refused(r'is not for a server: its extendedKeyUsage lacks serverAuth', server=self.certs.sets('worker'))
        self.refused(r'is not for a worker or operator: its extendedKeyUsage lacks clientAuth',
                     worker=self.certs.sets('server'))

    def test_some_of_the_keys_only(self):
        sets = self.certs.sets('server')
        for left_out in range(3):
            server = self.start_server(*[item for i, item in enumerate(sets) if i != left_out], wait=False)
            self.wait_for_end(server, 2)
            self.assertRegex(server.err(), r'security\.tls takes cert, key and ca together')
        server = self.start_server('security.tls.name=x', wait=False)
        self.wait_for_end(server, 2)
        self.assertRegex(server.err(), r'security\.tls\.name.*means nothing without')

    def test_check_says_whose_they_are(self):
        for who, side in (('server', 'server'), ('worker', 'worker')):
            out = self.tool('check', harness.DIGITS, *[x for item in self.certs.sets(who) for x in ('--set', item)])
            self.assertRegex(out, rf"security\.tls: for a {side}: certificate of '{who}' in .*, valid until ")


class BadLines(Tls):
    JOB = ('workers=2', 'server.min_live=2', 'train.rounds=60', 'optimizer.switch.when=at', 'optimizer.switch.step=20',
           'optimizer.switch.to=margin', 'optimizer.margin.until=0.67', 'optimizer.sgd.lr=0.05', CHUNKS)

    def through(self, policy, times):
        """A job whose second worker loses its connection so many times."""
        server = self.serve(*self.JOB)
        proxy = wire.Proxy(server.address(), policy)
        self.addCleanup(proxy.close)
        workers = self.pinned(server, CHUNKS, addresses=[server.address(), proxy.address])
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.assertEqual([(s['joins'], s['votes']) for s in summary['slots']][0], (1, summary['rounds']))
        self.assertEqual(summary['slots'][1]['joins'], times + 1)
        self.check_weights(summary, workers)
        self.assertEqual(len(proxy.policies), times + 1)
        return server, workers[1]

    def test_cut_in_the_middle(self):
        for direction, limits in ((wire.UP, (250000, 90001, 600000)), (wire.DOWN, (700001, 600100, 900007))):
            with self.subTest(direction):
                limits = (*limits, None)
                _, worker = self.through(lambda n, d=direction, l=limits: wire.CutAfter(n, d, l[min(n, 3)]), 3)
                self.assertEqual(len(re.findall(r'lost the server', worker.err())), 3)

    def test_damaged_on_the_way(self):
        """One bit turned over, after the handshake: the side that reads it says so, and the worker comes again."""
        for direction, places in ((wire.UP, (50000, 50001, 777777)), (wire.DOWN, (650000, 650001, 900000))):
            with self.subTest(direction):
                places = (*places, None)
                server, worker = self.through(lambda n, d=direction, p=places: wire.Damage(n, d, p[min(n, 3)]), 3)
                said = (server if direction == wire.UP else worker).err()
                self.assertEqual(len(re.findall(r'what came is no TLS, or was changed on its way', said)), 3, said)

    def test_damaged_handshake(self):
        """In the first bytes, either way: nobody takes it for a wrong certificate, and the worker comes again."""
        for direction in (wire.UP, wire.DOWN):
            with self.subTest(direction):
                places = (1, 3, 5, 40, 130, 300, None)
                server = self.serve(*SHORT)
                proxy = wire.Proxy(server.address(), lambda n, d=direction, p=places: wire.Damage(n, d, p[min(n, 6)]))
                self.addCleanup(proxy.close)
                workers = self.pinned(server, addresses=[server.address(), proxy.address])
                self.check_undisturbed(self.finish(server, workers), workers)

    def test_crumbs_and_delays(self):
        """In pieces of 7 bytes, or late: the same weights."""
        plain = self.plain(*SHORT)
        for name, policy in (('up', lambda n: wire.Trickle(n, wire.UP, 7, 40000)),
                             ('down', lambda n: wire.Trickle(n, wire.DOWN, 7, 40000)),
                             ('late', lambda n: wire.Delay(n, 0.004, n))):
            with self.subTest(name):
                server = self.serve(*SHORT, run=name)
                proxy = wire.Proxy(server.address(), policy)
                self.addCleanup(proxy.close)
                workers = self.pinned(server, addresses=[server.address(), proxy.address])
                summary = self.finish(server, workers)
                self.check_undisturbed(summary, workers)
                self.assertEqual(summary['weights_digest'], plain)


if __name__ == '__main__':
    harness.main()
