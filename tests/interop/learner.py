"""A round at the worker, as proto/README.md has it: from gradients to votes, from UPDATE and COMMIT to weights."""
import math
import struct
from types import SimpleNamespace

import numpy as np

from frames import ABSTAIN, LAST, Lost, frame

SIGN, SGD = 0, 1                        # phases
CHUNK = {SIGN: 524288, SGD: 16384}      # coordinates
M64 = 2**64 - 1
TAIL = np.array([int(q) for q in '''
    32768 31135 29508 27894 26299 24729 23189 21684 20220 18801 17432 16114 14852 13648 12503 11420 10398
     9437  8539  7701  6924  6205  5542  4934  4378  3872  3413  2999  2625  2291  1992  1726  1491  1283
     1101   941   801   680   575   485   407   341   284   236   195   161   132   108    88    72    58
       47    38    30    24    19    15    12     9     7     6     5     3     3     2'''.split()])


def xxh64(data):
    p1, p2, p3 = 11400714785074694791, 14029467366897019727, 1609587929392839161
    p4, p5, n, end = 9650029242287828579, 2870177450012600261, len(data), len(data) // 32 * 32

    def rotl(x, by):
        return (x << by | x >> 64 - by) & M64

    def step(a, v):
        return rotl((a + v * p2) & M64, 31) * p1 & M64

    a = [(p1 + p2) & M64, p2, 0, -p1 & M64]
    for words in struct.iter_unpack('<4Q', data[:end]):
        a = [step(x, v) for x, v in zip(a, words)]
    h = sum(rotl(x, by) for x, by in zip(a, (1, 7, 12, 18)))
    for x in a:
        h = ((h ^ step(0, x)) * p1 + p4) & M64
    h = ((h if end else p5) + n) & M64
    for v, in struct.iter_unpack('<Q', data[end:n // 8 * 8]):
        h = (rotl(h ^ step(0, v), 27) * p1 + p4) & M64
    if n & 4:
        v = int.from_bytes(data[n // 8 * 8:n // 4 * 4], 'little')
        h = (rotl(h ^ (v * p1 & M64), 23) * p2 + p3) & M64
    for v in data[n // 4 * 4:]:
        h = rotl(h ^ (v * p5 & M64), 11) * p1 & M64
    h = (h ^ h >> 33) * p2 & M64
    h = (h ^ h >> 29) * p3 & M64
    return h ^ h >> 32


def weights_digest(theta):
    return xxh64(b''.join(struct.pack('<Q', xxh64(theta[i:i + 65536].tobytes())) for i in range(0, len(theta), 65536)))


def philox(seed, stream, index, t, lane):
    """The blocks of an array of indices: uint32 [len(index), 4]."""
    low, by32 = np.uint64(0xffffffff), np.uint64(32)
    c0, c1 = index & low, index >> by32
    c2, c3 = np.full_like(index, t), np.full_like(index, lane)
    k0, k1 = seed & 0xffffffff, seed >> 32 ^ stream << 24
    for _ in range(7):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = p1 >> by32 ^ c1 ^ np.uint64(k0), p1 & low, p0 >> by32 ^ c3 ^ np.uint64(k1), p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xffffffff, (k1 + 0xBB67AE85) & 0xffffffff
    return np.stack([c0, c1, c2, c3], axis=1).astype('<u4')


def blocks(begin, end):
    return np.arange(begin, end, dtype=np.uint64)


def ordered_sum(terms):
    padded = np.zeros(-(-len(terms) // 65536) * 65536)
    padded[:len(terms)] += terms
    lanes = np.add.accumulate(padded.reshape(-1, 4096, 16), axis=1)[:, -1]
    for width in (8, 4, 2, 1):
        lanes = lanes[:, :width] + lanes[:, width:2 * width]
    return float(np.add.accumulate(lanes[:, 0])[-1])


def mix(x):
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
    return x ^ x >> np.uint64(31)


def sketch(g, seed, t):
    golden = 0x9e3779b97f4a7c15
    start = mix(np.array([(seed + golden * (t + 1)) & M64], np.uint64))
    words = mix(start + np.uint64(golden) * blocks(1, len(g) // 64 + 2))
    minus = np.unpackbits(words.astype('<u8').view(np.uint8), bitorder='little')[:len(g)]
    padded = np.zeros(-(-len(g) // 128) * 128)
    padded[:len(g)] += np.where(minus, -g, g)
    return np.add.accumulate(padded.reshape(-1, 128), axis=0)[-1].astype('<f4').tolist()


def flip(x):
    near = x < 4
    p = (np.where(near, x, 0) * np.float32(1048576)).astype(np.int64)
    k = p >> 16
    return np.where(near, TAIL[k] - ((TAIL[k] - TAIL[k + 1]) * (p & 65535) >> 16), 0)


def coin(j, t):
    h = j * np.uint64(2654435761) & np.uint64(0xffffffff)
    return ((h >> np.uint64(16) ^ np.uint64(t)) & np.uint64(1)) == 0


def tensors(*items):
    """Name, shape and flags of each -> tensors that know where they begin and end."""
    out, begin = [], 0
    for name, shape, flags in items:
        end = begin + math.prod(shape)
        out.append(SimpleNamespace(name=name, shape=shape, flags=flags, begin=begin, end=end))
        begin = end
    return out


def layout_digest(layout):
    return xxh64(b''.join(t.name.encode() + b'\0' + struct.pack(f'<II{len(t.shape)}Q', len(t.shape), t.flags, *t.shape)
                          for t in layout))


class Learner:
    def __init__(self, layout):
        self.layout, self.d = layout, layout[-1].end
        self.m = np.zeros(self.d, np.float32)
        self.theta, self.rms, self.n, self.late, self.round, self.phase, self.sigma = None, 0.0, 0, False, 0, SIGN, 0.0
        self.forget()

    def set_up(self, plan, slot):
        """After each WELCOME."""
        self.slot, self.seed, self.beta1 = slot, int(plan['seed']), float(plan['optimizer.beta1'])
        self.absolute = plan['optimizer.dither.scale'] == 'absolute'
        self.plain = plan['optimizer.sgd.momentum'] == 'none'

    def forget(self):
        """What outlives neither a connection nor new weights."""
        self.dot = self.begun = None        # begun: the round whose gradient is in g and m
        self.staged_n = 0

    def new_weights(self, theta, round_):
        if round_ == 0 or round_ < self.round:
            self.m[:] = 0
            self.rms, self.n = 0.0, 0
        self.theta, self.round = theta, round_
        self.forget()
        if self.n == 0:
            self.late = round_ > 0

    def push(self, g, loss, examples):
        """The PUSH frames of round + 1."""
        t, dot, self.dot = self.round + 1, self.dot, None
        if not np.isfinite(g).all():
            return [frame('PUSH', round=t, flags=ABSTAIN)]
        self.n, self.begun, self.g = self.n + 1, t, g.astype(np.float64)
        b = 0.0 if self.phase == SGD and self.plain else self.beta1
        self.m = np.float32(b) * self.m + np.float32(1.0 - b) * g
        norm2, self.m2 = ordered_sum(self.g * self.g), ordered_sum(self.m.astype(np.float64) ** 2)
        votes = self.signs(t) if self.phase == SIGN else self.values(b)
        at_first = {'has_dot': 1, 'dot': dot} if dot is not None else {}
        at_last = {}
        if math.isfinite(loss):
            at_last = {'has_scalars': 1, 'loss': loss, 'gradient_norm2': norm2, 'examples': examples}
            if self.phase == SIGN:
                at_last['sketch'] = sketch(self.g, self.seed, t)
        frames = []
        for first in range(0, self.d, CHUNK[self.phase]):
            part = votes[first:first + CHUNK[self.phase]]
            last = first + len(part) == self.d
            bulk = np.packbits(part, bitorder='little') if self.phase == SIGN else part.astype('<f4')
            frames.append(frame('PUSH', round=t, first=first, count=len(part), bulk=bulk.tobytes(), flags=LAST * last,
                                **(at_first if first == 0 else {}), **(at_last if last else {})))
        return frames

    def signs(self, t):
        scale = 1.0 if self.absolute else self.rms if self.rms > 0 else math.sqrt(self.m2 / self.d)
        spread = self.sigma * scale
        if not spread > 0:
            return np.where(self.m == 0, coin(blocks(0, self.d), t), self.m > 0)
        gain = np.float32(min(max(1.0 / spread, 2.0**-126), float(np.finfo(np.float32).max)))
        u = philox(self.seed, 1, blocks(0, -(-self.d // 8)), t, self.slot).view('<u2').ravel()[:self.d]
        with np.errstate(over='ignore'):
            return (self.m > 0) ^ (u < flip(np.abs(self.m) * gain))

    def values(self, b):
        factor = np.float32(1.0 / (1.0 - math.pow(b, self.n))) if self.late else 1
        return self.m if factor == 1 else self.m * factor

    def update(self, f):
        bits = self.phase == SIGN
        if f.first == 0:
            self.staged, self.staged_n = np.empty(self.d, bool if bits else np.float32), 0
        end = f.first + f.count
        size = (f.count + 7) // 8 if bits else 4 * f.count
        if f.round != self.round + 1 or f.first != self.staged_n or end > self.d or len(f.bulk) != size:
            raise Lost('an UPDATE that is not due')
        bulk = np.frombuffer(f.bulk, np.uint8 if bits else '<f4')
        self.staged[f.first:end] = np.unpackbits(bulk, count=f.count, bitorder='little') if bits else bulk
        self.staged_n = end

    def commit(self, c, message):
        """'applied'; 'started': it only says what the next round is; 'differs': the weights are not the server's."""
        if c == self.round:
            self.phase, self.sigma = message.next_phase, message.next_sigma
            return 'started'
        counts = {len(message.rates), len(message.decays)}
        if c != self.round + 1 or self.staged_n != self.d or not counts <= {0, len(self.layout)}:
            raise Lost('a COMMIT that is not due')
        self.dot = None
        if message.has_digest and message.digest != weights_digest(self.theta):
            return 'differs'
        if self.begun == c:
            self.rms = math.sqrt(self.m2 / self.d)
            if self.phase == SIGN:
                self.dot = ordered_sum(np.where(self.staged, self.g, -self.g))
        for i, t in enumerate(self.layout):
            rate = np.float32(message.rates[i] if message.rates else message.rate)
            decay = np.float32(message.decays[i] if message.decays else message.decay)
            theta, staged = self.theta[t.begin:t.end], self.staged[t.begin:t.end]
            if t.flags & 1 and decay != 1:
                theta *= decay
            theta -= np.where(staged, rate, -rate) if self.phase == SIGN else rate * staged
        self.round, self.phase, self.sigma, self.staged_n = c, message.next_phase, message.next_sigma, 0
        return 'applied'
