#!/usr/bin/env python3
"""Writes the seed corpus of the fuzz targets into corpus/ beside this file. Nothing here is shared with the C code: header
by struct, checksums by zlib and bit by bit, control messages by the rules of the protobuf encoding."""
import gzip
import json
import pathlib
import struct
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'fixtures'))
import make_fixtures as made  # noqa: E402: files of checkpoints and the journal

HERE = pathlib.Path(__file__).parent / 'corpus'
TYPES = ['HELLO', 'WELCOME', 'INIT', 'WEIGHTS', 'READY', 'PUSH', 'UPDATE', 'COMMIT', 'EVAL', 'SCORE', 'RESYNC', 'ALIVE', 'BYE',
         'CHALLENGE', 'PROOF', 'LAYOUT', 'ASK', 'ANSWER']
VERSION = 4
LAST, ABSTAIN, FULL, BUFFERS = 1, 2, 4, 8
MASK = (1 << 64) - 1


def varint(value):
    out = b''
    while value > 0x7f:
        out, value = out + bytes([value & 0x7f | 0x80]), value >> 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def data(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def fixed64(field, value):
    return varint(field << 3 | 1) + struct.pack('<Q', value)


def double(field, value):
    return varint(field << 3 | 1) + struct.pack('<d', value)


def single(field, value):
    return varint(field << 3 | 5) + struct.pack('<f', value)


def singles(field, values):
    return data(field, struct.pack(f'<{len(values)}f', *values))


def xxh64(text):
    """XXH64, seed 0, from its specification."""
    p1, p2, p3, p4, p5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)

    def rotate(x, by):
        return (x << by | x >> (64 - by)) & MASK

    def step(lane, value):
        return rotate((lane + value * p2) & MASK, 31) * p1 & MASK

    at, h = 0, p5
    if len(text) >= 32:
        lanes = [(p1 + p2) & MASK, p2, 0, -p1 & MASK]
        while at + 32 <= len(text):
            lanes = [step(lane, value) for lane, value in zip(lanes, struct.unpack_from('<4Q', text, at))]
            at += 32
        h = sum(rotate(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18))) & MASK
        for lane in lanes:
            h = ((h ^ step(0, lane)) * p1 + p4) & MASK
    h = (h + len(text)) & MASK
    while at + 8 <= len(text):
        h = (rotate(h ^ step(0, struct.unpack_from('<Q', text, at)[0]), 27) * p1 + p4) & MASK
        at += 8
    if at + 4 <= len(text):
        h = (rotate(h ^ struct.unpack_from('<I', text, at)[0] * p1 & MASK, 23) * p2 + p3) & MASK
        at += 4
    for byte in text[at:]:
        h = rotate(h ^ byte * p5 & MASK, 11) * p1 & MASK
    h = (h ^ h >> 33) * p2 & MASK
    h = (h ^ h >> 29) * p3 & MASK
    return h ^ h >> 32


def layout(tensors):
    """tensors: (name, flags, shape). The control message, and the digest that its HELLO carries."""
    message, digested = b'', b''
    for name, flags, shape in tensors:
        sizes = b''.join(varint(size) for size in shape)
        message += data(1, data(1, name) + data(2, sizes) + (number(3, flags) if flags else b''))
        digested += name.encode() + b'\0' + struct.pack(f'<II{len(shape)}Q', len(shape), flags, *shape)
    return message, xxh64(digested)


def hello(tensors, more=b''):
    return data(1, 'digits') + data(2, 'signpost-worker 0.1.0') + fixed64(4, layout(tensors)[1]) + more


def welcome(slot, plan):
    settings = b''.join(data(4, data(1, key) + data(2, value)) for key, value in plan)
    return (number(2, slot) + data(3, bytes(range(16))) + settings + number(5, 690) + number(6, 3) + number(7, 1)
            + single(8, 0.25) + single(9, 1.5) + number(10, 1000) + number(11, 5000))


NONCE, PROOF = bytes(range(100, 132)), bytes(range(200, 232))
MLP = [('fc1.weight', 1, [64, 64]), ('fc1.bias', 0, [64]), ('fc2.weight', 1, [10, 64]), ('fc2.bias', 0, [10])]

# name -> (type, flags, control message)
CONTROLS = {
    'hello': ('HELLO', 0, hello(MLP, number(5, 1437) + fixed64(6, 77) + number(7, 3) + data(8, bytes(range(16))) + number(9, 360))),
    'hello-with-secret': ('HELLO', 0, hello(MLP, number(5, 1437) + data(10, NONCE))),
    'hello-operator': ('HELLO', 0, data(1, 'digits') + data(2, 'signpost 0.1.0') + number(3, 1) + data(10, NONCE)),
    'challenge': ('CHALLENGE', 0, data(1, NONCE) + data(2, PROOF)),
    'proof': ('PROOF', 0, data(1, PROOF)),
    'layout': ('LAYOUT', 0, layout(MLP)[0]),
    'layout-one-tensor': ('LAYOUT', 0, layout([('t', 0, [1])])[0]),
    'layout-eight-dimensions': ('LAYOUT', 0, layout([('t', 3, [2, 1, 3, 1, 4, 1, 5, 1 << 20])])[0]),
    'layout-buffers': ('LAYOUT', 0, layout(MLP + [('bn.mean', 2, [64]), ('bn.count', 3, [1])])[0]),
    'layout-nothing-but-buffers': ('LAYOUT', 0, layout([('bn.mean', 2, [64])])[0]),
    'layout-trained-after-a-buffer': ('LAYOUT', 0, layout([('t', 0, [1]), ('bn.mean', 2, [64]), ('u', 1, [2])])[0]),
    'ask-status': ('ASK', 0, data(1, 'status')),
    'ask-stop': ('ASK', 0, data(1, 'stop')),
    'answer': ('ANSWER', 0, data(1, '{"job": "digits", "round": 3, "workers": [{"slot": 0}]}')),
    'welcome': ('WELCOME', 0, welcome(2, [('seed', '1'), ('train.batch', '16'), ('model.hidden', '[64]')])),
    'welcome-traits': ('WELCOME', 0, welcome(2, [('seed', '1')]) + data(12, b'\1\0\4\5')),
    'welcome-margin': ('WELCOME', 0, number(2, 1) + data(3, bytes(16)) + number(7, 2)),
    'welcome-spare': ('WELCOME', 0, number(1, 1)),
    'init': ('INIT', 0, b''),
    'weights': ('WEIGHTS', 0, b''),
    'weights-last': ('WEIGHTS', LAST, fixed64(1, 0x0123456789abcdef)),
    'weights-buffers-last': ('WEIGHTS', BUFFERS | LAST, fixed64(1, MASK)),
    'ready': ('READY', 0, fixed64(1, 1)),
    'push-first': ('PUSH', 0, number(1, 1) + double(2, -12.5)),
    'push-last': ('PUSH', LAST, number(3, 1) + double(4, 2.3) + double(5, 0.7) + number(6, 16) + singles(7, [i / 7 for i in range(128)])),
    'push-not-finite': ('PUSH', LAST, number(1, 1) + double(2, float('nan')) + number(3, 1) + double(4, float('inf'))),
    'push-full': ('PUSH', FULL, b''),
    'push-buffers-last': ('PUSH', BUFFERS | LAST, number(3, 1) + double(4, 2.3) + double(5, 0.7) + number(6, 16)),
    'push-abstain': ('PUSH', LAST | ABSTAIN, b''),
    'update': ('UPDATE', LAST, b''),
    'update-votes': ('UPDATE', 0, number(1, 255)),
    'update-too-many-votes': ('UPDATE', 0, number(1, 256)),
    'update-full': ('UPDATE', FULL, number(1, 4)),
    'update-buffers-last': ('UPDATE', BUFFERS | LAST, number(1, 3)),
    'commit-next': ('COMMIT', 0, single(1, 0.001) + single(3, 1.0) + number(6, 1) + number(11, 2) + number(12, 1)),
    'commit-margin': ('COMMIT', 0, single(1, 0.004) + single(3, 1.0) + number(6, 2) + single(7, 1.0)),
    'commit': ('COMMIT', 0, single(1, 0.001) + single(3, 0.999) + data(4, b'\x0f') + single(7, 0.5)),
    'commit-tensors': ('COMMIT', 0, singles(2, [0.1, 0.2, 0.3, 0.4]) + data(4, b'\0\1') + number(5, 1) + number(6, 1)
                       + number(8, 1) + fixed64(9, MASK) + singles(10, [1.0, 0.5, 1.0, 0.5])),
    'eval': ('EVAL', 0, number(1, 1) + number(2, 4)),
    'score': ('SCORE', 0, number(1, 1) + number(2, 355) + number(3, 360) + double(4, 20.25)),
    'resync': ('RESYNC', 0, fixed64(1, 2)),
    'alive': ('ALIVE', 0, b''),
    'bye': ('BYE', 0, number(1, 5) + data(2, 'the layout differs')),
    'bye-unknown-fields': ('BYE', 0, number(99, 1) + number(1, 200) + data(98, 'later') + single(97, 1.0)),
}

BULKS = {'push-first': (0, 800, bytes(100)), 'weights': (16384, 4, b'\0\0\x80\x3f' * 4), 'update': ((1 << 34) - 8, 8, b'\xa5'),
         'update-votes': (65536, 9, bytes(16)), 'push-full': (0, 2, bytes(8)), 'update-full': (16384, 1, b'\0\0\x80\x3f'),
         'push-buffers-last': (0, 1, bytes(4)), 'update-buffers-last': (16384, 1, bytes(4)),
         'weights-buffers-last': (0, 2, bytes(8))}


def values(wire, tensors, first, count, bulk):
    """tensors: (coordinates, whether in full), at most 8 of at most 700."""
    what = next(byte for byte in range(256) if byte % 3 == wire and byte // 4 % 8 == len(tensors) - 1)
    sizes = b''.join(struct.pack('<HB', size - 1, 3 if full else 0) for size, full in tensors)
    return bytes([what]) + sizes + struct.pack('<HH', first, count) + bulk


def i8(scales, bytes_):
    return struct.pack(f'<{len(scales)}f', *scales) + bytes(bytes_)


# name -> input of fuzz_values
VALUES = {
    'f32': values(0, [(9, 0)], 0, 9, struct.pack('<9f', *range(9))),
    'f32-not-finite': values(0, [(3, 0)], 0, 3, struct.pack('<3f', 1.0, float('inf'), 2.0)),
    'bf16': values(1, [(9, 0)], 1, 5, struct.pack('<5H', 0x3f80, 0xbf80, 0, 0x8000, 0x7f7f)),
    'bf16-nan': values(1, [(3, 0)], 0, 3, struct.pack('<3H', 0x7fc1, 0xff80, 1)),
    'i8-tensors': values(2, [(300, 0), (5, 1), (7, 0), (600, 0)], 290, 40,
                         i8([0.5, 0.0, 2.0, 0.25], [127, 129, 0, 1] * 10)),
    'i8-blocks': values(2, [(700, 0)], 0, 600, i8([1.0, 0.0, 1e-3], [(j * 37) % 255 - 127 & 255 for j in range(600)])),
    'i8-tiny': values(2, [(4, 0)], 0, 4, i8([2.9e-39], [127, 129, 1, 0])),
    'i8-huge': values(2, [(4, 0)], 0, 4, i8([2.67e36], [127, 129, 1, 0])),
    'i8-refused': values(2, [(4, 0)], 0, 4, i8([-1.0], [128, 129, 1, 0])),
    'nothing': values(2, [(4, 0)], 3, 0, b''),
}

# name -> input of fuzz_planes: votes, coordinates, planes
PLANES = {
    'one-vote': struct.pack('<BH', 1, 12) + b'\xa5\x0a',
    'four-votes': struct.pack('<BH', 4, 5) + b'\x0a\x0c\x10',
    'four-votes-too-many': struct.pack('<BH', 4, 5) + b'\x1f\x00\x10',
    'most-votes': struct.pack('<BH', 255, 20) + bytes(range(24)),
    'bits-past-the-end': struct.pack('<BH', 3, 9) + b'\x00\x02\x00\x00',
    'no-votes': struct.pack('<BH', 0, 9) + bytes(2),
    'nothing': struct.pack('<BH', 7, 0),
}

# name -> input of fuzz_kernels: the number of a comparison, then what lengths, alignments and numbers are drawn from
KERNELS = {f'{number:02}-{name}': bytes([number]) + content for number in range(16) for name, content in (
    ('drawn', b''), ('zeros', bytes(64)), ('ones', b'\xff' * 64), ('count', bytes(range(1, 200, 3))))}


def weights(tensors, more=b'', length=None):
    """A safetensors file of (name, type, shape, bytes[, where they begin]); `length` of its header, if not the true one."""
    header, body = {'__metadata__': {'format': 'pt'}}, b''
    for name, kind, shape, content, *begin in tensors:
        at = begin[0] if begin else len(body)
        header[name] = {'dtype': kind, 'shape': shape, 'data_offsets': [at, at + len(content)]}
        body += content
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text + body + more


RUNNING = ('running', 'F32', [], struct.pack('<f', 0.5))
SAFETENSORS = {
    'f32': weights([('w', 'F32', [4], struct.pack('<4f', 1, -2, 3, 4)), RUNNING]),
    'f64': weights([RUNNING, ('w', 'F64', [4], struct.pack('<4d', 1, -2, 3, 4e-50))]),
    'f16': weights([('w', 'F16', [4], struct.pack('<4e', 1, -2, 6e-8, 65504)), RUNNING, ('n', 'I64', [], bytes(8))]),
    'bf16': weights([('w', 'BF16', [4], bytes([0, 0x3f, 0x80, 0xbf, 1, 0, 0x7f, 0x7f])), RUNNING]),
    'nan': weights([('w', 'F32', [4], struct.pack('<4f', 1, 2, float('nan'), 4)), RUNNING]),
    'shape': weights([('w', 'F32', [2, 2], bytes(16)), RUNNING]),
    'overlap': weights([('w', 'F32', [4], bytes(16)), ('running', 'F32', [1], bytes(4), 12)]),
    'hole': weights([('w', 'F32', [4], bytes(16), 4), RUNNING]),
    'more': weights([('w', 'F32', [4], bytes(16)), RUNNING], more=b'x'),
    'cut': weights([('w', 'F32', [4], bytes(16)), RUNNING])[:-7],
    'length': weights([RUNNING], length=MASK),
}

CHECKPOINTS = {
    'fixture': made.CHECKPOINT,
    'empty': made.checkpoint(0, 1, []),
    'many': made.checkpoint(7, 1, [(f's{i}', bytes([i]) * (60 + i)) for i in range(16)]),
    'too-many': made.checkpoint(7, 1, [(f's{i}', b'') for i in range(17)]),
    'no-name': made.checkpoint(7, 1, [('', b'x')]),
    'long-name': made.checkpoint(7, 1, [('sixteen-letters.', b'x')]),
    'cut': made.CHECKPOINT[:-7],
    'version': b'SPCHECK2' + made.CHECKPOINT[8:],
}


def record(round_number, *more):
    return made.entry(made.CHUNK, round_number, bytes(5), count=40, voters=2) + b''.join(more) + made.entry(
        made.COMMIT, round_number, b'state')


def journal(first, second=b''):
    """An input of fuzz_journal: the entries of two segments, after rounds 0 and 2."""
    return struct.pack('<H', len(first)) + first + second


def bare(entry):
    """Without the head's checksum: fuzz_journal puts it right, whatever the fuzzer made of the entry."""
    return entry[:44] + bytes(4) + entry[48:]


BARE = [bare(made.entry(kind, 1 + i // 2, b'body', count=8)) for i, kind in enumerate(2 * [made.CHUNK, made.COMMIT])]
GRADIENT = made.entry(made.GRADIENT, 1, bytes(8), count=2)
JOURNALS = {
    'two-segments': journal(record(1) + record(2), record(3) + record(4)),
    'torn': journal(record(1) + record(2)[:-9]),
    'gap': journal(record(1), record(3)),
    'gap-within': journal(record(1)[:-1] + b'x' + record(2) + record(3)),
    'anew': journal(made.entry(made.CHUNK, 1, bytes(5), count=40) + record(1)),
    'gradients': journal(GRADIENT + record(1, made.entry(made.GRADIENT, 1, bytes(8), first=40, count=2))),
    'gradients-anew': journal(GRADIENT + made.entry(made.CHUNK, 1, b'', count=0) + GRADIENT + record(1)),
    'no-first': journal(made.entry(made.COMMIT, 1, b'')),
    'bare': journal(b''.join(BARE)),
    'bare-segments': journal(b''.join(BARE), bare(made.entry(made.CHUNK, 3, bytes(9))) + bare(made.entry(made.COMMIT, 3, b''))),
    'overlap': journal(record(1) + record(2) + record(3), record(3)),
}


# Events of fuzz_round, by their numbers there; each is of a line, 0 to 7.
HELLO, GO_ON, ALL, PUSH, WEIGHTS, READY, ANY, FILL, SCORE, RESYNC, LEFT, TICK, OPERATE, KEEP, CRASH, LEAVE_ALL = range(16)


def event(kind, *more, line=0):
    return bytes([16 * line + kind, *more])


def job_of_round(options, *events, what=0):
    """An input of fuzz_round: {option: choice} of the lines of its table, then what happens."""
    return bytes(options.get(i, 0) for i in range(18)) + bytes([what]) + b''.join(events)


def work(steps, fill=10):
    return b''.join(event(ALL, fill + step % 20) for step in range(steps))


SECOND = event(TICK, line=5)
LONG = {1: 3}  # 20 rounds; with the others a job is soon over
ROUNDS = {
    'nothing': job_of_round({}),
    'sign': job_of_round({0: 2, 1: 2}, work(30)),
    'margin': job_of_round({0: 2, 1: 2, 2: 3, 9: 3}, work(30)),
    'to-margin': job_of_round({0: 2, 2: 5, 3: 1, **LONG}, work(40)),
    'sgd-f32': job_of_round({0: 3, 2: 1, 7: 1, 11: 1, **LONG}, work(30)),
    'sgd-i8': job_of_round({0: 3, 2: 1, 6: 3, 7: 2, **LONG}, work(12), event(CRASH), event(TICK, line=6), work(9)),
    'sgd-bf16': job_of_round({0: 3, 1: 2, 2: 1, 6: 2, 7: 3}, work(30)),
    'adam': job_of_round({0: 1, 2: 2, **LONG}, work(8), event(KEEP, line=7) * 3, work(3), event(CRASH), work(12)),
    'switch': job_of_round({0: 1, 3: 1, 4: 1, 5: 1, **LONG}, work(30)),
    'switch-tensors': job_of_round({0: 1, 3: 1, 11: 1, 15: 1, **LONG}, event(HELLO, 2, 0), work(40)),
    'switch-paper': job_of_round({0: 1, 3: 1, 4: 2, 5: 1, 10: 1, **LONG}, work(30)),
    'switch-asked': job_of_round({0: 1, 3: 2, **LONG}, event(OPERATE, 0), work(6), event(OPERATE, 0), work(3), event(OPERATE, 0),
                                 work(30)),
    'dry-run': job_of_round({0: 1, 3: 4, **LONG}, work(8), event(OPERATE, 0), work(30)),
    'swats': job_of_round({0: 1, 3: 3, 4: 3, **LONG}, work(40)),
    'full': job_of_round({0: 1, 1: 2, 11: 2}, event(HELLO, 3, 0), work(40)),
    'full-replayed': job_of_round({0: 1, 11: 1, 2: 3, **LONG}, event(HELLO, 3, 0), work(9), event(CRASH), event(TICK, line=6), work(9)),
    'large': job_of_round({0: 1, 2: 1, 6: 1}, event(HELLO, 5, 0), work(30), what=128),
    'held': job_of_round({0: 1, 2: 1, 6: 1}, event(HELLO, 5, 0), work(10), event(PUSH, 20, 0) * 8, work(12), what=128),
    'half': job_of_round({0: 1, **LONG}, event(HELLO, 0, 0), event(WEIGHTS, 3), event(HELLO, 0, 0, line=1), event(FILL), work(3),
                         event(PUSH, 7, 0), event(LEFT, line=1), event(FILL), work(20)),
    'init': job_of_round({0: 1}, event(HELLO, 0, 0), event(HELLO, 2, 0), work(20), what=7),
    'init-late': job_of_round({12: 3}, event(HELLO, 0, 0), event(TICK, line=5), event(HELLO, 3, 0), event(WEIGHTS, 0xc4),
                              event(WEIGHTS, 0xc4), event(HELLO, 3, 0), event(WEIGHTS, 0xff), work(9)),
    'hellos': job_of_round(LONG, event(HELLO, 0, 0), *[event(HELLO, what, more, line=1) for what, more in (
        (1, 0), (0, 255), (128, 56), (0, 24), (8, 24), (32, 96), (33, 96), (96, 0), (64, 0), (192, 24))], work(9)),
    'spares': job_of_round({0: 1, **LONG}, *[event(HELLO, 0, 0, line=i) for i in range(8)], work(4), event(PUSH, 1, 1, line=2),
                           event(LEFT), work(4), event(LEFT, line=1), work(10)),
    'ticket': job_of_round({0: 1, **LONG}, work(4), event(HELLO, 64, 0, line=4), work(4), event(HELLO, 64, 1, line=5), work(10)),
    'resync': job_of_round({0: 1, **LONG}, work(4), event(RESYNC, 1), work(4), event(READY, 7), event(RESYNC, 0, line=1), work(5)),
    'all-leave': job_of_round({0: 2, **LONG}, work(6), event(LEAVE_ALL), SECOND, work(3), SECOND, work(20)),
    'begins-anew': job_of_round({0: 1, 2: 1, 6: 3, 11: 1, **LONG}, event(HELLO, 0, 0), work(4), event(PUSH, 1, 0),
                                event(PUSH, 1, 0, line=1), event(LEAVE_ALL), work(9)),
    'crash': job_of_round({0: 1, **LONG}, work(6), event(KEEP, line=1), work(6), event(CRASH), SECOND, work(20)),
    'switch-after-the-end': job_of_round({1: 1}, work(4), event(CRASH), event(OPERATE, 0), work(10)),
    'stop': job_of_round({0: 1, **LONG}, work(4), event(OPERATE, 255), work(3)),
    'timeouts': job_of_round({0: 2, 12: 2, 13: 2, 14: 2, **LONG}, event(HELLO, 0, 0), event(TICK, line=6), work(3),
                             event(TICK, line=6), event(LEFT, line=1), work(4), event(TICK, line=7), work(6), event(TICK, line=7)),
    'quorum': job_of_round({0: 2, 8: 2, **LONG}, work(4), *[
        event(GO_ON, 9, line=i % 2) + event(TICK, line=4) for i in range(24)]),
    'quorum-chunks': job_of_round({0: 2, 2: 1, 6: 1, 8: 1}, event(HELLO, 5, 0), work(8), *[
        event(PUSH, 9, 0) + event(TICK, line=i % 3) for i in range(12)], work(6), event(TICK, line=8), work(9), what=128),
    'dropped': job_of_round({0: 2, 8: 1, 14: 1, **LONG}, work(3), event(PUSH, 1, 0), event(PUSH, 3, 0, line=2),
                            event(PUSH, 1, 0, line=1), event(TICK, line=8) * 3, event(FILL, line=2), work(9)),
    'oppose': job_of_round({0: 3, 1: 5, 9: 3, 14: 1}, event(HELLO, 2, 0), work(4), *[
        b''.join(event(PUSH, r % 32 + 128 * (i == 2), 0, line=i) for i in range(4)) for r in range(0, 104, 4)], work(3), event(CRASH),
                           event(TICK, line=6), work(5)),
    'robust': job_of_round({0: 4, 3: 1, 4: 2, 5: 1, 10: 1, 14: 1, **LONG}, work(30)),
    'windows': job_of_round({1: 5, 14: 1}, work(110)),
    'windows-robust': job_of_round({0: 4, 1: 5, 10: 1, 14: 1}, work(60)),
    'again': job_of_round({0: 1, **LONG}, work(4), event(PUSH, 1, 0), event(PUSH, 1, 0xfd), event(PUSH, 1, 0xfd),
                          event(PUSH, 1, 0xfc), event(PUSH, 1, 0xfc, line=1), work(9)),
    'breaks': job_of_round({0: 2, **LONG}, event(HELLO, 3, 0), work(4), event(LEFT, line=9), work(3), event(LEFT, line=8), work(9)),
    'not-finite': job_of_round({0: 1, 2: 1, **LONG}, work(4), event(PUSH, 0xc5, 0), event(PUSH, 20, 0xff, line=1), work(20)),
    'huge': job_of_round({0: 1, 2: 1, **LONG}, work(4), event(PUSH, 0xb0, 0), event(PUSH, 0xb1, 0x80, line=1), work(20)),
    'statistics': job_of_round({0: 1, 3: 1, 4: 2, **LONG}, work(4), *[
        event(PUSH, 12, 8 * i, line=i % 2) for i in range(12)], work(10)),
    'score': job_of_round({0: 1, 14: 2, **LONG}, work(5), event(SCORE, 0), event(SCORE, 255, line=1), work(12)),
    'weights-empty': job_of_round({}, event(HELLO, 0, 0), event(ANY, 1, 0, 0, *bytes(8)) * 3, event(WEIGHTS, 0)),
    'abstain': job_of_round({0: 1, **LONG}, work(4), event(ANY, 0x24, 0, 0), event(ANY, 0x24, 0, 0, line=1), work(12)),
    'all-abstain': job_of_round({1: 2, 11: 1}, work(3), *[event(ANY, 0x24, 0, 0)] * 4, work(12)),
    'any': job_of_round({0: 1, **LONG}, work(4), event(ANY, 0x14, 0x68, 0xe5, 1, 0, 0), event(ANY, 0x1e, 9, 1, 2, 3, 4, 5, line=1),
                        work(20)),
    'votes-beyond': job_of_round({0: 1, 11: 1, **LONG}, work(4), event(PUSH, 0xe0, 0), event(PUSH, 0xf1, 0, line=1), work(9)),
}


def job(text, setting='', folder=0):
    """An input of fuzz_job."""
    return bytes([folder, len(setting)]) + setting.encode() + (text if isinstance(text, bytes) else text.encode())


CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
HEAD = 'job: a\ndata: {train: {images: i, labels: l}}\n'
JOBS = {
    **{path.stem: job(path.read_bytes()) for path in sorted(CONFIGS.glob('*.yaml'))},
    'empty': job(''),
    'only-set': job('', 'job=a'),
    'set': job(HEAD, 'optimizer.switch.when=never', 1),
    'set-at': job(HEAD + 'optimizer: {switch: {when: at, epoch: 2}}\n', 'optimizer.switch.fraction=0.5', 2),
    'set-unknown': job(HEAD, 'train.bacth=3'),
    'set-nothing': job(HEAD, 'train.batch'),
    'set-not-utf8': bytes([1, 20]) + b'data.csv.label=\xff\xfe..' + HEAD.encode(),
    'set-list': job(HEAD, 'model.hidden=[64, 32]'),
    'set-rules': job(HEAD, 'tensors=[{match: "bn*", update: full}]'),
    'quorum': job(HEAD + 'workers: 4\nserver: {close: {quorum: 3, deadline: adaptive}}\n'),
    'rules': job(HEAD + 'tensors:\n  - {match: "bn*", update: full}\n  - match: "*.bias"\n    decay: true\n', folder=3),
    'csv': job('job: a\ndata: {format: csv, train: {files: "x*.csv"}, csv: {header: false, separator: tab, label: 3, shape: [2, 3, 4]}}',
               folder=3),
    'pattern': job('job: a\ndata: {format: cifar10, train: {files: "[ab]/\\\\*?.bin"}}\n', folder=4),
    'quoted': job('job: "a"\ndata: {train: {images: "\\u00e9\\t", labels: \'l #\'}}\n', folder=1),
    'scale': job(HEAD + 'data2: 1\nmodel: {hidden: [1, 2]}\ndata: {scale: {mean: [0.1, 0.2], std: 1e-3}}\n'),
    'numbers': job(HEAD + 'seed: 18446744073709551615\ntrain: {epochs: 0.1, rounds: 010, batch: -1}\n'),
    'anchor': job('a: &b [*b, !t x]\n'),
    'deep': job('{' * 20),
    'tab': job('job: a\n\tb: c\n'),
    'nul': job(b'job: a\0b\n'),
    'mark': job(b'\xef\xbb\xbf' + HEAD.encode()),
    'utf16': job(HEAD.encode('utf-16')),
    'nul-escaped': job('job: "a\\0"\ndata: {train: {images: "\\0"}, csv: {shape: ["\\0", 1]}}\n'),
    'address': job(HEAD + 'server: {listen: "[::1]:7700", http: "::1:7"}\n'),
    'many-problems': job(HEAD + ''.join(f'k{i}: {i}\n' for i in range(55))),
    'list-in-list': job('job: a\nmodel: {hidden: [[1], 2, {a: b}]}\ndata: {scale: {mean: [], std: [1, 0]}}\n'),
    'many-rules': job(HEAD + 'tensors: [' + '{match: a, update: full}, ' * 34 + ']\n'),
    'wrong-rules': job(HEAD + 'tensors: [a, {match: "b", decay: "yes"}, {update: full}, {match: c}, {mtch: d, match: [e]}]\n'),
    'wrong-together': job('job: a\ndata: {format: csv, train: {images: i}, csv: {shape: [3], label: ""}, scale: {compute: all, mean: 1, std: 2}, '
                          'augment: {flip: true}}\nmodel: {hidden: []}\noptimizer: {mode: adam, switch: {when: at, epoch: 1, step: 2}}\n'
                          'tensors: [{match: a, update: full}]\nserver: {close: quorum, min_live: 9, journal: {enabled: true}, '
                          'checkpoint: {enabled: false}}\n'),
    'documents': job(HEAD + '---\njob: b\n...\n'),
}


IDX, CIFAR10, CIFAR100, CSV = range(4)
NO_HEADER, TAB, TWO, PACKED = 4, 16, 64, 128


def files(what, first, second=b'', more=0, padding=0):
    """An input of fuzz_data: two files, the first with so many zeros behind it."""
    first, second = (text.encode() if isinstance(text, str) else text for text in (first, second))
    return struct.pack('<BBHH', what, more, len(first), padding) + first + second


def idx(sizes, elements):
    return struct.pack(f'>HBB{len(sizes)}I', 0, 8, len(sizes), *sizes) + bytes(elements)


IRIS = 'a,b,label\n1,2.5,0\n-3e2,4,1\n'
DATA = {
    'idx': files(IDX, idx([3, 2, 2], range(12)), idx([3], [0, 2, 1])),
    'idx-flat': files(IDX, idx([2, 3], range(6)), idx([2], [0, 1]), 16),
    'idx-channels': files(IDX, idx([1, 3, 2, 1], range(6)), idx([1], [255]), 32),
    'idx-packed': files(IDX | PACKED, idx([2, 2, 2], range(8)), idx([2], [0, 1]), 48),
    'idx-counts': files(IDX | PACKED, idx([2, 2, 2], range(8)), idx([3], [0, 1, 2])),
    'idx-short': files(IDX | PACKED, idx([2, 2, 2], range(7)), idx([2], [0, 1])),
    'idx-long': files(IDX | PACKED, idx([2, 2, 2], range(8)), idx([2], [0, 1]), padding=1),
    'idx-huge': files(IDX | PACKED, idx([1 << 31, 1 << 12, 1 << 12], []), idx([1 << 31], [])),
    'idx-gzip': files(IDX, gzip.compress(idx([2, 2, 2], range(8)), 9, mtime=0), gzip.compress(idx([2], [0, 1]), 9, mtime=0)),
    'cifar10': files(CIFAR10 | PACKED, bytes([3, 1, 2]), padding=3070),
    'cifar10-two': files(CIFAR10 | TWO | PACKED, bytes([9]), bytes([1]) + bytes(3072), padding=3072),
    'cifar10-label': files(CIFAR10, bytes([10]), padding=3072),
    'cifar10-channel': files(CIFAR10, bytes([1, 7]), more=32, padding=2 * 3073 - 2),
    'cifar100': files(CIFAR100 | PACKED, bytes([19, 99]), padding=3072),
    'cifar100-short': files(CIFAR100 | PACKED, bytes([19, 99]), padding=3071),
    'cifar10-gzip': files(CIFAR10, gzip.compress(bytes(3073), 9, mtime=0)),
    'csv': files(CSV | PACKED, IRIS, more=16),
    'csv-two': files(CSV | TWO | PACKED, IRIS, IRIS, more=48),
    'csv-two-differ': files(CSV | TWO, IRIS, IRIS.replace('b', 'c')),
    'csv-plain': files(CSV | NO_HEADER, '0,1,2\n1,2,3\n', more=1 + 4),
    'csv-tab': files(CSV | TAB, IRIS.replace(',', '\t'), more=2),
    'csv-quotes': files(CSV | PACKED, '"a ""b"" , c", "label"\r\n"1" , 2\r\n\r\n3,4'),
    'csv-open-quote': files(CSV, 'a,label\n1,"2'),
    'csv-quote-within': files(CSV, 'a,label\n1"2,3\n'),
    'csv-fields': files(CSV, 'a,label\n1,2,3\n'),
    'csv-huge': files(CSV | NO_HEADER, '3e38,0\n-3e38,1\n1e-45,2\n', more=2 + 16),
    'csv-infinite': files(CSV | NO_HEADER, '1e39,0\n', more=2),
    'csv-label': files(CSV | NO_HEADER, '1,256\n', more=2),
    'csv-mark': files(CSV, b'\xef\xbb\xbfy,z\n1,2\n', more=3),
    'csv-zeros': files(CSV, IRIS, padding=5),
    'csv-gzip': files(CSV, gzip.compress(IRIS.encode(), 9, mtime=0) * 2),
    'csv-gzip-cut': files(CSV, gzip.compress(IRIS.encode(), 9, mtime=0)[:-3]),
    'csv-gzip-padded': files(CSV, gzip.compress(IRIS.encode(), 9, mtime=0), padding=9),
    'csv-numbers': files(CSV, '1,2\n3,4\n'),
    'csv-long': files(CSV | NO_HEADER | PACKED, '12,3.5e-2,4\r\n', more=128 + 1, padding=12001),
    'csv-long-field': files(CSV | NO_HEADER | PACKED, '1,"23', more=128 + 1, padding=12000),
    'csv-long-row': files(CSV | NO_HEADER | PACKED, '1,', more=128 + 1, padding=4000),
    'idx-long-again': files(IDX | PACKED, idx([1, 12006], range(1, 7)), idx([1], [1]), more=128, padding=2000),
}


def frame(kind, flags, control, first=0, count=0, bulk=b'', round_number=7, version=VERSION):
    header = struct.pack('<4sBBHIIQIII', b'SGNP', version, TYPES.index(kind) + 1, flags, round_number, len(control), first, count,
                         len(bulk), made.crc32c(bulk))
    return header + struct.pack('<I', zlib.crc32(header + control)) + control + bulk


def main():
    for folder in ('frame', 'codec', 'checkpoint', 'data', 'job', 'journal', 'kernels', 'values', 'planes', 'round', 'safetensors'):
        (HERE / folder).mkdir(parents=True, exist_ok=True)
    for name, (kind, flags, control) in CONTROLS.items():
        (HERE / 'codec' / name).write_bytes(bytes([TYPES.index(kind), flags]) + control)
        (HERE / 'frame' / name).write_bytes(frame(kind, flags, control, *BULKS.get(name, ())))
    for folder, seeds in (('checkpoint', CHECKPOINTS), ('data', DATA), ('job', JOBS), ('journal', JOURNALS), ('kernels', KERNELS), ('values', VALUES),
                          ('planes', PLANES), ('round', ROUNDS), ('safetensors', SAFETENSORS)):
        for name, content in seeds.items():
            (HERE / folder / name).write_bytes(content)
    (HERE / 'frame' / 'bad-update-control').write_bytes(frame('UPDATE', 0, bytes(17)))
    good = frame('READY', 0, fixed64(1, 1))
    for name, at, byte in (('bad-magic', 0, 0), ('bad-version', 4, 3), ('bad-type', 5, 19), ('bad-flags', 7, 1),
                           ('bad-control-length', 15, 1), ('bad-bulk-length', 30, 1), ('bad-range', 22, 1), ('bad-crc', 36, 0)):
        (HERE / 'frame' / name).write_bytes(good[:at] + bytes([byte]) + good[at + 1:])
    for version in (0, 1, 2, 3, 255):  # understood from any version
        (HERE / 'frame' / f'bye-version-{version}').write_bytes(frame('BYE', 0, CONTROLS['bye'][2], version=version))


if __name__ == '__main__':
    main()
