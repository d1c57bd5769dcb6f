"""Frames, control messages and the handshake's proof, as proto/README.md has them."""
import hmac
import select
import socket
import struct
import threading
import time
import zlib
from types import SimpleNamespace

import numpy as np

VERSION = 4
LAST, ABSTAIN, FULL, BUFFERS = 1, 2, 4, 8     # flags

# The fields of each message, in the order of their numbers from 1; * is repeated.
MESSAGES = {line.split()[0]: [field.split(':') for field in line.split()[1:]] for line in '''
    HELLO job:string program:string role:int layout_digest:u64 examples:int data_digest:u64 wanted_slot:int \
        ticket:bytes test_examples:int nonce:bytes
    WELCOME spare:int slot:int ticket:bytes plan:SETTING* rounds:int round:int phase:int sigma:float rate:float \
        alive_interval_ms:int silence_ms_max:int traits:bytes run:u64
    INIT
    WEIGHTS digest:u64
    READY digest:u64
    PUSH has_dot:int dot:double has_scalars:int loss:double gradient_norm2:double examples:int sketch:float*
    UPDATE voters:int
    COMMIT rate:float rates:float* decay:float voters:bytes last:int next_phase:int next_sigma:float has_digest:int \
        digest:u64 decays:float* next_wire:int next_buffers:int
    EVAL part:int parts:int
    SCORE part:int correct:int total:int loss_sum:double
    RESYNC digest:u64
    ALIVE
    BYE reason:int words:string
    CHALLENGE nonce:bytes proof:bytes
    PROOF proof:bytes
    LAYOUT tensors:TENSOR*
    SETTING key:string value:string
    TENSOR name:string shape:int* flags:int'''.strip().splitlines()}
NAMES = list(MESSAGES)[:16]             # the type's number is the place here, from 1
LIMITS = {'WELCOME': 1 << 20, 'INIT': 0, 'UPDATE': 16, 'ALIVE': 0, 'BYE': 4096, 'CHALLENGE': 4096}   # else 40 KiB
FIXED = {'u64': (1, '<Q'), 'double': (1, '<d'), 'float': (5, '<f')}
HEADER = struct.Struct('<4sBBHIIQIII')
POLYNOMIAL = np.uint32(0x82F63B78)      # of CRC-32C


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def scalar(kind, value):
    """Wire type and bytes."""
    if kind in FIXED:
        return FIXED[kind][0], struct.pack(FIXED[kind][1], value)
    if kind == 'int':
        return 0, varint(value)
    data = encode(kind, value) if kind in MESSAGES else value.encode() if kind == 'string' else value
    return 2, varint(len(data)) + data


def encode(name, values):
    out = b''
    for number, (field, kind) in enumerate(MESSAGES[name], 1):
        value = values.get(field)
        if kind in ('int*', 'float*') and value:
            kind, value = 'bytes', b''.join(scalar(kind[:-1], v)[1] for v in value)
        for v in (value or []) if kind.endswith('*') else [value] if value else []:
            wire, data = scalar(kind.rstrip('*'), v)
            out += varint(number * 8 + wire) + data
    return out


def read_varint(data, at):
    value = shift = 0
    while data[at] > 127:
        value, at, shift = value | (data[at] & 127) << shift, at + 1, shift + 7
    return value | data[at] << shift, at + 1


def decode(name, data):
    """Of the messages that a client gets: none has a repeated int."""
    empty = {'string': '', 'bytes': b''}
    values, at = {field: [] if kind[-1] == '*' else empty.get(kind, 0) for field, kind in MESSAGES[name]}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        value, at = read_varint(data, at) if tag & 7 in (0, 2) else ({1: 8, 5: 4}[tag & 7], at)
        if tag & 7:
            value, at = data[at:at + value], at + value
        field, kind = dict(enumerate(MESSAGES[name], 1)).get(tag >> 3, ('', ''))
        if kind[:-1] in MESSAGES:
            values[field].append(decode(kind[:-1], value))
        elif kind == 'float*':
            values[field] += struct.unpack(f'<{len(value) // 4}f', value)
        elif kind:
            values[field] = (struct.unpack(FIXED[kind][1], value)[0] if kind in FIXED else
                             value.decode() if kind == 'string' else value)
    return SimpleNamespace(**values)


def shift(tables, crcs):
    """CRCs after the zero bytes that the tables stand for."""
    return tables[0][crcs & 255] ^ tables[1][crcs >> 8 & 255] ^ tables[2][crcs >> 16 & 255] ^ tables[3][crcs >> 24]


def shifts():
    """The tables for 4, 8, 16, ... zero bytes: what each value of each byte of a CRC becomes."""
    tables = np.arange(256, dtype=np.uint32) << np.arange(0, 32, 8, dtype=np.uint32)[:, None]
    for _ in range(32):
        tables = tables >> 1 ^ POLYNOMIAL * (tables & 1)
    for _ in range(16):
        yield tables
        tables = shift(tables, tables)


SHIFTS = list(shifts())
ONE_SHIFT = [tables.tolist() for tables in SHIFTS]      # for one CRC in place of an array


def crc32c(data):
    """Of at most 1 MiB. A CRC that starts at 0 is linear: words in pairs, pairs of these, and so on while numpy has many
    to do at once. The first four bytes bring it from 0 to 0xFFFFFFFF, where it has to start."""
    data = b'\x54\x64\x1f\x64' + data
    words = np.frombuffer(bytes(-len(data) % 4) + data, '<u4')
    level = crc = 0
    while len(words) > 100:
        words = np.concatenate((np.zeros(len(words) % 2, np.uint32), words))
        words = shift(SHIFTS[level], words[::2]) ^ words[1::2]
        level += 1
    for word in words.tolist():
        crc = shift(ONE_SHIFT[level], crc) ^ word
    return shift(ONE_SHIFT[0], crc) ^ 0xFFFFFFFF


def frame(name, round=0, first=0, count=0, bulk=b'', flags=0, **fields):
    control = encode(name, fields)
    head = HEADER.pack(b'SGNP', VERSION, NAMES.index(name) + 1, flags, round, len(control), first, count, len(bulk),
                       crc32c(bulk))
    return head + struct.pack('<I', zlib.crc32(control, zlib.crc32(head))) + control + bulk


class Lost(Exception):
    """The connection is gone or no good: connect again."""


class Link:
    """A connection, with a thread that gives signs of life."""

    def __init__(self, address):
        self.sock = socket.create_connection(address, timeout=10)
        self.sock.settimeout(None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lock, self.alive_s, self.silence_s = threading.Lock(), 2.0, 15.0

    def start_alive(self):
        def alive():
            try:
                while True:
                    time.sleep(min(0.1, self.alive_s / 4))      # WELCOME may change it at any time
                    if time.monotonic() >= self.sent + self.alive_s:
                        self.send(frame('ALIVE'))
            except OSError:
                pass                                # closed
        threading.Thread(target=alive, daemon=True).start()

    def send(self, data):
        with self.lock:
            self.sock.sendall(data)
            self.sent = time.monotonic()

    def bye(self, reason):
        self.send(frame('BYE', reason=reason))
        self.sock.shutdown(socket.SHUT_WR)
        end = time.monotonic() + 3
        while self.waiting(max(0.0, end - time.monotonic())) and self.sock.recv(65536):
            pass

    def waiting(self, seconds=0.0):
        return bool(select.select([self.sock], [], [], seconds)[0])

    def read(self, n):
        data = b''
        while len(data) < n:
            if not self.waiting(self.silence_s):
                raise Lost('the server is silent')
            piece = self.sock.recv(n - len(data))
            if not piece:
                raise Lost('the connection ended')
            data += piece
        return data

    def receive(self):
        head = self.read(40)
        magic, version, number, flags, round_, control_n, first, count, bulk_n, bulk_crc = HEADER.unpack(head[:36])
        name = NAMES[number - 1] if 1 <= number <= len(NAMES) else ''
        if (magic != b'SGNP' or version != VERSION and name != 'BYE' or not name or flags > 15 or bulk_n > 65536 or
                control_n > LIMITS.get(name, 40960) or bool(count) != bool(bulk_n) or first + count > 2**34):
            raise Lost('what came is no frame')
        control = self.read(control_n)
        if zlib.crc32(control, zlib.crc32(head[:36])) != int.from_bytes(head[36:], 'little'):
            raise Lost(f'a damaged {name}')
        try:
            message = decode(name, control)
        except (ValueError, LookupError, struct.error) as e:
            raise Lost(f'a broken {name}') from e
        bulk = self.read(bulk_n)
        if crc32c(bulk) != bulk_crc:
            raise Lost(f'a damaged {name}')
        return SimpleNamespace(name=name, flags=flags, round=round_, first=first, count=count, bulk=bulk,
                               message=message)


def read_secret(path):
    with open(path, 'rb') as file:
        data = file.read()
    text = data.strip(b' \t\n\v\f\r')
    if len(text) >= 64 and len(text) % 2 == 0 and all(c in b'0123456789abcdefABCDEF' for c in text):
        data = bytes.fromhex(text.decode())
    if not 32 <= len(data) <= 1024:
        raise ValueError(f'{path}: a secret has 32 to 1024 bytes, this has {len(data)}')
    return data


def proof(secret, who, role, nonce, server_nonce, wanted_slot, layout_digest, job):
    """`who`: 0 the client, 1 the server."""
    job = job.encode()
    return hmac.digest(secret, b'SGNPAUTH' + bytes([VERSION, who, role, 0]) + nonce + server_nonce +
                       struct.pack('<IQI', wanted_slot, layout_digest, len(job)) + job + bytes(4), 'sha256')
