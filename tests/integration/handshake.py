"""The handshake as this test suite knows it: frames, protobuf and proofs with nothing but Python's standard library.
Nothing here is shared with the C code."""
import hashlib
import hmac
import os
import socket
import struct
import zlib

import wire

WORKER, OPERATOR, PROBE = 0, 1, 2
CLIENT, SERVER = 0, 1

# Reasons of a BYE.
DONE, STOPPED, PROTOCOL, VERSION, JOB, LAYOUT, DATA, SLOT = range(8)
REPLACED, SECRET, OPERATOR_REFUSED = 12, 16, 17


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def uint(field, value):
    return varint(field << 3) + varint(value) if value else b''


def fixed64(field, value):
    return varint(field << 3 | 1) + struct.pack('<Q', value) if value else b''


def data(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value if value else b''


def fields(message):
    """{field number: last value} of a message; submessages stay bytes."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        kind = key & 7
        if kind == 0:
            value = number()
        else:
            length = {1: 8, 5: 4}.get(kind)
            length = number() if length is None else length
            value, at = message[at:at + length], at + length
            if kind != 2:
                value = int.from_bytes(value, 'little')
        found[key >> 3] = value
    return found


def crc32c(bytes_):
    crc = 0xFFFFFFFF
    for byte in bytes_:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(type_, control=b'', bulk=b'', *, version=wire.VERSION, flags=0, round_=0, first=0, count=0):
    head = struct.pack('<4sBBHIIQIII', wire.MAGIC, version, type_, flags, round_, len(control), first, count, len(bulk),
                       crc32c(bulk))
    return head + struct.pack('<I', zlib.crc32(control, zlib.crc32(head))) + control + bulk


def proof(secret, prover, role, client_nonce, server_nonce, slot, digest, job, version=wire.VERSION):
    job = job.encode()
    text = (b'SGNPAUTH' + bytes([version, prover, role, 0]) + client_nonce + server_nonce +
            struct.pack('<IQI', slot + 1, digest, len(job)) + job + bytes(4))
    return hmac.new(secret, text, hashlib.sha256).digest()


def secret_of(path):
    return bytes.fromhex(path.read_text())


class Client:
    """One connection that says what a test wants to say."""

    def __init__(self, address, seconds=15):
        host, port = address.rsplit(':', 1)
        self.socket = socket.create_connection((host, int(port)), timeout=seconds)
        self.rest = b''
        self.nonce = os.urandom(32)
        self.server_nonce = self.server_proof = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, raw):
        try:
            self.socket.sendall(raw)
        except (ConnectionResetError, BrokenPipeError):
            pass  # what it said before is still to be read

    def receive(self, bytes_):
        while len(self.rest) < bytes_:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError(f'the connection ended after {len(self.rest)} of {bytes_} bytes')
            self.rest += piece
        taken, self.rest = self.rest[:bytes_], self.rest[bytes_:]
        return taken

    def next(self):
        """The next frame: (type, control fields, bulk)."""
        header = self.receive(40)
        kind = header[5]
        control_bytes, bulk_bytes = struct.unpack_from('<I', header, 12)[0], struct.unpack_from('<I', header, 28)[0]
        control = self.receive(control_bytes)
        return kind, fields(control), self.receive(bulk_bytes)

    def hello(self, job='digits', role=WORKER, slot=-1, tensors=None, nonce=True, ticket=b'', examples=1437,
              version=wire.VERSION, digest=None, more=b''):
        self.job, self.role, self.slot = job, role, slot
        self.layout = b''.join(data(1, data(1, name.encode()) + data(2, b''.join(map(varint, shape))) + uint(3, flags))
                               for name, shape, flags in tensors or [])
        self.digest = digest or 0
        nonce = self.nonce if nonce is True else nonce or b''
        control = (data(1, job.encode()) + data(2, b'stranger') + uint(3, role) + fixed64(4, self.digest) +
                   uint(5, examples) + uint(7, slot + 1) + data(8, ticket) + data(10, nonce) + more)
        self.send(frame(wire.HELLO, control, version=version))

    def challenge(self):
        kind, control, _ = self.next()
        if kind != wire.CHALLENGE:
            raise AssertionError(f'frame {kind} in place of CHALLENGE: {control}')
        self.server_nonce, self.server_proof = control[1], control[2]

    def make_proof(self, secret, prover=CLIENT, role=None):
        return proof(secret, prover, self.role if role is None else role, self.nonce, self.server_nonce, self.slot,
                     self.digest, self.job)

    def prove(self, value):
        self.send(frame(wire.PROOF, data(1, value)))

    def send_layout(self):
        self.send(frame(wire.LAYOUT, self.layout))

    def goodbye(self):
        """Reads to the BYE; returns (reason, words)."""
        while True:
            kind, control, _ = self.next()
            if kind == wire.BYE:
                return control.get(1, 0), control.get(2, b'').decode()
