"""A round at the worker, as proto/README.md has it: from gradients to votes, from UPDATE and COMMIT to weights."""
import math
import struct
from types import SimpleNamespace

import numpy as np

from frames import ABSTAIN, BUFFERS, FULL, LAST, Lost, frame

SIGN, SGD, MARGIN = 0, 1, 2             # phases
F32, BF16, I8 = 0, 1, 2                 # wires
DECAY, BUFFER, IN_FULL = 1, 2, 4        # flags and traits of a tensor
BLOCK = 256                             # of I8
MOMENTUM_AGE_MAX = 10                   # rounds
MAX = np.finfo(np.float32).max
M64 = 2**64 - 1


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


def aes_tables():
    """What a byte in row r of a column brings to the column, as u32: by SubBytes and MixColumns, and by SubBytes alone."""
    powers, x = [], 1
    for _ in range(255):
        powers.append(x)
        x ^= x << 1 ^ (x >> 7) * 0x11b
    inverse, box = np.zeros(256, np.uint32), 0x63
    inverse[powers] = [powers[-i % 255] for i in range(255)]
    for by in range(5):
        box = box ^ (inverse << by | inverse >> 8 - by) & 0xff
    twice = box << 1 ^ (box >> 7) * 0x11b
    mixed = twice | box << 8 | box << 16 | (twice ^ box) << 24
    return [mixed << 8 * r | mixed >> 32 - 8 * r if r else mixed for r in range(4)], [box << 8 * r for r in range(4)]


MIXED, PLAIN = ([table.astype(np.uint32) for table in tables] for tables in aes_tables())


def ars(seed, stream, index, t, lane):
    """The blocks of an array of indices: uint64 [len(index), 2]."""
    key = np.array([seed & 0xffffffff | (seed >> 32 ^ stream << 24) << 32, 0], np.uint64)
    v = np.stack([index, np.full_like(index, t | lane << 32)], axis=1) ^ key
    for tables in [MIXED] * 4 + [PLAIN]:
        key = key + np.array([0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B], np.uint64)
        b = v.view(np.uint8).T              # byte 4*c + r: column c, row r
        columns = [[table[b[(4 * (c + r) + r) % 16]] for r, table in enumerate(tables)] for c in range(4)]
        v = np.stack([w ^ x ^ y ^ z for w, x, y, z in columns], axis=1).view(np.uint64) ^ key
    return v


def blocks(begin, end):
    return np.arange(begin, end, dtype=np.uint64)


def ordered_sum(terms):
    padded = np.zeros(max(1, -(-len(terms) // 65536)) * 65536)
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
    def high(a, b):
        return a * b >> 16
    v = 2 * np.rint(np.minimum(x * np.float32(8192), np.float32(32767))).astype(np.int64)
    r = 55110 - high(v, 43953 + high(v, 53241 - high(v, 22739 + high(v, 65247 - high(v, 41477)))))
    s = high(r, r)
    return high(s, s) - 1


def coin(j, t):
    h = j * np.uint64(2654435761) & np.uint64(0xffffffff)
    return ((h >> np.uint64(16) ^ np.uint64(t)) & np.uint64(1)) == 0


class Layout:
    """The tensors of a model, from name, shape and flags of each; they know where they begin and end, a buffer among the
    values of all buffers."""

    def __init__(self, *items):
        self.tensors = [SimpleNamespace(name=name, shape=shape, flags=flags) for name, shape, flags in items]
        self.trained = [t for t in self.tensors if not t.flags & BUFFER]
        self.d, self.buffers_n = (self.place(part) for part in (self.trained, self.tensors[len(self.trained):]))
        self.set_traits([t.flags for t in self.trained])

    @staticmethod
    def place(tensors):
        end = 0
        for t in tensors:
            t.begin, end = end, end + math.prod(t.shape)
            t.end = end
        return end

    def set_traits(self, traits):
        """What WELCOME says of each trained tensor."""
        self.is_full = np.zeros(self.d, bool)
        for t, traits_of in zip(self.trained, traits):
            t.decays, t.full = bool(traits_of & DECAY), bool(traits_of & IN_FULL)
            self.is_full[t.begin:t.end] = t.full
        self.full_n = int(self.is_full.sum())

    def digest(self):
        return xxh64(b''.join(
            t.name.encode() + b'\0' + struct.pack(f'<II{len(t.shape)}Q', len(t.shape), t.flags, *t.shape)
            for t in self.tensors))

    def parts(self, first, end):
        """The parts of a range of coordinates, tensor by tensor."""
        for t in self.trained:
            if t.begin < end and first < t.end:
                yield max(t.begin, first), min(t.end, end), t

    def chunks(self, size, full=True, buffers=False):
        """Section, first, count and flags of each chunk; `size` is that of the first section."""
        sections = (0, self.d, size), (FULL, self.full_n * full, 16384), (BUFFERS, self.buffers_n * buffers, 16384)
        out = [(section, first, min(step, n - first)) for section, n, step in sections for first in range(0, n, step)]
        return [(*chunk, chunk[0] | LAST * (chunk is out[-1])) for chunk in out]

    def weight_chunks(self):
        return self.chunks(16384, full=False, buffers=True)


def chunk_size(phase, wire):
    return {SIGN: 524288, MARGIN: 65536, SGD: 16384 if wire == F32 else 32768}[phase]


# --- values on the wire ----------------------------------------------------------------------------------------------

def rows(x):
    """A part of a tensor as rows of a block each, the last one filled up with zeros."""
    return np.pad(x, (0, -len(x) % BLOCK)).reshape(-1, BLOCK)


@np.errstate(all='ignore')
def encode_blocks(values, residual):
    """Scales and bytes of a part; `residual` is replaced."""
    x = rows(values + residual)
    top = np.abs(x).max(axis=1)
    scale, inverse = top / np.float32(127), np.float32(127) / top
    large = ~(scale * np.float32(127) <= MAX)
    empty = large | ~((top > 0) & (inverse <= MAX))
    q = np.rint(np.where(empty[:, None], 0, x * inverse[:, None]))
    scale = np.where(large, np.float32(np.inf), np.where(empty, np.float32(0), scale))
    left = np.where(empty[:, None], x, x - q * scale[:, None])
    residual[:] = np.where(large[:, None], rows(residual), left).ravel()[:len(values)]
    return scale.astype('<f4').tobytes(), q.astype(np.int8).tobytes()[:len(values)]


def encode_values(layout, wire, first, values, residual):
    """The bulk of a chunk that begins at coordinate `first`; with I8 the residual of these coordinates is replaced."""
    values = np.where(layout.is_full[first:first + len(values)], np.float32(0), values)
    if wire == F32:
        return values.astype('<f4').tobytes()
    if wire == BF16:
        bits = values.view(np.uint32)
        return (bits + 0x7fff + (bits >> 16 & 1) >> 16).astype('<u2').tobytes()
    scales, data = b'', b''
    for begin, end, t in layout.parts(first, first + len(values)):
        at = slice(begin - first, end - first)
        a, b = encode_blocks(values[at], np.zeros(end - begin, np.float32) if t.full else residual[at])
        scales, data = scales + a, data + b
    return scales + data


def decode_values(layout, wire, first, count, bulk):
    if wire == F32:
        return np.frombuffer(bulk, '<f4')
    if wire == BF16:
        return (np.frombuffer(bulk, '<u2').astype(np.uint32) << 16).view(np.float32)
    parts = list(layout.parts(first, first + count))
    blocks_n = sum(-(-(end - begin) // BLOCK) for begin, end, _ in parts)
    scales, q = np.frombuffer(bulk[:4 * blocks_n], '<f4'), np.frombuffer(bulk[4 * blocks_n:], np.int8)
    values, block = np.empty(count, np.float32), 0
    for begin, end, _ in parts:
        n = -(-(end - begin) // BLOCK)
        at = slice(begin - first, end - first)
        values[at] = q[at] * np.repeat(scales[block:block + n], BLOCK)[:end - begin]
        block += n
    return values


def values_bytes(layout, wire, first, count):
    blocks_n = sum(-(-(end - begin) // BLOCK) for begin, end, _ in layout.parts(first, first + count))
    return {F32: 4 * count, BF16: 2 * count, I8: count + 4 * blocks_n}[wire]


def decode_planes(voters, count, bulk):
    """Counts as bit planes -> V/M."""
    planes = np.frombuffer(bulk, np.uint8).reshape(max(1, voters.bit_length()), -1)
    bits = np.unpackbits(planes, axis=1, bitorder='little')
    counts = (bits.astype(np.int64) << np.arange(len(planes))[:, None]).sum(axis=0)
    if (counts > voters).any() or counts[count:].any():
        raise Lost('an UPDATE that counts more than its votes')
    return (2 * counts[:count] - voters).astype(np.float32) / np.float32(max(1, voters))


class Learner:
    def __init__(self, layout):
        self.layout, self.d = layout, layout.d
        self.m, self.residual = np.zeros(self.d, np.float32), np.zeros(self.d, np.float32)
        self.buffers = np.zeros(layout.buffers_n, np.float32)
        self.theta, self.rms, self.n, self.late, self.round = None, {}, 0, False, 0
        self.run = self.m_run = self.m_round = 0  # the last two: which gradient went into m last
        self.phase, self.wire, self.sigma, self.next_buffers = SIGN, F32, 0.0, False
        self.forget()

    def set_up(self, plan, slot, traits, run=0):
        """After each WELCOME."""
        self.run = run
        self.slot, self.seed, self.beta1 = slot, int(plan['seed']), float(plan['optimizer.beta1'])
        self.scale, mode = plan['optimizer.dither.scale'], plan['optimizer.mode']
        self.plain = mode == 'adam' or plan['optimizer.sgd.momentum'] == 'none'
        self.tracking = mode == 'hybrid' and plan['optimizer.sgd.rate'] == 'tracking'
        self.layout.set_traits(traits)

    def forget(self):
        """What outlives neither a connection nor new weights."""
        self.dot = self.begun = None        # begun: the round whose gradient is in g and m
        self.staged_n = 0

    def new_weights(self, theta, buffers, round_):
        another = self.run != self.m_run and self.run and self.m_run
        if round_ == 0 or another or abs(round_ - self.m_round) > MOMENTUM_AGE_MAX:
            self.m[:] = 0
            self.rms, self.n = {}, 0
        self.theta, self.buffers, self.round = theta, buffers, round_
        self.residual[:] = 0
        self.forget()
        if self.n == 0:
            self.late = round_ > 0

    def statistics(self):
        """Whether this phase's rounds have them."""
        return self.phase != SGD or self.tracking

    def voted(self, x):
        return x[~self.layout.is_full] if self.layout.full_n else x

    def chunks(self):
        return self.layout.chunks(chunk_size(self.phase, self.wire), buffers=self.next_buffers)

    @np.errstate(over='ignore')
    def push(self, g, loss, examples):
        """The PUSH frames of round + 1."""
        t, dot, self.dot = self.round + 1, self.dot, None
        if not np.isfinite(g).all():
            return [frame('PUSH', round=t, flags=ABSTAIN)]
        self.n, self.begun, self.g = self.n + 1, t, g.astype(np.float64)
        self.m_run, self.m_round = self.run, t
        b = 0.0 if self.phase == SGD and self.plain else self.beta1
        self.m = np.float32(b) * self.m + np.float32(1.0 - b) * g
        self.measure()
        factor = np.float32(1.0 / (1.0 - math.pow(b, self.n))) if self.late else 1
        values = self.m if factor == 1 else self.m * factor
        sections = {0: values if self.phase == SGD else self.signs(t), FULL: values[self.layout.is_full],
                    BUFFERS: self.buffers}
        at_first = {'has_dot': 1, 'dot': dot} if dot is not None else {}
        at_last = {}
        if math.isfinite(loss):
            norm2 = ordered_sum(self.voted(self.g) ** 2)
            at_last = {'has_scalars': 1, 'loss': loss, 'gradient_norm2': norm2, 'examples': examples}
            if self.statistics():
                at_last['sketch'] = sketch(np.where(self.layout.is_full, 0.0, self.g), self.seed, t)
        frames = []
        for k, (section, first, count, flags) in enumerate(self.chunks()):
            bulk = self.bulk(section, first, sections[section][first:first + count])
            frames.append(frame('PUSH', round=t, first=first, count=count, bulk=bulk, flags=flags,
                                **(at_first if k == 0 else {}), **(at_last if flags & LAST else {})))
        return frames

    def measure(self):
        """Root mean squares of this round's m: of all that is voted on (None), and of each tensor."""
        m = self.m.astype(np.float64)
        voted = self.voted(m)
        self.rms_now = {None: math.sqrt(ordered_sum(voted ** 2) / len(voted)) if len(voted) else 0.0}
        if self.scale == 'tensor':
            for t in self.layout.trained:
                self.rms_now[t.name] = math.sqrt(ordered_sum(m[t.begin:t.end] ** 2) / (t.end - t.begin))

    def bulk(self, section, first, part):
        if section:
            return part.astype('<f4').tobytes()
        if self.phase != SGD:
            return np.packbits(part, bitorder='little').tobytes()
        return encode_values(self.layout, self.wire, first, part, self.residual[first:first + len(part)])

    def gain(self, name):
        scale = 1.0 if self.scale == 'absolute' else self.rms.get(name, 0.0) or self.rms_now[name]
        spread = self.sigma * scale
        return np.float32(min(max(1.0 / spread, 2.0**-126), 2.0**114) if spread > 0 else 0)

    def signs(self, t):
        gains = np.empty(self.d, np.float32)
        for tensor in self.layout.trained:
            gains[tensor.begin:tensor.end] = self.gain(tensor.name if self.scale == 'tensor' else None)
        bits = np.where(self.m == 0, coin(blocks(0, self.d), t), self.m > 0)
        if gains.any():
            u = ars(self.seed, 1, blocks(0, -(-self.d // 8)), t, self.slot).view('<u2').ravel()[:self.d] ^ 0x8000
            bits = np.where(gains > 0, ~np.signbit(self.m) ^ (u < flip(np.abs(self.m) * gains)), bits)
        return bits & ~self.layout.is_full

    def update(self, f):
        section = f.flags & (FULL | BUFFERS)
        if f.first == 0 and not section:
            self.staged, self.staged_n = {0: np.empty(self.d, bool if self.phase == SIGN else np.float32),
                                          FULL: np.empty(self.layout.full_n, np.float32),
                                          BUFFERS: np.empty(self.layout.buffers_n, np.float32)}, 0
        chunks = self.chunks()
        if (f.round != self.round + 1 or self.staged_n == len(chunks) or
                (section, f.first, f.count, f.flags) != chunks[self.staged_n] or len(f.bulk) != self.size_of(f)):
            raise Lost('an UPDATE that is not due')
        self.staged[section][f.first:f.first + f.count] = self.decode(f)
        self.staged_n += 1

    def size_of(self, f):
        bits = (f.count + 7) // 8
        if f.flags & (FULL | BUFFERS):
            return 4 * f.count
        return {SIGN: bits, MARGIN: bits * max(1, f.message.voters.bit_length()),
                SGD: values_bytes(self.layout, self.wire, f.first, f.count)}[self.phase]

    def decode(self, f):
        if f.flags & (FULL | BUFFERS):
            return np.frombuffer(f.bulk, '<f4')
        if self.phase == SIGN:
            return np.unpackbits(np.frombuffer(f.bulk, np.uint8), count=f.count, bitorder='little')
        if self.phase == MARGIN:
            return decode_planes(f.message.voters, f.count, f.bulk)
        return decode_values(self.layout, self.wire, f.first, f.count, f.bulk)

    def commit(self, c, message):
        """'applied'; 'started': it only says what the next round is; 'differs': the weights are not the server's."""
        result = 'started'
        if c != self.round:
            result = self.apply(c, message)
        if result != 'differs':
            self.phase, self.wire, self.sigma = message.next_phase, message.next_wire, message.next_sigma
            self.next_buffers, self.staged_n = bool(message.next_buffers), 0
        return result

    def apply(self, c, message):
        counts = {len(message.rates), len(message.decays)}
        if c != self.round + 1 or self.staged_n != len(self.chunks()) or not counts <= {0, len(self.layout.trained)}:
            raise Lost('a COMMIT that is not due')
        self.dot = None
        if message.has_digest and message.digest != weights_digest(self.theta):
            return 'differs'
        if self.begun == c:
            self.rms = self.rms_now
            if self.statistics():
                self.dot = ordered_sum(self.voted(self.direction() * self.g))
        for i, t in enumerate(self.layout.trained):
            rate = np.float32(message.rates[i] if message.rates else message.rate)
            decay = np.float32(message.decays[i] if message.decays else message.decay)
            theta, staged = self.theta[t.begin:t.end], self.staged[0][t.begin:t.end]
            if t.decays and decay != 1:
                theta *= decay
            if t.full:
                theta -= rate * self.staged[FULL][self.layout.is_full[:t.begin].sum():][:len(theta)]
            else:
                theta -= np.where(staged, rate, -rate) if self.phase == SIGN else rate * staged
        if self.next_buffers:
            self.buffers[:] = self.staged[BUFFERS]
        self.round = c
        return 'applied'

    def direction(self):
        """The update that the dot of the round is taken with."""
        staged = self.staged[0]
        return np.where(staged, 1.0, -1.0) if self.phase == SIGN else (
            staged.astype(np.float64) if self.phase == MARGIN else np.sign(staged).astype(np.float64))
