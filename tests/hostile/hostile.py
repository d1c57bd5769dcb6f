"""Hostile peers: jobs of real workers, and clients that say to their server whatever a test wants to say.

A job has two workers in C in slots 0 and 1, and in slot 2 a pacer: this file run as a program, a worker that votes the same
in every round, lets each round take some milliseconds, and writes down when each was committed. So a round's length is
known, the processors are free for the attack, and the weights after R rounds are the same in every run. With `seat` the
job has a fourth slot, for a liar: it is empty unless a test takes it (`at('READY')`).

    self.start_job()
    with self.attack():
        self.refused(self.at('LAYOUT'), bytes, PROTOCOL, 'words')
    self.check_undisturbed()

check_undisturbed() stops the job and wants: every honest vote counted, nobody lost, nobody resynced; the weights of an
undisturbed run of as many rounds; rounds that went on closing during the attack; memory, files and log of the server
within bounds. Other keys for server and workers: start_job(sets=(...), worker_sets=(...)).
"""
import contextlib
import functools
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent import futures
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
# pylint: disable=wrong-import-position
import handshake
import harness
import wire
from handshake import data, fields, fixed64, uint, varint
from test_security import layout_digest, xxh64

# Reasons of a BYE.
DONE, STOPPED, PROTOCOL, VERSION, JOB, LAYOUT, DATA, SLOT, INIT_TIMEOUT, SILENT, BACKLOG, LEAVING, REPLACED, WEIGHTS, \
    BUSY, FAILED, SECRET, OPERATOR = range(18)
SIGN, SGD, MARGIN = range(3)
F32, BF16, I8 = range(3)
LAST, ABSTAIN, FULL, BUFFERS = wire.LAST, wire.ABSTAIN, wire.FULL, wire.BUFFERS
MAX = 2**32 - 1
EXAMPLES = 1437     # of the digits
SEAT = 3            # the liar's slot
PAUSE = 0.004       # the pacer's

# Weights after R rounds that depend on nothing but R; few lines in the log. The journal's memory grows in the first seconds
# (by 30 MB, at thousands of rounds a second): without it the server's grows by what strangers make it hold alone.
SETS = ('train.rounds=1000000', 'train.evaluate=0', 'train.report=1000000', 'optimizer.switch.when=never',
        'optimizer.sign.schedule=constant', 'optimizer.dither.schedule=constant', 'server.quarantine=off',
        'server.start_timeout=0.1', 'server.min_live=3', 'server.journal.enabled=false', 'server.checkpoint.enabled=false',
        f'server.heartbeat.timeout={harness.seconds(6):g}')
GAP_S = 2.0         # between two rounds, at most
GROWTH_KIB = 16384  # of the server's memory, at most
STAGES = 'HELLO', 'LAYOUT', 'SPARE', 'READY'


def digits(hidden=64):
    return [('dense1.weight', (hidden, 64), 1), ('dense1.bias', (hidden,), 0), ('dense2.weight', (10, hidden), 1),
            ('dense2.bias', (10,), 0)]


DIGITS = digits()
DIGEST = layout_digest(DIGITS)


# --- frames ----------------------------------------------------------------------------------------------------------

def crc_table():
    for c in range(256):
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
        yield c


CRC = list(crc_table())


def crc32c(bulk):
    c = MAX
    for byte in bulk:
        c = c >> 8 ^ CRC[c & 255 ^ byte]
    return c ^ MAX


def header(type_, *, magic=wire.MAGIC, version=wire.VERSION, flags=0, round_=0, control=0, first=0, count=0, bulk=0,
           bulk_crc=0, crc=None, after=b''):
    """Lengths in place of what they are of; `after` is the control message, for the checksum."""
    head = struct.pack('<4sBBHIIQIII', magic, version, type_, flags, round_, control, first, count, bulk, bulk_crc)
    return head + struct.pack('<I', zlib.crc32(after, zlib.crc32(head)) if crc is None else crc)


def frame(type_, control=b'', bulk=b'', *, bulk_crc=None, **more):
    more.setdefault('control', len(control))
    return header(type_, bulk=len(bulk), bulk_crc=crc32c(bulk) if bulk_crc is None else bulk_crc, after=control,
                  **more) + control + bulk


def repaired(raw):
    """A whole frame, its checksums made right."""
    raw = bytearray(raw)
    control = struct.unpack_from('<I', raw, 12)[0]
    bulk = bytes(raw[40 + control:])
    struct.pack_into('<I', raw, 32, crc32c(bulk))
    struct.pack_into('<I', raw, 36, zlib.crc32(raw[40:40 + control], zlib.crc32(raw[:36])))
    return bytes(raw)


def hello(job='digits', *, role=handshake.WORKER, slot=-1, ticket=b'', nonce=b'', examples=EXAMPLES, digest=DIGEST,
          more=b''):
    """The control message of a HELLO."""
    return (data(1, job.encode() if isinstance(job, str) else job) + data(2, b'hostile') + uint(3, role) +
            fixed64(4, digest) + uint(5, examples) + uint(7, slot + 1) + data(8, ticket) + data(10, nonce) + more)


def layout(tensors):
    """The control message of a LAYOUT."""
    return b''.join(data(1, data(1, name.encode()) + data(2, b''.join(map(varint, shape))) + uint(3, flags))
                    for name, shape, flags in tensors)


def double(field, value):
    return varint(field << 3 | 1) + struct.pack('<d', value)


def scalars(dot=None, loss=None, norm2=0.0, sketch=None):
    """The control message of a PUSH in one chunk, zeros and what is not finite included."""
    out = uint(1, 1) + double(2, dot) if dot is not None else b''
    if loss is not None:
        out += uint(3, 1) + double(4, loss) + double(5, norm2) + uint(6, 16)
    return out + (data(7, struct.pack('<128f', *[sketch] * 128)) if sketch is not None else b'')


# --- a worker in Python ----------------------------------------------------------------------------------------------

class Form:
    """How the numbers of a round travel: the chunks of a job's main section (it has no other)."""

    def __init__(self, tensors, phase=SIGN, coded=F32):
        self.ends, self.d = [], 0
        for _, shape, _ in tensors:
            self.d += shape[0] * (shape[1] if len(shape) > 1 else 1)
            self.ends.append(self.d)
        self.phase, self.coded = phase, coded
        self.size = {SIGN: 524288, MARGIN: 65536, SGD: 16384 if coded == F32 else 32768}[phase]

    def chunks(self):
        """First, count and flags of each."""
        return [(first, min(self.size, self.d - first), LAST * (first + self.size >= self.d))
                for first in range(0, self.d, self.size)]

    def blocks(self, first, count):
        begins = [0] + self.ends[:-1]
        parts = (min(end, first + count) - max(begin, first) for begin, end in zip(begins, self.ends))
        return sum(-(-n // 256) for n in parts if n > 0)

    def bytes(self, first, count):
        if self.phase != SGD:
            return (count + 7) // 8
        return {F32: 4 * count, BF16: 2 * count, I8: count + 4 * self.blocks(first, count)}[self.coded]


class Worker(handshake.Client):
    """A worker that takes all the right steps as far as a test wants it to."""

    def __init__(self, address, tensors=None, secret=None, seconds=15):
        super().__init__(address, harness.seconds(seconds))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tensors, self.secret = tensors or DIGITS, secret
        self.form = Form(self.tensors)
        self.round = self.bulk = None
        self.asked = []     # to evaluate: (round, part)

    def say_hello(self, secret=None, **how):
        """As far as the LAYOUT, or an operator's ASK, is due."""
        self.secret = secret or self.secret
        digest = 0 if how.get('role') == handshake.OPERATOR else layout_digest(self.tensors)
        self.hello(nonce=bool(self.secret), digest=digest, **how)
        if self.secret:
            self.challenge()
            self.prove(self.make_proof(self.secret))

    def enter(self, **how):
        """As far as WELCOME; returns its fields."""
        self.say_hello(**how)
        self.send(frame(wire.LAYOUT, layout(self.tensors)))
        self.welcome = self.until(wire.WELCOME)
        return self.welcome

    def receive_frame(self):
        """(type, round, flags, control fields)."""
        head = self.receive(40)
        kind, flags, round_, control, bulk = head[5], *struct.unpack_from('<HII', head, 6), \
            struct.unpack_from('<I', head, 28)[0]
        message = fields(self.receive(control))
        self.receive(bulk)
        return kind, round_, flags, message

    def until(self, wanted, flag=0):
        """Reads to a frame of the type; its fields."""
        while True:
            kind, self.round, flags, message = self.receive_frame()
            if kind == wire.BYE:
                raise EOFError(f'BYE {message.get(1, 0)}: {message.get(2)}')
            if kind == wire.EVAL:
                self.asked.append((self.round, message.get(1, 0)))
            if kind == wanted and flags & flag == flag:
                return message

    def take_weights(self):
        """As far as READY is due: of self.round, with self.weights."""
        self.weights = self.until(wire.WEIGHTS, LAST)[1]

    def ready(self, round_=None, digest=None):
        self.send(frame(wire.READY, fixed64(1, self.weights if digest is None else digest),
                        round_=self.round if round_ is None else round_))

    def commit(self):
        """Waits for a COMMIT; the round that is due then."""
        message = self.until(wire.COMMIT)
        if message.get(5):
            self.until(wire.BYE)    # it raises
        phase, coded = message.get(6, SIGN), message.get(11, F32)
        if (phase, coded) != (self.form.phase, self.form.coded):
            self.form, self.bulk = Form(self.tensors, phase, coded), None
        return self.round + 1

    def join(self, slot=SEAT, **how):
        """All the way: a push is due, of the round that is returned."""
        self.enter(slot=slot, **how)
        self.take_weights()
        self.ready()
        return self.commit()

    def pushes(self, round_, control=b''):
        """The frames of a vote that is zero everywhere: signs all clear, or values."""
        if self.bulk is None:
            zeros = [bytes(self.form.bytes(first, count)) for first, count, _ in self.form.chunks()]
            self.bulk = [(zero, crc32c(zero)) for zero in zeros]
        return [frame(wire.PUSH, control if flags & LAST else b'', zero, round_=round_, first=first, count=count,
                      flags=flags, bulk_crc=crc)
                for (first, count, flags), (zero, crc) in zip(self.form.chunks(), self.bulk)]

    def abstain(self, round_):
        self.send(frame(wire.PUSH, round_=round_, flags=ABSTAIN))


NAN, INF = float('nan'), float('inf')
LIES = [scalars(*how) for value in (NAN, INF, -INF, 1e308, -1e308, 1e-310)
        for how in ((value,), (None, value), (None, 1.0, value), (value, value, value),
                    (0.5, 1.0, 1.0, value if abs(value) < 1e38 or value - value else 3e38),
                    (value, value, value, value if abs(value) < 1e38 or value - value else -3e38))]


def stay_alive(worker):
    """Signs of life, beside whatever else is said. Returns what says it."""
    lock = threading.Lock()

    def say(raw):
        with lock:
            worker.send(raw)

    def go_on():
        with contextlib.suppress(OSError):
            while True:
                time.sleep(0.5)
                say(frame(wire.ALIVE))

    threading.Thread(target=go_on, daemon=True).start()
    return say


def pace():
    """The pacer: hostile.py ADDRESS HIDDEN PAUSE FILE LIES [TOKEN]."""
    address, hidden, pause, path, lies = sys.argv[1:6]
    secret = handshake.secret_of(Path(sys.argv[6])) if sys.argv[6:] else None
    worker = Worker(address, digits(int(hidden)), secret, seconds=60)
    with open(path, 'w', encoding='ascii') as times:
        try:
            due = worker.join(slot=2)
            say = stay_alive(worker)
            while True:
                times.write(f'{time.monotonic():.4f}\n')
                times.flush()
                time.sleep(float(pause))
                control = LIES[due % len(LIES)] if lies == 'lies' else b''
                say(b''.join(worker.pushes(due, control)))
                due = worker.commit()
        except EOFError as e:
            if not re.match(r'BYE [01]:', str(e)):
                raise


# --- jobs ------------------------------------------------------------------------------------------------------------

@functools.cache
def unlimited():
    """Connections of one address in a second, for what is to be seen behind that limit; none where there is no limit."""
    key = 'server.limits.joins=1000000'
    argv = [harness.SIGNPOSTD, '--config', harness.DIGITS, '--validate', '--set', key]
    return () if subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode else (key,)


def kib(server, what):
    """VmRSS or VmHWM of a server."""
    return int(re.search(rf'{what}:\s+(\d+)', Path(f'/proc/{server.pid}/status').read_text())[1])


def files(server):
    return len(os.listdir(f'/proc/{server.pid}/fd'))


class Case(harness.Case):
    seat = False    # whether the job has a slot for a liar
    hidden = 64
    limited = False  # whether the server's limit of connections in a second is as it is by default

    def setUp(self):
        self.clients = []
        self.addCleanup(self.close)

    def close(self):
        for client in self.clients:
            client.socket.close()

    # --- the job -------------------------------------------------------------------------------------------------------

    def token(self, name):
        """The file of a new secret."""
        path = self.folder / name
        path.write_text(os.urandom(32).hex())
        path.chmod(0o600)
        return path

    def start_job(self, sets=(), worker_sets=(), token=None, lies=False):
        """Returns when rounds go on."""
        hidden = f'model.hidden=[{self.hidden}]'
        self.sets = (*SETS, *(() if self.limited else unlimited()), f'workers={3 + self.seat}', hidden, *sets)
        self.worker_sets, self.token_file, self.lies = (hidden, *worker_sets), token, lies
        if token:
            self.worker_sets += (f'security.token_file={token}',)
            self.sets += (f'security.token_file={token}',)
        self.secret = handshake.secret_of(token) if token else None
        self.tensors = digits(self.hidden)
        self.server, self.honest = self.start_honest(PAUSE, 'run', lies)
        self.times = self.folder / 'run.times'
        self.wait_for(lambda: len(self.rounds()) >= 20, '20 rounds')
        self.address = self.server.address()
        self.files = files(self.server)
        self.lines = len(self.server.err().splitlines())
        self.first = self.last = None

    def start_honest(self, pause, run, lies=False, *more):
        server = self.start_server(*self.sets, *more, run=run)
        honest = self.start_workers(server, 2, *self.worker_sets, slots=True)
        self.wait_for_words(server, 'gave the initial weights')
        honest.append(self.start('pacer', sys.executable, __file__, server.address(), self.hidden, pause,
                                 self.folder / f'{run}.times', 'lies' if lies else '-',
                                 *([self.token_file] if self.token_file else [])))
        return server, honest

    def rounds(self):
        """When each round was committed."""
        path = self.folder / 'run.times'
        return [float(line) for line in path.read_text().splitlines()[:-1]] if path.exists() else []

    @contextlib.contextmanager
    def attack(self, rounds=20, gap_s=GAP_S, growth_kib=GROWTH_KIB):
        """What happens in here must not disturb the job; it goes on at least until some rounds are closed."""
        before = kib(self.server, 'VmHWM')
        began = time.monotonic()
        yield
        if self.seat:   # else the job might wait for who sits there
            self.close()
        self.wait_for(lambda: len([t for t in self.rounds() if t > began]) >= rounds, f'{rounds} more rounds')
        ended = time.monotonic()
        times = [t for t in self.rounds() if t <= ended]
        inside = [t for t in times if t > began]
        gaps = [b - a for a, b in zip(times, times[1:]) if b > began] + [ended - times[-1]]
        grown = kib(self.server, 'VmHWM') - before
        if os.environ.get('SP_HOSTILE_SAY'):
            print(f'{self.id()}: {ended - began:.2f} s, {len(inside)} rounds, longest gap {max(gaps):.3f} s, '
                  f'{grown} KiB more', file=sys.stderr)
        self.assertLess(max(gaps), harness.seconds(gap_s), 'the longest time between two rounds')
        if harness.SLOW == 1:   # sanitizers keep memory that was given back
            self.assertLess(grown, growth_kib, 'KiB more of memory')

    def check_undisturbed(self, lines=100, digest=True):
        """Stops the job. Without `digest` a liar had a vote."""
        self.close()
        self.wait_for(lambda: files(self.server) <= self.files, 'the server to close what it had opened', 10)
        self.assertTrue(all(p.alive() for p in self.honest), [p.err() for p in self.honest])
        if self.seat:   # else the server waits for who sat there, to tell him that the job is over
            self.sit(self.connect())
        self.server.ask('stop')
        self.close()
        summary = self.finish(self.server, self.honest)
        for slot in summary['slots'][:3]:
            self.assertEqual({key: slot[key] for key in ('votes', 'joins', 'resyncs', 'missed')},
                             {'votes': summary['rounds_done'], 'joins': 1, 'resyncs': 0, 'missed': 0})
        said = [line for line in self.server.err().splitlines()[self.lines:] if line.split()[2:3] != ['debug']]
        self.assertLess(len(said), lines, 'lines in the log: ' + '\n'.join(said[:50]))
        if digest:
            alone = self.run_alone(summary['rounds_done'])
            self.assertEqual(summary['weights_digest'], alone['weights_digest'])
        return summary

    def run_alone(self, rounds):
        """The same job with nobody else; its summary, and in self.alone_kib the server's memory at its largest."""
        server, honest = self.start_honest(0, 'alone', False, f'train.rounds={rounds}')
        self.alone_kib = 0
        while server.alive():
            with contextlib.suppress(OSError, TypeError):
                self.alone_kib = max(self.alone_kib, kib(server, 'VmHWM'))
            time.sleep(0.02)
        return self.finish(server, honest)

    # --- clients -------------------------------------------------------------------------------------------------------

    def connect(self, seconds=15):
        client = Worker(self.address, self.tensors, self.secret, seconds)
        self.clients.append(client)
        return client

    def at(self, stage, **how):
        """A client of which the server now awaits HELLO, PROOF, LAYOUT or (of an operator) ASK; that is a SPARE; that took
        the liar's seat and owes a READY (RECEIVING) or a push (READY; it is client.due)."""
        client = self.connect()
        if stage == 'PROOF':
            client.hello(digest=layout_digest(self.tensors), **how)
            client.challenge()
        elif stage in ('LAYOUT', 'ASK'):
            client.say_hello(**how, **({'role': handshake.OPERATOR, 'slot': -1} if stage == 'ASK' else {}))
        elif stage == 'SPARE':
            self.assertEqual(client.enter(slot=0, **how).get(1), 1)
        elif stage == 'RECEIVING':
            self.sit(client, **how)
            client.take_weights()
        elif stage == 'READY':
            self.sit(client, **how)
            client.take_weights()
            self.begin(client)
        return client

    def sit(self, client, **how):
        """In the liar's seat."""
        if client.enter(slot=SEAT, **how).get(1):     # the one before may not have left yet
            self.assertIsNone(client.until(wire.WELCOME).get(1))

    def begin(self, client):
        """From RECEIVING to READY. Rounds may have been closed, and the vote on one begun, before that was heard."""
        client.ready()
        status = {}
        while not status or status['slots'][SEAT]['state'] != 'live':
            status = self.server.status()
        client.due = client.commit()
        while client.due < status['round'] + 2:
            client.abstain(client.due)
            client.due = client.commit()

    def goodbye(self, client):
        """Reads to the BYE, which is the last that comes; (reason, words), or (None, '') if the connection just ends."""
        said = None, ''
        with contextlib.suppress(EOFError, ConnectionResetError):
            said = client.goodbye()
            with contextlib.suppress(OSError):  # either side may have ended it
                client.socket.shutdown(socket.SHUT_WR)
            while piece := client.rest or client.socket.recv(65536):
                client.rest = b''
                self.assertEqual(piece, b'', 'more after a BYE')
        client.socket.close()
        return said

    def refused(self, client, raw, reason, words):
        """The client says this and is sent away, with a reason in such words."""
        client.send(raw)
        got, said = self.goodbye(client)
        self.assertEqual((got, bool(re.search(words, said))), (reason, True), f'BYE {got}: {said}')

    def flood(self, jobs, threads=4):
        """Runs functions, some at a time."""
        with futures.ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda job: job(), jobs))


def reset(client):
    """Ends a connection by RST."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.socket.close()


def strict(text):
    """JSON, in which no number is infinite or none."""
    def refuse(word):
        raise ValueError(word)
    return json.loads(text, parse_constant=refuse)


main = harness.main

if __name__ == '__main__':
    pace()
