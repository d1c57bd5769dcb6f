#!/usr/bin/env python3
"""Writes the seed corpus of the fuzz targets into corpus/ beside this file. Nothing here is shared with the C code: header
by struct, checksums by zlib, control messages by the rules of the protobuf encoding."""
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).parent / 'corpus'
TYPES = ['HELLO', 'WELCOME', 'INIT', 'WEIGHTS', 'READY', 'PUSH', 'UPDATE', 'COMMIT', 'EVAL', 'SCORE', 'RESYNC', 'ALIVE', 'BYE',
         'CHALLENGE', 'PROOF', 'LAYOUT', 'ASK', 'ANSWER']
VERSION = 2
LAST, ABSTAIN = 1, 2
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
    'ask-status': ('ASK', 0, data(1, 'status')),
    'ask-stop': ('ASK', 0, data(1, 'stop')),
    'answer': ('ANSWER', 0, data(1, '{"job": "digits", "round": 3, "workers": [{"slot": 0}]}')),
    'welcome': ('WELCOME', 0, welcome(2, [('seed', '1'), ('train.batch', '16'), ('model.hidden', '[64]')])),
    'welcome-spare': ('WELCOME', 0, number(1, 1)),
    'init': ('INIT', 0, b''),
    'weights': ('WEIGHTS', 0, b''),
    'weights-last': ('WEIGHTS', LAST, fixed64(1, 0x0123456789abcdef)),
    'ready': ('READY', 0, fixed64(1, 1)),
    'push-first': ('PUSH', 0, number(1, 1) + double(2, -12.5)),
    'push-last': ('PUSH', LAST, number(3, 1) + double(4, 2.3) + double(5, 0.7) + number(6, 16) + singles(7, [i / 7 for i in range(128)])),
    'push-not-finite': ('PUSH', LAST, number(1, 1) + double(2, float('nan')) + number(3, 1) + double(4, float('inf'))),
    'push-abstain': ('PUSH', LAST | ABSTAIN, b''),
    'update': ('UPDATE', LAST, b''),
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

BULKS = {'push-first': (0, 800, bytes(100)), 'weights': (16384, 4, b'\0\0\x80\x3f' * 4), 'update': ((1 << 34) - 8, 8, b'\xa5')}


def frame(kind, flags, control, first=0, count=0, bulk=b'', round_number=7, version=VERSION):
    header = struct.pack('<4sBBHIIQIII', b'SGNP', version, TYPES.index(kind) + 1, flags, round_number, len(control), first, count,
                         len(bulk), zlib.crc32(bulk))
    return header + struct.pack('<I', zlib.crc32(header + control)) + control + bulk


def main():
    for folder in ('frame', 'codec'):
        (HERE / folder).mkdir(parents=True, exist_ok=True)
    for name, (kind, flags, control) in CONTROLS.items():
        (HERE / 'codec' / name).write_bytes(bytes([TYPES.index(kind), flags]) + control)
        (HERE / 'frame' / name).write_bytes(frame(kind, flags, control, *BULKS.get(name, ())))
    good = frame('READY', 0, fixed64(1, 1))
    for name, at, byte in (('bad-magic', 0, 0), ('bad-version', 4, 3), ('bad-type', 5, 19), ('bad-flags', 7, 1),
                           ('bad-control-length', 15, 1), ('bad-bulk-length', 30, 1), ('bad-range', 22, 1), ('bad-crc', 36, 0)):
        (HERE / 'frame' / name).write_bytes(good[:at] + bytes([byte]) + good[at + 1:])
    for version in (0, 1, 3, 255):  # understood from any version
        (HERE / 'frame' / f'bye-version-{version}').write_bytes(frame('BYE', 0, CONTROLS['bye'][2], version=version))


if __name__ == '__main__':
    main()
