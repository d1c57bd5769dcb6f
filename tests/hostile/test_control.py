"""Control messages with right checksums that are no protobuf, or one that nobody would send."""
import random
import struct

import hostile
import wire
from hostile import ABSTAIN, LAST, PROTOCOL, data, frame, uint, varint

MIB = 1 << 20


def tag(field, kind):
    return varint(field << 3 | kind)


def nested(depth):
    """A message in a message in a message, in a field that nobody knows."""
    out = b''
    while depth:
        out, depth = data(99, out or b'\0'), depth - 1
        if len(out) > 3900:
            break
    return out


def random_bytes(n):
    return random.Random(n).randbytes(n)


# Bytes that are no message of any type.
BROKEN = {
    'random': random_bytes(3000),
    'zeros': bytes(100),
    'ones': b'\xff' * 100,
    'a varint without end': tag(5, 0) + b'\x80' * 20,
    'a varint that is cut off': tag(5, 0) + b'\x80',
    'a tag without end': b'\x80' * 12,
    'field 0': tag(0, 0) + b'\1',
    'wire type 3': tag(9999, 3) + tag(9999, 4),
    'wire type 4': tag(9999, 4),
    'wire type 6': tag(9999, 6) + b'\1',
    'wire type 7': tag(9999, 7) + b'\1',
    'groups in groups': tag(9999, 3) * 600 + tag(9999, 4) * 600,
    'longer than the message': tag(99, 2) + varint(100) + b'x',
    'length of all ones': tag(99, 2) + varint(2**32 - 1) + b'x',
    'length of 64 bits': tag(99, 2) + varint(2**64 - 1) + b'x',
    'half a fixed64': tag(99, 1) + b'\0' * 7,
    'half a fixed32': tag(99, 5) + b'\0' * 3,
}
# Right messages, oddly written: what is in them counts.
HELLO = hostile.hello()
ODD_HELLOS = {
    'unknown fields': HELLO + b''.join(uint(n, 7) + data(n + 1, b'x' * 9) for n in range(100, 150, 2)),
    'twice': HELLO + HELLO,
    'names again and again': b''.join(data(1, b'other%d' % i) for i in range(200)) + HELLO,
    'backwards': hostile.fixed64(4, hostile.DIGEST) + uint(5, hostile.EXAMPLES) + data(1, b'digits'),
    'deep': HELLO + nested(200),
    'long varints': HELLO + tag(9, 0) + b'\x80\x80\x80\x80\x80\x80\0',
    'no program': data(1, b'digits') + hostile.fixed64(4, hostile.DIGEST) + uint(5, hostile.EXAMPLES),
}
BAD_HELLOS = {
    'job as a number': (tag(1, 0) + b'\1', 'cannot be decoded'),
    'digest as a string': (data(4, b'12345678'), 'cannot be decoded'),
    'examples as a string': (data(5, b'\1'), 'cannot be decoded'),
    'ticket as a number': (tag(8, 0) + b'\1', 'cannot be decoded'),
    'a long job': (hostile.hello('d' * 64), 'too long'),
    'a longer job': (hostile.hello('d' * 4000), 'too long'),
    'a long program': (HELLO + data(2, b'p' * 64), 'too long'),
    'a role': (HELLO + uint(3, 3), 'unknown role'),
    'a large role': (HELLO + uint(3, 2**32 - 1), 'unknown role'),
    'a short ticket': (HELLO + data(8, b't' * 15), 'ticket of the wrong length'),
    'a long ticket': (HELLO + data(8, b't' * 17), 'ticket of the wrong length'),
    'a short nonce': (HELLO + data(10, b'n' * 31), 'nonce of the wrong length'),
    'a long nonce': (HELLO + data(10, b'n' * 3000), 'nonce of the wrong length'),
    'a slot': (HELLO + uint(7, 256), 'no job has the slot'),
    'a large slot': (HELLO + uint(7, 2**32 - 1), 'no job has the slot'),
}


def tensor(name=b'w', shape=b'\3', flags=0, more=b''):
    return data(1, data(1, name) + data(2, shape) + uint(3, flags) + more)


BAD_LAYOUTS = {
    'tensors as a number': (tag(1, 0) + b'\1', 'cannot be decoded'),
    'a tensor that is none': (data(1, b'\xff' * 9), 'cannot be decoded'),
    'a name as a number': (data(1, tag(1, 0) + b'\1'), 'cannot be decoded'),
    'a shape as a double': (data(1, tag(2, 1) + bytes(8)), 'cannot be decoded'),
    'half a number in the shape': (tensor(shape=b'\x80'), 'cannot be decoded'),
    'an empty tensor': (tag(1, 2) + b'\0', 'tensor'),
    '4097 tensors': (b''.join(tensor(b'%d' % i) for i in range(4097)), 'no tensors, or too many'),
    'as many tensors as there is room for': ((tag(1, 2) + b'\0') * (MIB // 2), 'too many parts'),
    'a shape of 100,000 sizes': (tensor(shape=b'\1' * 100000), 'dimensions; at most 8'),
    'as many dimensions as there is room for': (tensor(shape=b'\1' * (MIB - 100)), 'too many parts'),
    'nine dimensions': (tensor(shape=b'\1' * 9), '9 dimensions'),
    'a size of 0': (tensor(shape=b'\3\0'), 'tensor'),
    'a large size': (tensor(shape=varint(2**64 - 1)), 'tensor|coordinates'),
    'a product that goes over': (tensor(shape=varint(2**32) * 2), 'tensor|coordinates'),
    'a product that goes round to 1': (tensor(shape=varint(2**63 + 1) * 2), 'tensor|coordinates'),
    'a sum that goes over': (b''.join(tensor(b'%d' % i, varint(2**33)) for i in range(4)), 'tensor|coordinates'),
    'unknown flags': (tensor(flags=4), 'unknown flags'),
    'all flags': (tensor(flags=2**32 - 1), 'unknown flags'),
    'no name': (tensor(b''), 'tensor'),
    'a long name': (tensor(b'n' * 64), 'longer than 63'),
    'a name of 1 MiB': (tensor(b'n' * (MIB - 100)), 'longer than 63'),
    'a name twice': (tensor() + tensor(), 'tensor'),
    'nothing but buffers': (tensor(flags=2), 'nothing but buffers'),
    'a buffer before the rest': (tensor(b'a', flags=2) + tensor(b'b'), 'tensor|buffer'),
    'of another digest': (tensor(), 'does not match the digest'),
    'names that are not UTF-8': (tensor(b'\xff\xfe\xc0\x80'), 'tensor|digest'),
    'as many unknown fields as there is room for': (uint(9, 1) * (MIB // 2), 'too many parts'),
    'NUL in a name': (tensor(b'a\0b'), 'digest'),
    'an escape in a name': (tensor(b'\x1b[2J'), 'tensor|digest'),
}


class Control(hostile.Case):
    seat = True

    def test_hellos(self):
        self.start_job()
        with self.attack():
            for name, control in BROKEN.items():
                with self.subTest(name):
                    self.refused(self.at('HELLO'), frame(wire.HELLO, control), PROTOCOL, 'HELLO frame: .*cannot be decoded')
            for name, (control, words) in BAD_HELLOS.items():
                with self.subTest(name):
                    self.refused(self.at('HELLO'), frame(wire.HELLO, control), PROTOCOL, words)
            for name, control in ODD_HELLOS.items():
                with self.subTest(name):
                    client = self.at('HELLO')
                    client.send(frame(wire.HELLO, control + uint(7, 1)) + frame(wire.LAYOUT, hostile.layout(self.tensors)))
                    self.assertEqual(client.until(wire.WELCOME).get(1), 1, 'a spare')
            for name in (b'\xff\xfe', b'digits\0', b'dig\0its', b'\xc0\x80', b'\xf0\x9f\x98\x80', b'\x1b[2Jdigits\r\n'):
                with self.subTest(name):
                    client = self.at('HELLO')
                    client.send(frame(wire.HELLO, hostile.hello(name, slot=0)))
                    client.send(frame(wire.LAYOUT, hostile.layout(self.tensors)))
                    if name.split(b'\0')[0] == b'digits':
                        self.assertEqual(client.until(wire.WELCOME).get(1), 1, 'a spare')
                    else:
                        self.refused(client, b'', hostile.JOB, "runs job 'digits', not '[ -~]*'$")
        self.check_undisturbed()
        self.assertNotIn('\x1b', self.server.err())

    def test_layouts(self):
        self.start_job()
        cases = {name: (control, 'LAYOUT frame: .*cannot be decoded') for name, control in BROKEN.items()} | BAD_LAYOUTS
        with self.attack():
            for name, (control, words) in cases.items():
                with self.subTest(name):
                    self.refused(self.at('LAYOUT'), frame(wire.LAYOUT, control), PROTOCOL, words)
            for name, control in (('unknown fields', data(9, b'x' * (MIB // 2)) + uint(12, 3)), ('deep', nested(300)),
                                  ('many unknown fields', uint(9, 1) * 5000)):
                with self.subTest(name):
                    client = self.connect()
                    client.say_hello(slot=0)
                    client.send(frame(wire.LAYOUT, hostile.layout(self.tensors) + control))
                    self.assertEqual(client.until(wire.WELCOME).get(1), 1, 'a spare')
        self.check_undisturbed()

    def test_of_a_worker(self):
        """Whoever has a slot, and says such things in place of its vote, loses it."""
        self.start_job()
        room = 40960
        cases = [(name, type_, control, 'cannot be decoded') for name, control in BROKEN.items()
                 for type_ in (wire.PUSH, wire.SCORE)]
        cases += [('zeros', type_, bytes(100), 'cannot be decoded') for type_ in (wire.READY, wire.RESYNC, wire.WEIGHTS)]
        cases += [
            ('one number too few', wire.PUSH, data(7, bytes(4 * 127)), 'sketch of the wrong size'),
            ('one too many', wire.PUSH, data(7, bytes(4 * 129)), 'sketch of the wrong size'),
            ('as many as there is room for', wire.PUSH, data(7, bytes(room - 40)), 'sketch of the wrong size'),
            ('not packed', wire.PUSH, (tag(7, 5) + bytes(4)) * (room // 5), 'sketch of the wrong size'),
            ('half a number', wire.PUSH, data(7, bytes(4 * 128 + 1)), 'cannot be decoded'),
            ('a loss of bytes', wire.PUSH, data(4, bytes(8)), 'cannot be decoded'),
            ('words of 256 bytes', wire.BYE, data(2, b'w' * 256), 'words that are too long'),
            ('words of 4000 bytes', wire.BYE, data(2, b'w' * 4000), 'words that are too long'),
            ('words that are a number', wire.BYE, tag(2, 0) + b'\1', 'cannot be decoded'),
            ('a plan of as many settings as there is room for', wire.WELCOME,
             (tag(4, 2) + b'\0') * (MIB // 2), 'WELCOME'),
            ('a plan of large settings', wire.WELCOME, data(4, data(1, b'k' * (MIB // 2)) + data(2, b'v' * 99999)), 'WELCOME'),
            ('rates', wire.COMMIT, data(2, struct.pack('<10000f', *[1.0] * 10000)), 'COMMIT'),
            ('an answer', wire.ANSWER, data(1, b'{}' * 500000), 'ANSWER'),
            ('a layout', wire.LAYOUT, hostile.layout(self.tensors), 'LAYOUT after the handshake'),
        ]
        with self.attack():
            for name, type_, control, words in cases:
                with self.subTest(name, type=type_):
                    client = self.at('READY')
                    self.refused(client, frame(type_, control, flags=ABSTAIN | LAST if type_ == wire.PUSH else 0,
                                               round_=client.due), PROTOCOL, words)
        self.check_undisturbed(lines=500)

    def test_asks(self):
        """Of operators that hold the secret."""
        token = self.token('o')
        self.start_job(sets=(f'security.operator_token_file={token}',))
        secret = hostile.handshake.secret_of(token)
        cases = {name: (control, 'ASK frame: .*cannot be decoded') for name, control in BROKEN.items()}
        cases['a number'] = tag(1, 0) + b'\1', 'cannot be decoded'
        cases['a long command'] = data(1, b's' * 64), 'too long'
        cases['a longer command'] = data(1, b's' * 4000), 'too long'
        with self.attack():
            for name, (control, words) in cases.items():
                with self.subTest(name):
                    self.refused(self.at('ASK', secret=secret), frame(wire.ASK, control), PROTOCOL, words)
            for command in (b'', b'\xff\xfe', b'st\0op', b'stop\n', b'stop ', b'STOP', b'status;stop', b'%s%n%s'):
                with self.subTest(command):
                    client = self.at('ASK', secret=secret)
                    client.send(frame(wire.ASK, data(1, command)))
                    answer = hostile.strict(client.until(wire.ANSWER)[1])
                    self.assertIn('unknown command', answer['error'])
        self.check_undisturbed()


if __name__ == '__main__':
    hostile.main()
