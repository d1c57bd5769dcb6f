"""Readers of the job's files that share nothing with the C code: IDX, safetensors, XXH64, and the model itself."""
import json
import math
import struct
from array import array

MASK = (1 << 64) - 1
P1, P2, P3, P4, P5 = (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579,
                      2870177450012600261)
BLOCK = 65536  # weights in a block of the digest


def _rotl(x, r):
    return ((x << r) | (x >> (64 - r))) & MASK


def _round(acc, lane):
    return (_rotl((acc + lane * P2) & MASK, 31) * P1) & MASK


def xxh64(data, seed=0):
    """As of https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md"""
    n, at = len(data), 0
    if n >= 32:
        acc = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        stripes = n // 32
        for lanes in struct.iter_unpack('<4Q', memoryview(data)[:stripes * 32]):
            for i in range(4):
                acc[i] = _round(acc[i], lanes[i])
        at = stripes * 32
        h = (_rotl(acc[0], 1) + _rotl(acc[1], 7) + _rotl(acc[2], 12) + _rotl(acc[3], 18)) & MASK
        for a in acc:
            h = ((h ^ _round(0, a)) * P1 + P4) & MASK
    else:
        h = (seed + P5) & MASK
    h = (h + n) & MASK
    while at + 8 <= n:
        h = (_rotl(h ^ _round(0, struct.unpack_from('<Q', data, at)[0]), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= n:
        h = (_rotl(h ^ (struct.unpack_from('<I', data, at)[0] * P1 & MASK), 23) * P2 + P3) & MASK
        at += 4
    while at < n:
        h = (_rotl(h ^ (data[at] * P5 & MASK), 11) * P1) & MASK
        at += 1
    h = ((h ^ (h >> 33)) * P2) & MASK
    h = ((h ^ (h >> 29)) * P3) & MASK
    return h ^ (h >> 32)


def weights_digest(raw):
    """Of the float32 bytes of all weights: common/weights.h."""
    blocks = b''.join(struct.pack('<Q', xxh64(raw[i:i + BLOCK * 4])) for i in range(0, len(raw), BLOCK * 4))
    return f'{xxh64(blocks):016x}'


def int8_bytes(shapes):
    """What the values of these tensors take as int8: a byte each, and four a block of 256, which ends with its tensor."""
    counts = [math.prod(shape) for shape in shapes]
    return sum(n + 4 * math.ceil(n / 256) for n in counts)


class Model:
    """A safetensors file."""

    def __init__(self, path):
        data = path.read_bytes()
        (length,) = struct.unpack_from('<Q', data)
        if length > len(data) - 8:
            raise ValueError('the header is longer than the file')
        header = json.loads(data[8:8 + length])
        self.header_bytes = length
        self.metadata = header.pop('__metadata__', {})
        self.tensors = header
        self.raw = data[8 + length:]

    def values(self, name):
        begin, end = self.tensors[name]['data_offsets']
        values = array('f')
        values.frombytes(self.raw[begin:end])
        return values


def read_idx(path):
    """Returns (dimensions, bytes)."""
    data = path.read_bytes()
    zero, kind, dims = struct.unpack_from('>HBB', data)
    if zero != 0 or kind != 8:
        raise ValueError(f'{path} is not an IDX file of bytes')
    shape = struct.unpack_from(f'>{dims}I', data, 4)
    return shape, data[4 + 4 * dims:]


def write_idx(path, shape, data):
    path.write_bytes(struct.pack('>HBB', 0, 8, len(shape)) + struct.pack(f'>{len(shape)}I', *shape) + bytes(data))


def _dense(weight, bias, x):
    """weight is [out, in], by rows."""
    n = len(x)
    return [sum(map(float.__mul__, weight[o * n:(o + 1) * n], x)) + bias[o] for o in range(len(bias))]


def logits(model, pixels, divide, mean, std):
    x = [(p / divide - mean) / std for p in pixels]
    layers = len(model.tensors) // 2
    for i in range(1, layers + 1):
        x = _dense(model.values(f'dense{i}.weight').tolist(), model.values(f'dense{i}.bias').tolist(), x)
        if i < layers:
            x = [max(v, 0.0) for v in x]
    return x
