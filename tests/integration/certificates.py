"""Certificates for tests: those of deploy/make-certs.sh, and odd ones made by openssl."""
import datetime
import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import harness

MAKE = harness.ROOT / 'deploy/make-certs.sh'
WORKER, OPERATOR = 'URI:signpost:worker', 'URI:signpost:operator'
SERVER = 'DNS:localhost,IP:127.0.0.1,IP:::1'
DAY = datetime.timedelta(days=1)

CONFIG = """[ca]
default_ca = all
[all]
database = {work}/index
serial = {work}/serial
new_certs_dir = {work}
policy = any
default_md = sha256
unique_subject = no
[any]
commonName = supplied
"""


def openssl(*arguments, **more):
    done = subprocess.run(['openssl', *map(str, arguments)], capture_output=True, timeout=60, check=False, **more)
    if done.returncode != 0:
        raise RuntimeError(f'openssl {arguments[0]}: {done.stderr.decode(errors="replace")}')
    return done.stdout


class Folder:
    """A CA, and what it signed: NAME.crt and NAME.key. As it begins: server, worker, operator."""

    def __init__(self, path, *arguments):
        self.path = Path(path)
        self.run(*arguments)

    def run(self, *arguments):
        done = subprocess.run(['bash', MAKE, self.path, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                              check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout

    def cert(self, name):
        return self.path / f'{name}.crt'

    def key(self, name):
        return self.path / f'{name}.key'

    @property
    def ca(self):
        return self.cert('ca')

    def sets(self, who, ca=None, key=None):
        """What a job file says of these files, as server.start_server() and start_worker() take it."""
        return (f'security.tls.cert={self.cert(who)}', f'security.tls.key={key or self.key(who)}',
                f'security.tls.ca={ca or self.ca}')

    def tool(self, who):
        """The same for the operator's tool."""
        return ('--cert', self.cert(who), '--key', self.key(who), '--ca', self.ca)

    def make(self, name, names=WORKER, use='clientAuth', days=(-1, 30), signer='ca', algorithm=('EC', 'ec_paramgen_curve:P-256')):
        """A key and a certificate, valid from and until so many days from now; `signer` None: it signs itself. No names,
        no use: none in the certificate."""
        with tempfile.TemporaryDirectory(prefix='sp-certs-') as work:
            work = Path(work)
            key = self.key(name)
            openssl('genpkey', '-algorithm', algorithm[0], '-pkeyopt', algorithm[1], '-out', key)
            key.chmod(0o600)
            extensions = 'basicConstraints=critical,CA:FALSE\n'
            extensions += f'extendedKeyUsage={use}\n' if use else ''
            extensions += f'subjectAltName={names}\n' if names else ''
            (work / 'extensions').write_text(extensions)
            (work / 'index').touch()
            (work / 'serial').write_text('7f' + os.urandom(12).hex())
            (work / 'config').write_text(CONFIG.format(work=work))
            openssl('req', '-new', '-key', key, '-subj', f'/CN={name}', '-out', work / 'request')
            by = ('-selfsign', '-keyfile', key) if signer is None else ('-cert', self.cert(signer), '-keyfile', self.key(signer))
            now = datetime.datetime.now(datetime.timezone.utc)
            first, last = ((now + d * DAY).strftime('%Y%m%d%H%M%SZ') for d in days)
            # Of `openssl x509` only version 3.4 and later has dates.
            openssl('ca', '-batch', '-notext', '-config', work / 'config', *by, '-startdate', first, '-enddate',
                    last, '-extfile', work / 'extensions', '-in', work / 'request', '-out', self.cert(name))
        return self.cert(name)

    def replace(self, name, by, source=None):
        """NAME's files become those of another one, as somebody does who renews them."""
        source = source or self
        for mine, other in ((self.key(name), source.key(by)), (self.cert(name), source.cert(by))):
            new = mine.with_suffix('.new')
            shutil.copy(other, new)  # with its mode
            os.replace(new, mine)

    def serial(self, name):
        return int(openssl('x509', '-in', self.cert(name), '-noout', '-serial').decode().split('=')[1], 16)

    def client(self, who=None, check=True):
        """Python's TLS, with this certificate or none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = check
        if not check:
            context.verify_mode = ssl.CERT_NONE
        context.load_verify_locations(self.ca)
        if who:
            context.load_cert_chain(self.cert(who), self.key(who))
        return context

    def server(self, who='server'):
        """Python's TLS on the other side; asks for a certificate of our CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.ca)
        context.load_cert_chain(self.cert(who), self.key(who))
        return context


_made = {}


def copy(to, which='one'):
    """A folder of its own with the certificates that all tests of this program share; each name is another CA."""
    if which not in _made:
        _made[which] = tempfile.TemporaryDirectory(prefix='sp-certs-')
        Folder(_made[which].name)
    shutil.copytree(_made[which].name, to)
    return Folder(to)
