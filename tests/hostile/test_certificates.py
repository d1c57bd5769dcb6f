"""Peers with certificates that are not theirs to show, on either side, and peers that misuse good ones. A job of two workers
runs all the while and must not notice."""
import ctypes
import ctypes.util
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'integration'))

import certificates  # noqa: E402
import handshake  # noqa: E402
import harness  # noqa: E402
import wire  # noqa: E402

# Without a journal, whose memory grows in the first seconds: see hostile.py.
JOB = ('workers=2', 'train.epochs=30000', 'optimizer.switch.when=never', 'server.limits.joins=100000',
       'server.journal.enabled=false', 'server.checkpoint.enabled=false')
GROWTH_MAX_KB = 24 * 1024  # of the server, whatever strangers do; sanitizers keep what was freed
GROWTH_MAX_KB *= 16 if harness.SLOW > 1 else 1


def resident_kb(process):
    with open(f'/proc/{process.pid}/status', encoding='ascii') as status:
        return int(re.search(r'VmRSS:\s+(\d+) kB', status.read()).group(1))


class Hostile(harness.Case):
    """Certificates, and a way to be refused."""

    def setUp(self):
        self.certs = certificates.copy(self.folder / 'certs')
        self.others = certificates.copy(self.folder / 'others', 'two')

    def begin(self, *sets):
        """A job over TLS that goes on until it is stopped."""
        self.server = self.start_server(*JOB, *sets, *self.certs.sets('server'))
        models = [item for item in sets if item.startswith('security.token_file')]
        self.workers = [self.start_worker(self.server, *models, *self.certs.sets('worker'), slot=slot) for slot in range(2)]
        self.wait_for_round(self.server, 10)
        self.before_kb = resident_kb(self.server)

    def end(self):
        """Nobody in the job noticed."""
        self.assertLess(resident_kb(self.server), self.before_kb + GROWTH_MAX_KB)
        self.wait_for_round(self.server, self.server.status()['round'] + 10)
        self.server.send(signal.SIGTERM)
        summary = self.finish(self.server, self.workers)
        self.assertEqual([s['votes'] for s in summary['slots']], [summary['rounds_done']] * 2)
        self.assertEqual([s['joins'] for s in summary['slots']], [1, 1])
        self.assertEqual(sum(s['resyncs'] for s in summary['slots']), 0)
        for worker in self.workers:
            self.assertNotIn('lost the server', worker.err())

    def connect(self):
        host, port = self.server.address().rsplit(':', 1)
        s = socket.create_connection((host, int(port)), timeout=harness.seconds(15))
        self.addCleanup(s.close)
        return s

    def hits(self, limit):
        return self.server.status()['sent_away'][limit]

    def client(self, context):
        """Speaks frames over TLS, whatever its certificate."""
        client = handshake.Client(self.server.address(), harness.seconds(15))
        client.socket = context.wrap_socket(client.socket, server_hostname='localhost')
        self.addCleanup(client.socket.close)
        return client


class Clients(Hostile):
    def make_odd_ones(self):
        """name -> (folder, words of the server's log)."""
        c = self.certs
        c.make('expired', days=(-9, -1))
        c.make('early', days=(2, 9))
        c.make('selfsigned', signer=None)
        c.make('nouse', use='codeSigning')
        c.make('server-as-worker', certificates.WORKER + ',' + certificates.SERVER, 'serverAuth')
        # Signed by a worker, which is no CA; its chain leads to ours.
        c.make('by-worker', signer='worker')
        c.cert('by-worker').write_bytes(c.cert('by-worker').read_bytes() + c.cert('worker').read_bytes())
        trust = r'its certificate is not trusted: '
        use = r'its certificate is not that of a worker or operator \(extendedKeyUsage\)'
        return {'expired': (c, r'its certificate is not valid now \(certificate has expired\)'),
                'early': (c, r'its certificate is not valid now \(certificate is not yet valid\)'),
                'selfsigned': (c, trust + r'self.signed certificate \(who signs is in .*ca\.crt\)'),
                'nouse': (c, use), 'server': (c, use), 'server-as-worker': (c, use),
                'by-worker': (c, r'its certificate is not (trusted|that of a worker)'),
                'worker': (self.others, trust + r'(unable to get local issuer certificate|self.signed certificate in certificate chain)')}

    def is_refused(self, context):
        """By an alert, which a client of TLS 1.3 reads after its own handshake."""
        s = self.connect()
        with self.assertRaises(ssl.SSLError) as caught:
            with context.wrap_socket(s, server_hostname='localhost') as tls:
                tls.sendall(b'SGNP')
                tls.recv(1)
        self.assertIn('ALERT', caught.exception.reason or str(caught.exception))
        return caught.exception.reason

    def test_certificates_that_are_refused(self):
        odd = self.make_odd_ones()
        self.begin()
        for name, (folder, words) in odd.items():
            with self.subTest(name):
                self.is_refused(folder.client(name, check=False))
                self.wait_for_words(self.server, rf'warn .*sent away: TLS: {words}')
        with self.subTest('none'):
            self.assertIn('CERTIFICATE_REQUIRED', self.is_refused(self.certs.client(check=False)))
            self.wait_for_words(self.server, r'warn .*sent away: TLS: it showed no certificate')
        self.assertEqual(self.hits('tls'), len(odd) + 1)
        self.end()

    def test_a_certificate_without_the_role(self):
        """Ours, but it says of nobody that he may be a worker: that is not looked for elsewhere in it."""
        c = self.certs
        c.make('nameless', names=None)
        c.make('almost', 'URI:signpost:worker2,DNS:signpost:worker,email:signpost:worker,URI:SIGNPOST:WORKER,URI:signpost:worke')
        c.make('signpost:worker', 'DNS:x.example')  # as its common name
        self.begin()
        for name in ('nameless', 'almost', 'signpost:worker', 'operator'):
            with self.subTest(name):
                client = self.client(c.client(name))
                client.hello(nonce=None)
                reason, words = client.goodbye()
                self.assertEqual(reason, handshake.SECRET)
                self.assertIn("this certificate is not a worker's", words)
        for name in ('nameless', 'worker'):
            with self.subTest(name, role='operator'):
                client = self.client(c.client(name))
                client.hello(nonce=None, role=handshake.OPERATOR)
                reason, words = client.goodbye()
                self.assertEqual(reason, handshake.SECRET)
                self.assertIn("this certificate is not an operator's", words)
        self.wait_for_words(self.server, r"warn .*sent away: this certificate is not a worker's")
        self.assertEqual(self.hits('secret'), 6)
        self.end()

    def test_a_chain_that_is_too_long(self):
        """More bytes of certificates than a server takes."""
        path = self.certs.cert('worker')
        path.write_bytes(path.read_bytes() * 80)
        context = self.certs.client('worker')
        certificates.copy(self.folder / 'fresh')
        shown = (self.folder / 'fresh/worker.crt').read_bytes()
        path.write_bytes(shown)
        self.begin()
        for _ in range(30):
            s = self.connect()
            with self.assertRaises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
                with context.wrap_socket(s, server_hostname='localhost') as tls:
                    tls.recv(1)
        self.wait_for_words(self.server, r'warn .*sent away: TLS: .*excessive message size')
        self.end()

    def test_certificates_that_take_long_to_read(self):
        """OpenSSL reads every key before it asks whether it trusts any: many of them, or a curve that is spelt out, are
        refused before that, also if they are signed by our CA."""
        c = self.certs
        extra = ('-pkeyopt', 'ec_param_enc:explicit')
        key = c.key('explicit')
        certificates.openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', *extra, '-out', key)
        certificates.openssl('req', '-x509', '-new', '-key', key, '-subj', '/CN=explicit', '-days', '2', '-out',
                             c.cert('explicit'))
        shown = c.cert('worker').read_bytes()
        contexts = [c.client('explicit', check=False)]
        c.cert('worker').write_bytes(shown * 5)
        contexts.append(c.client('worker'))
        c.cert('worker').write_bytes(shown * 4)
        enough = c.client('worker')
        c.cert('worker').write_bytes(shown)
        self.begin()
        for context in contexts:
            self.assertIn('DECODE_ERROR', self.is_refused(context))
        self.wait_for_words(self.server, r'warn .*sent away: TLS: what came is no TLS, or was changed on its way \(invalid context\)')
        self.assertEqual(self.hits('tls'), len(contexts))
        client = self.client(enough)
        client.hello(nonce=None, role=handshake.OPERATOR)
        self.assertIn("this certificate is not an operator's", client.goodbye()[1])
        self.end()

    def test_a_second_first_message(self):
        """A client without a key for our groups is not asked for another: that one would be looked at by nobody."""
        self.begin()
        for groups in ('P-384:X25519', 'P-384', 'ffdhe8192'):
            with self.subTest(groups):
                done = subprocess.run(['openssl', 's_client', '-connect', self.server.address(), '-tls1_3', '-groups', groups],
                                      stdin=subprocess.DEVNULL, capture_output=True, timeout=harness.seconds(20), check=False)
                self.assertIn(b'no peer certificate available', done.stdout)
                self.assertRegex(done.stdout + done.stderr, rb'alert|unexpected eof')
        self.wait_for_words(self.server, r'warn .*sent away: TLS: its first message of TLS has no key for X25519 or P-256')
        self.assertEqual(self.hits('tls'), 3)
        self.end()

    def test_many_of_them(self):
        """Hundreds of handshakes that fail, some of them left in the middle: the server's memory does not grow, its log
        does not either, and the job goes on."""
        self.certs.make('selfsigned', signer=None)
        self.begin()
        context = self.certs.client('selfsigned', check=False)
        for i in range(300):
            s = self.connect()
            try:
                with context.wrap_socket(s, server_hostname='localhost') as tls:
                    if i % 3 == 0:
                        continue  # it goes without a look at the answer
                    tls.recv(1)
            except OSError:
                pass
        self.wait_for(lambda: self.hits('tls') >= 200, 'the server to have refused most of them')
        said = len(re.findall(r'sent away: TLS: its certificate is not trusted', self.server.err()))
        self.assertTrue(1 <= said <= 100, said)
        self.end()

    def test_flood_of_key_updates(self):
        """A worker's certificate, and a client that changes keys for ever, asks for the same each time, and reads none of
        the answers: they do not pile up."""
        self.begin()
        with Raw(self.server.address(), self.certs) as raw:
            deadline = time.monotonic() + 8
            n = 0
            while time.monotonic() < deadline and raw.update_keys(1000):
                n += 1000
            grown = resident_kb(self.server) - self.before_kb
            self.assertLess(grown, GROWTH_MAX_KB, f'after {n} changes')
        self.wait_for_round(self.server, self.server.status()['round'] + 10)
        self.end()


class Raw:
    """OpenSSL itself, for what Python's ssl does not do."""

    def __init__(self, address, certs):
        host, port = address.rsplit(':', 1)
        self.lib = lib = ctypes.CDLL(ctypes.util.find_library('ssl') or 'libssl.so.3')
        self.crypto = crypto = ctypes.CDLL(ctypes.util.find_library('crypto') or 'libcrypto.so.3')
        for function in (lib.TLS_client_method, lib.SSL_CTX_new, lib.SSL_new, crypto.BIO_s_mem, crypto.BIO_new):
            function.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
        if lib.SSL_CTX_use_certificate_chain_file(self.context, str(certs.cert('worker')).encode()) != 1 or \
                lib.SSL_CTX_use_PrivateKey_file(self.context, str(certs.key('worker')).encode(), 1) != 1:
            raise RuntimeError('OpenSSL does not take the certificate')
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect((host, int(port)))
        self.ssl = ctypes.c_void_p(lib.SSL_new(self.context))
        lib.SSL_set_fd(self.ssl, self.socket.fileno())
        if lib.SSL_connect(self.ssl) != 1:
            raise RuntimeError('no connection')
        self.out = ctypes.c_void_p(crypto.BIO_new(ctypes.c_void_p(crypto.BIO_s_mem())))
        lib.SSL_set0_wbio(self.ssl, self.out)
        self.socket.settimeout(harness.seconds(15))
        self.buffer = ctypes.create_string_buffer(65536)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lib.SSL_free(self.ssl)
        self.lib.SSL_CTX_free(self.context)
        self.socket.close()

    def update_keys(self, times):
        """Ours, with the wish that the other side does so too. False: it does not listen any more."""
        for _ in range(times):
            if self.lib.SSL_key_update(self.ssl, 1) != 1 or self.lib.SSL_do_handshake(self.ssl) != 1:
                raise RuntimeError('OpenSSL does not change keys')
        try:
            while (n := self.crypto.BIO_read(self.out, self.buffer, len(self.buffer))) > 0:
                self.socket.sendall(self.buffer.raw[:n])
        except OSError:
            return False
        return True


class Servers(Hostile):
    def pose(self, context):
        """A server that shows a certificate and then reads; returns its address and what it was sent inside TLS."""
        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)
        heard = []

        def serve():
            while True:
                try:
                    s, _ = listener.accept()
                except OSError:
                    return
                s.settimeout(harness.seconds(15))
                try:
                    with context.wrap_socket(s, server_side=True) as tls:
                        heard.append(tls.recv(65536))
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        return '127.0.0.1:%d' % listener.getsockname()[1], heard

    def test_servers_that_are_refused(self):
        """Certificates do not become right by waiting: the worker ends, with 1 and words, and tells them nothing."""
        c, both = self.certs, certificates.WORKER + ',' + certificates.SERVER
        c.make('expired', certificates.SERVER, 'serverAuth', days=(-9, -1))
        c.make('early', certificates.SERVER, 'serverAuth', days=(2, 9))
        c.make('selfsigned', certificates.SERVER, 'serverAuth', signer=None)
        c.make('elsewhere', 'DNS:elsewhere.example,IP:127.0.0.2', 'serverAuth')
        c.make('nameless', None, 'serverAuth')
        c.make('127.0.0.1', 'DNS:127.0.0.1', 'serverAuth')  # an address as a name is none
        c.make('worker-at-home', both, 'clientAuth')
        c.make('by-worker', certificates.SERVER, 'serverAuth', signer='worker')
        c.cert('by-worker').write_bytes(c.cert('by-worker').read_bytes() + c.cert('worker').read_bytes())
        name, trust = r"its certificate does not name '127\.0\.0\.1'", r'its certificate is not trusted: '
        for who, folder, words in (
                ('expired', c, r'not valid now \(certificate has expired\)'), ('early', c, r'not valid now'),
                ('selfsigned', c, trust + r'self.signed certificate'), ('elsewhere', c, name), ('nameless', c, name),
                ('127.0.0.1', c, name), ('worker', c, r'its certificate is not that of a server \(extendedKeyUsage\)'),
                ('operator', c, r'its certificate is not that of a server'),
                ('worker-at-home', c, r'its certificate is not that of a server'),
                ('by-worker', c, r'its certificate is not (trusted|that of a server)'),
                ('server', self.others, trust + r'(unable to get local issuer certificate|self.signed certificate in certificate chain)')):
            with self.subTest(who):
                context = folder.server(who)
                address, heard = self.pose(context)
                worker = self.start_worker(address, *self.certs.sets('worker'))
                self.wait_for_end(worker, 1)
                self.assertRegex(worker.err(), rf'TLS with the server {address}: .*{words}')
                self.assertNotIn('lost the server', worker.err())
                self.assertEqual([x for x in heard if x], [], 'it was told nothing')

    def test_an_old_version(self):
        """TLS 1.2 is refused, and waited for: the server may be replaced."""
        context = self.certs.server()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        address, heard = self.pose(context)
        worker = self.start_worker(address, *self.certs.sets('worker'))
        self.wait_for_words(worker, r'waiting for the server .*\(it does not speak TLS 1\.3\)')
        self.assertTrue(worker.alive())
        self.assertEqual([x for x in heard if x], [])

    def relay(self, target):
        """Ends TLS on both sides with certificates that both sides take, and passes on what is inside."""
        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)
        shown, own = self.certs.server(), self.certs.client('worker')
        host, port = target.rsplit(':', 1)
        passed = {wire.UP: b'', wire.DOWN: b''}

        def pump(direction, source, sink):
            try:
                while data := source.recv(65536):
                    passed[direction] += data
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

        def serve():
            while True:
                try:
                    s, _ = listener.accept()
                    inner = shown.wrap_socket(s, server_side=True)
                    outer = own.wrap_socket(socket.create_connection((host, int(port))), server_hostname='localhost')
                except OSError:
                    return
                for way in ((wire.UP, inner, outer), (wire.DOWN, outer, inner)):
                    threading.Thread(target=pump, args=way, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        return '127.0.0.1:%d' % listener.getsockname()[1], passed

    def test_a_proof_holds_for_its_own_connection_only(self):
        """Somebody with a server's certificate and a worker's sits in between. Without a secret he can; with one the proofs
        that he passes on are of another connection, and the worker notices before it has said more."""
        token = self.folder / 't'
        token.write_text('5a' * 32)
        token.chmod(0o600)
        self.begin(f'security.token_file={token}')
        address, passed = self.relay(self.server.address())
        worker = self.start_worker(address, f'security.token_file={token}', *self.certs.sets('worker'))
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err(), r'did not prove that it holds the same secret as this worker')
        self.wait_for_words(self.server, r"left in the handshake: it said goodbye: the server's proof is wrong")
        self.assertEqual([f.type for f, _ in wire.Splitter().feed(passed[wire.UP])], [wire.HELLO, wire.BYE])
        self.assertEqual([f.type for f, _ in wire.Splitter().feed(passed[wire.DOWN])], [wire.CHALLENGE])
        # The other way round: who knows the secret, but makes his proof for a connection without TLS, or with another one.
        for channel in (bytes(4), b'\x20\0\0\0' + bytes(32)):
            client = self.client(self.certs.client('worker'))
            client.hello()
            client.challenge()
            text = handshake.hmac.new(bytes.fromhex('5a' * 32), b'SGNPAUTH' + bytes([wire.VERSION, 0, 0, 0]) + client.nonce +
                                      client.server_nonce + handshake.struct.pack('<IQI', 0, 0, 6) + b'digits' + channel,
                                      'sha256').digest()
            client.prove(text)
            reason, words = client.goodbye()
            self.assertEqual((reason, 'the proof is wrong' in words), (handshake.SECRET, True))
        self.end()

    def test_the_relay_does_relay(self):
        """Without a secret the same one in between is not noticed: his certificates are good. So the test above tests what
        it says."""
        server = self.start_server('workers=1', 'train.rounds=5', *self.certs.sets('server'))
        address, passed = self.relay(server.address())
        worker = self.start_worker(address, *self.certs.sets('worker'))
        self.assert_done(self.finish(server, [worker]))
        self.assertIn(b'SGNP', passed[wire.UP])


if __name__ == '__main__':
    harness.main()
