"""signpost check: the memory that it states beside what processes take, and --connect with everything that can be in the
way of a worker."""
import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import unittest.mock

import certificates
import handshake
import harness
import wire

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
NO_DATA = harness.ROOT / 'worker/examples/quadratic.yaml'
LONG = ('train.epochs=3000',)
ANSWER = {'version': '9.8.7', 'job': 'digits', 'workers': 4, 'taken': 3, 'slot': 3, 'compared': True, 'started': True,
          'round': 5, 'rounds': 690, 'phase': 'sign'}


class Fake:
    """Listens, and does to each connection what `talk(socket)` does."""

    def __init__(self, talk):
        self.talk = talk
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.address = '127.0.0.1:%d' % self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            with s, contextlib.suppress(OSError):
                s.settimeout(harness.seconds(20))
                self.talk(s)

    def close(self):
        self.listener.close()


def says(raw, first=True):
    """Hears something, unless it speaks first; says it, and waits for the other side to go."""
    def talk(s):
        if not first:
            s.recv(65536)
        s.sendall(raw)
        while s.recv(65536):
            pass
    return talk


def answers(**more):
    """A Signpost server without secret that lets everybody in."""
    return says(handshake.frame(wire.ANSWER, handshake.data(1, json.dumps({**ANSWER, **more}).encode())), first=False)


def refuses(reason, words):
    return says(handshake.frame(wire.BYE, handshake.uint(1, reason) + handshake.data(2, words)), first=False)


class Preflight(harness.Case):
    def check(self, *arguments, config=harness.DIGITS, code=0):
        """(standard output, standard error)."""
        done = subprocess.run([SIGNPOST, 'check', str(config), *map(str, arguments)], capture_output=True, text=True,
                              timeout=harness.seconds(60), cwd=self.folder, check=False)
        self.assertEqual(done.returncode, code, done.stdout[-600:] + done.stderr)
        self.assertNotRegex(done.stderr, harness.COMPLAINTS)
        return done.stdout, done.stderr

    def connect(self, address, *sets, code=0, config=harness.DIGITS):
        arguments = [x for item in sets for x in ('--set', item)]
        return self.check(*arguments, '--connect', address, config=config, code=code)

    def let_in(self, server, words, *sets, **more):
        address = server if isinstance(server, str) else server.address()
        out, err = self.connect(address, *sets, **more)
        self.assertEqual(err, '')
        self.assertRegex(out, re.escape(address) + ': would be let in' + words)
        return out

    def refused(self, server, words, *sets, **more):
        address = server if isinstance(server, str) else server.address()
        out, err = self.connect(address, *sets, code=1, **more)
        self.assertIn(f'{address}: would NOT be let in\n', out)
        self.assertRegex(err, f'^signpost: {re.escape(address)}: ' + words)
        self.assertEqual(err.count('\n'), 1, err)
        return err

    def fake(self, talk):
        fake = Fake(talk)
        self.addCleanup(fake.close)
        return fake.address

    def token(self, name):
        subprocess.run([SIGNPOST, 'token', name], cwd=self.folder, check=True, capture_output=True, timeout=60)
        return f'security.token_file={self.folder / name}'


class NobodyThere(Preflight):
    def test_no_such_name(self):
        self.refused('something.invalid:7700', r"cannot resolve host 'something\.invalid': .*spelling.*resolver")

    def test_no_address(self):
        self.refused('here', r"'here' is not HOST:PORT")

    def test_refused(self):
        self.refused(f'127.0.0.1:{harness.free_port()}', r'nobody listens there \(connection refused\): start the server')

    def test_no_answer(self):
        """A queue that is full: what comes next is dropped, as a firewall does."""
        with socket.socket() as full, contextlib.ExitStack() as stack:
            full.bind(('127.0.0.1', 0))
            full.listen(0)
            for _ in range(4):
                s = stack.enter_context(socket.socket())
                s.setblocking(False)
                s.connect_ex(full.getsockname())
            began = time.monotonic()
            self.refused('127.0.0.1:%d' % full.getsockname()[1], r'no answer within 5 s: a firewall drops')
            self.assertTrue(4.5 < time.monotonic() - began < harness.seconds(8))

    def test_the_address_of_the_job(self):
        port = harness.free_port()
        for arguments in (('--connect',), (f'--connect=127.0.0.1:{port}',)):
            _, err = self.check(*arguments, '--set', f'server.listen=127.0.0.1:{port}', code=1)
            self.assertIn(f'127.0.0.1:{port}: nobody listens', err)


class SomebodyElse(Preflight):
    def test_other_servers(self):
        for name, talk, words in (
                ('http', says(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n', first=False),
                 r'no Signpost server answers there: it speaks HTTP'),
                ('ssh', says(b'SSH-2.0-OpenSSH_9.2p1\r\n'), r'no Signpost server answers there: it is an SSH server'),
                ('mail', says(b'220 mail.example ESMTP ready to take what you have to say\r\n'),
                 r'no Signpost server answers there: it is a mail or FTP server'),
                ('unknown', says(b'\x01\x02hello there, whoever you are, this is a service of another kind'),
                 r'no Signpost server answers there: what it says begins with "\\x01\\x02hello there'),
                ('closes', lambda s: s.recv(10), r'it takes the connection and closes it without a word'),
                ('hangs up', lambda s: None, r'it takes the connection and closes it without a word')):
            with self.subTest(name):
                self.refused(self.fake(talk), words)

    def test_with_tls(self):
        """The same to a job that speaks TLS; and one that speaks TLS to a job that does not."""
        certs = certificates.copy(self.folder / 'certs')
        sets = certs.sets('worker')
        self.refused(self.fake(says(b'HTTP/1.1 400 Bad Request\r\n\r\n', first=False)), 'no Signpost.*it speaks HTTP', *sets)
        self.refused(self.fake(says(b'SSH-2.0-OpenSSH_9.2p1\r\n')), 'no Signpost.*it is an SSH server', *sets)
        self.refused(self.fake(lambda s: s.recv(10)), 'it takes the connection and closes it', *sets)
        self.refused(self.fake(self.tls(certs.server(), says(b'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'))),
                     'no Signpost.*it speaks HTTP', *sets)
        self.refused(self.fake(says(b'\x15\x03\x01\0\2\2\x46', first=False)), 'no Signpost.*it speaks TLS, and this job does not')
        self.refused(self.fake(self.tls(certs.server(), says(b''))), 'it takes the connection and closes.*perhaps one that speaks TLS')

    def test_silence(self):
        began = time.monotonic()
        self.refused(self.fake(says(b'')), r'it takes the connection, but says nothing within 5 s')
        self.assertTrue(4.5 < time.monotonic() - began < harness.seconds(8))
        self.refused(self.fake(says(b'SGNP\x04')), r'it takes the connection, begins to answer, and says no more')

    @staticmethod
    def tls(context, talk):
        def wrapped(s):
            with contextlib.suppress(ssl.SSLError), context.wrap_socket(s, server_side=True) as inside:
                talk(inside)
        return wrapped

    def test_certificates_that_are_not_valid(self):
        """A server of ours does not start with such a one."""
        certs = certificates.copy(self.folder / 'certs')
        for name, days, words in (('expired', (-9, -1), r'certificate has expired'),
                                  ('early', (2, 9), r'certificate is not yet valid')):
            with self.subTest(name):
                certs.make(name, certificates.SERVER, 'serverAuth', days=days)
                err = self.refused(self.fake(self.tls(certs.server(name), says(b''))), 'TLS with .*not valid now.*' + words,
                                   *certs.sets('worker'))
                date = r'\w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} GMT'
                self.assertRegex(err, f"it is valid from {date} until {date}, and this machine's clock is at {date}")
                self.assertIn('A wrong clock is a usual cause', err)

    def test_older_servers(self):
        """They know no probe."""
        self.refused(self.fake(refuses(handshake.PROTOCOL, b'HELLO frame: an unknown role')),
                     r'a Signpost server of protocol version 4 listens there, but its release is older than probes')

    def test_a_job_that_is_over(self):
        self.refused(self.fake(refuses(handshake.DONE, b'the job is done: 690 rounds')), 'the job is over: the job is done')
        self.refused(self.fake(refuses(handshake.STOPPED, b'by hand')), 'the job is over: by hand')

    def test_clocks(self):
        for ahead, words in ((100, r'its clock is (99\.9|100\.[0-9]) s ahead of'), (-7200, r'its clock is 7\d{3}\.\d s behind')):
            out = self.let_in(self.fake(lambda s, a=ahead: answers(time=time.time() + a)(s)), ': slots 3 of 4 taken')
            self.assertRegex(out, words)
            self.assertIn("signpost 9.8.7, job 'digits', round 5 of 690, sign phase", out)
        self.assertNotIn('clock', self.let_in(self.fake(lambda s: answers(time=time.time())(s)), ''))


class Servers(Preflight):
    """Real ones."""

    def test_slots(self):
        server = self.start_server(*LONG)
        out = self.let_in(server, r': slots 0 of 4 taken, it would get slot 0\n')
        self.assertRegex(out, r"  signpost \S+, job 'digits', nobody has joined yet; round trip \d+\.\d ms\n")
        self.assertIn('the model was not compared: the server knows of none', out)
        workers = self.start_workers(server, 3)
        self.wait_for(lambda: server.status()['live'] == 3, 'three workers')
        out = self.let_in(server, r': slots 3 of 4 taken, it would get slot 3\n')
        self.assertRegex(out, r'69000 rounds, not started yet, sign phase first; round trip')
        self.assertIn('model and data are those of the job', out)
        workers += self.start_workers(server, 1)
        self.wait_for_round(server, 20)
        out = self.let_in(server, r' as a spare: slots 4 of 4 taken, it would wait')
        self.assertRegex(out, r'round \d+ of 69000, sign phase')
        self.wait_for_words(server, r'info .*a probe \(signpost \S+\): a worker would get slot 3')
        status = server.status()
        self.assertEqual((status['live'], status['spares'], [s['joins'] for s in status['slots']]), (4, 0, [1] * 4))
        server.ask('stop')
        summary = self.finish(server, workers)
        self.assertEqual([s['votes'] for s in summary['slots']], [summary['rounds_done']] * 4)
        self.assertEqual([s['missed'] + s['resyncs'] for s in summary['slots']], [0] * 4)

    def test_what_does_not_match(self):
        server = self.start_server(*LONG)
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 5)
        self.refused(server, r"it is another job's server: this server runs job 'digits', not 'letters'", 'job=letters')
        self.refused(server, r"wrong layout: .*from tensor 0 on: here 'dense1\.weight' with 4096 coordinates, there "
                             r"'dense1\.weight' with 4160", 'model.hidden=[65]')
        self.refused(server, r'wrong layout: .*the model has 6 tensors, the job.s has 4', 'model.hidden=[64, 10]')
        test = 'digits/test-{}-idx{}-ubyte'
        self.refused(server, r'other data: the job has 1437 training examples, this worker 360',
                     f'data.train.images={harness.ROOT / "configs" / test.format("images", 3)}',
                     f'data.train.labels={harness.ROOT / "configs" / test.format("labels", 1)}')
        self.assertEqual(server.status()['live'], 4)
        self.assertTrue(all(w.alive() for w in workers))

    def test_a_job_without_data(self):
        server = self.start_server(config=NO_DATA)
        out = self.let_in(server, r': slots 0 of 2 taken, it would get slot 0', config=NO_DATA)
        self.assertIn('the model was not compared: without data of its own', out)
        self.refused(server, r"it is another job's server: .*'quadratic', not 'other'", 'job=other', config=NO_DATA)

    def test_versions(self):
        for version in ('3', '5'):
            program = os.environ.get(f'SP_SIGNPOSTD_{version}')
            if not program:
                self.skipTest('needs meson, which builds servers of other versions')
            run = self.folder / f'v{version}'
            self.start(f'server-{version}', program, '--config', harness.DIGITS, '--listen', '127.0.0.1:0', '--out', run)
            self.wait_for((run / 'address').exists, 'the server to listen')
            self.refused((run / 'address').read_text(),
                         rf"the server speaks version {version} of Signpost's protocol, this program version 4: install")

    def test_secrets(self):
        one, other = self.token('one'), self.token('other')
        server = self.start_server(*LONG, one)
        self.let_in(server, ': slots 0 of 4', one)
        self.refused(server, r'not authorised: this server asks workers for a secret', )
        self.refused(server, r'not authorised: the server .* did not prove that it holds this secret: its '
                             r'security\.token_file differs', other)
        open_ = self.start_server(*LONG, run='open')
        self.refused(open_, r'not authorised: this server runs without a secret, and the worker has one', one)

    def test_limits(self):
        server = self.start_server(*LONG, 'server.limits.joins=1')
        host, port = server.address().split(':')
        for _ in range(4):
            socket.create_connection((host, int(port))).close()
        self.refused(server, r'the server is at its limit: too many connections came from this address within seconds')

    def test_tls(self):
        certs = certificates.copy(self.folder / 'certs')
        others = certificates.copy(self.folder / 'others', 'two')
        server = self.start_server(*LONG, *certs.sets('server'))
        plain = self.start_server(*LONG, run='plain')
        worker = certs.sets('worker')
        self.let_in(server, ': slots 0 of 4', *worker)
        self.refused(server, r'the server asks for TLS, and this job has none: set security\.tls\.cert')
        self.refused(plain, r'the server runs without TLS, and this job asks for it', *worker)
        self.refused(server, r"not authorised: this certificate is not a worker's", *certs.sets('operator'))
        self.refused(server, r'TLS with .*certificate is not trusted', *others.sets('worker'))
        # It knows the server's CA, but the server does not know its.
        err = self.refused(server, r'TLS with .*the other side does not know who signed our certificate',
                           *others.sets('worker', ca=certs.ca))
        self.assertRegex(err, r"ours is the certificate of 'worker' in .*valid until .*this machine's clock is at")
        self.refused(server, r"TLS with .*certificate does not name 'elsewhere\.example'", *worker,
                     'security.tls.name=elsewhere.example')
        certs.make('old', days=(-9, -1))
        _, err = self.connect(server.address(), *certs.sets('old'), code=1)
        self.assertRegex(err, r"certificate in .*old\.crt expired on .*unless this machine's clock, at .*, is wrong")

    def test_tls_and_secret(self):
        certs = certificates.copy(self.folder / 'certs')
        one, other = self.token('one'), self.token('other')
        server = self.start_server(*LONG, one, *certs.sets('server'))
        self.let_in(server, ': slots 0 of 4', one, *certs.sets('worker'))
        self.refused(server, 'not authorised: the server .* did not prove', other, *certs.sets('worker'))


class Memory(Preflight):
    """A model of a million parameters in its three phases, with a checkpoint in each."""
    SETS = ('model.hidden=[950, 950]', 'train.batch=4', 'train.rounds=60', 'optimizer.switch.when=at',
            'optimizer.switch.step=20', 'optimizer.switch.to=margin', 'optimizer.margin.until=0.67',
            'optimizer.sgd.lr=0.01', 'server.checkpoint.every=10')

    @staticmethod
    def peak_mb(process):
        with contextlib.suppress(OSError, TypeError):
            with open(f'/proc/{process.pid}/status', encoding='ascii') as status:
                return int(re.search(r'VmHWM:\s+(\d+)', status.read())[1]) * 1024 / 1e6
        return 0.0

    def near(self, who, said, measured):
        self.assertTrue(abs(said - measured) <= max(0.25 * measured, 8.0), f'{who}: {said} MB stated, {measured:.1f} taken')

    @unittest.skipIf(harness.SLOW > 1, 'a sanitizer takes memory of its own')
    def test_it_is_what_processes_take(self):
        out, _ = self.check(*[x for item in self.SETS for x in ('--set', item)])
        said = {who: float(mb) for who, mb in re.findall(r'memory of (the server|a worker) in MB, at most ([\d.]+)', out)}
        for words in ('weights', 'pushes, 4 chunks a worker', 'vote counts', 'what int8 left out', 'momentum'):
            self.assertRegex(out, rf'(?m)^  {words} +\d')
        # What the test runner may ask of malloc touches all memory; and a disk that is busy makes the journal wait.
        with unittest.mock.patch.dict(os.environ), tempfile.TemporaryDirectory(prefix='sp-', dir=self.fast()) as run:
            os.environ.pop('MALLOC_PERTURB_', None)
            peaks = self.run_job(run)
        self.near('the server', said['the server'], peaks[0])
        self.near('a worker', said['a worker'], max(peaks[1:]))

    @staticmethod
    def fast():
        return '/dev/shm' if os.access('/dev/shm', os.W_OK) else None

    def run_job(self, run):
        """The most that each process took."""
        server = self.start_server('workers=4', *self.SETS, run=run)
        workers = self.start_workers(server, 4, *self.SETS)
        peaks = {}
        while server.alive():
            for p in (server, *workers):
                peaks[p] = max(peaks.get(p, 0.0), self.peak_mb(p))
            time.sleep(0.01)
        self.finish(server, workers)
        return [peaks[p] for p in (server, *workers)]


if __name__ == '__main__':
    harness.main()
