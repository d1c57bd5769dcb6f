"""The wire as this test suite knows it: frame headers by `struct`, and a TCP proxy that looks at, cuts, delays, drops or
damages what passes. Nothing here is shared with the C code."""
import random
import socket
import struct
import threading
import time

HEADER = struct.Struct('<4sBBHIIQIIII')
MAGIC, VERSION = b'SGNP', 4
HELLO, WELCOME, INIT, WEIGHTS, READY, PUSH, UPDATE, COMMIT, EVAL, SCORE, RESYNC, ALIVE, BYE, \
    CHALLENGE, PROOF, LAYOUT, ASK, ANSWER = range(1, 19)
LAST, ABSTAIN, FULL, BUFFERS = 1, 2, 4, 8  # flags
UP, DOWN = 'up', 'down'  # worker to server, server to worker


class Frame:
    def __init__(self, header):
        (magic, version, self.type, self.flags, self.round, self.control_bytes, self.first, self.count, self.bulk_bytes,
         _, _) = HEADER.unpack(header)
        if (magic, version) != (MAGIC, VERSION):
            raise ValueError(f'not a frame: {header.hex()}')
        self.bytes = HEADER.size + self.control_bytes + self.bulk_bytes


class Splitter:
    """Bytes in, whole frames out."""

    def __init__(self):
        self.rest = b''

    def feed(self, data):
        self.rest += data
        at = 0
        while len(self.rest) - at >= HEADER.size:
            frame = Frame(self.rest[at:at + HEADER.size])
            if len(self.rest) - at < frame.bytes:
                break
            yield frame, self.rest[at:at + frame.bytes]
            at += frame.bytes
        self.rest = self.rest[at:]


class Cut(Exception):
    """Raised by a policy: this connection ends now, both sides."""


class Policy:
    """What happens to the bytes of one connection; `number` counts connections from 0. Returns what is passed on."""

    def __init__(self, number):
        self.number = number

    def pass_on(self, direction, data):
        return data


class Count(Policy):
    """Looks at frames only, of all connections of a proxy together."""

    def __init__(self, number, frames):
        super().__init__(number)
        self.splitters = {UP: Splitter(), DOWN: Splitter()}
        self.frames = frames

    def pass_on(self, direction, data):
        for frame, _ in self.splitters[direction].feed(data):
            self.frames.append((self.number, direction, frame))
        return data


class Drop(Policy):
    """Frames of some types, in one direction, never arrive."""

    def __init__(self, number, direction, types, connections=None):
        super().__init__(number)
        self.direction, self.types = direction, types
        self.active = connections is None or number in connections
        self.splitter = Splitter()
        self.dropped = 0

    def pass_on(self, direction, data):
        if not self.active or direction != self.direction:
            return data
        kept = []
        for frame, raw in self.splitter.feed(data):
            if frame.type in self.types:
                self.dropped += 1
            else:
                kept.append(raw)
        return b''.join(kept)


class CutAfter(Policy):
    """Ends the connection after a number of bytes in one direction, in the middle of whatever passes then."""

    def __init__(self, number, direction, limit):
        super().__init__(number)
        self.direction, self.left = direction, limit

    def pass_on(self, direction, data):
        if direction != self.direction or self.left is None:
            return data
        if len(data) < self.left:
            self.left -= len(data)
            return data
        raise Cut(data[:self.left])


class Delay(Policy):
    """Everything comes later, by a little more or less."""

    def __init__(self, number, at_most_s, seed):
        super().__init__(number)
        self.at_most_s = at_most_s
        self.rng = {UP: random.Random(f'{seed} up {number}'), DOWN: random.Random(f'{seed} down {number}')}

    def pass_on(self, direction, data):
        time.sleep(self.rng[direction].random() * self.at_most_s)
        return data


class Damage(Policy):
    """Turns one bit of one byte around."""

    def __init__(self, number, direction, at):
        super().__init__(number)
        self.direction, self.at = direction, at

    def pass_on(self, direction, data):
        if direction != self.direction or self.at is None:
            return data
        if self.at >= len(data):
            self.at -= len(data)
            return data
        damaged = bytearray(data)
        damaged[self.at] ^= 0x10
        self.at = None
        return bytes(damaged)


class Trickle(Policy):
    """Passes bytes on in small pieces, so that every read on the other side is short."""

    def __init__(self, number, direction, piece, limit):
        super().__init__(number)
        self.direction, self.piece, self.left = direction, piece, limit

    def pieces(self, direction, data):
        if direction != self.direction or self.left <= 0:
            return [data]
        self.left -= len(data)
        return [data[i:i + self.piece] for i in range(0, len(data), self.piece)]


class Proxy:
    """Listens on a free port and connects each connection through to HOST:PORT `target`, under a policy."""

    def __init__(self, target, policy=Policy):
        host, port = target.rsplit(':', 1)
        self.target = (host, int(port))
        self.make_policy = policy
        self.policies = []
        self.cuts = 0
        self.lock = threading.Lock()
        self.closed = False
        self.sockets = []
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.address = '127.0.0.1:%d' % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.closed = True
        self.listener.close()
        self.cut_all()

    def cut_all(self):
        """Ends every connection that is open now, as if a cable were pulled and both ends noticed."""
        with self.lock:
            sockets, self.sockets = self.sockets, []
        for s in sockets:
            self._end(s)

    @staticmethod
    def _end(s):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        s.close()

    def _accept(self):
        while not self.closed:
            try:
                inner, _ = self.listener.accept()
            except OSError:
                return
            try:
                outer = socket.create_connection(self.target, timeout=10)
                outer.settimeout(None)
            except OSError:
                inner.close()
                continue
            for s in (inner, outer):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                policy = self.make_policy(len(self.policies))
                self.policies.append(policy)
                self.sockets += [inner, outer]
            for direction, source, sink in ((UP, inner, outer), (DOWN, outer, inner)):
                threading.Thread(target=self._pump, args=(policy, direction, source, sink), daemon=True).start()

    def _pump(self, policy, direction, source, sink):
        try:
            while True:
                data = source.recv(262144)
                if not data:
                    break
                data = policy.pass_on(direction, data)
                pieces = policy.pieces(direction, data) if isinstance(policy, Trickle) else [data]
                for piece in pieces:
                    sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except Cut as cut:
            try:
                sink.sendall(cut.args[0])
            except OSError:
                pass
            self.cuts += 1
            self._end(source)
            self._end(sink)
        except OSError:
            self._end(source)
            self._end(sink)
