"""Checksums that do not match: of header, control message and bulk, at every stage."""
import socket

import hostile
import wire
from hostile import LAST, PROTOCOL, VERSION, fixed64, frame, scalars

HEADER, BULK = 'checksum of its header', 'checksum of its bulk'


def flipped(raw, bit):
    raw = bytearray(raw)
    raw[bit // 8] ^= 1 << bit % 8
    return bytes(raw)


class Checksums(hostile.Case):
    seat = True

    def frames(self, stage, client):
        """Right ones that are due at the stage."""
        due = getattr(client, 'due', 0)
        return {
            'HELLO': [frame(wire.HELLO, hostile.hello())],
            'LAYOUT': [frame(wire.LAYOUT, hostile.layout(self.tensors))],
            'SPARE': [frame(wire.ALIVE), frame(wire.BYE, hostile.uint(1, 11))],
            'READY': client.pushes(due, scalars(loss=1.0, sketch=1.0)) if stage == 'READY' else [],
        }[stage]

    def test_checksums_of_header_and_control(self):
        """The sum itself changed, in any bit; zero; that of the header alone; and any byte of the message."""
        self.start_job()
        with self.attack():
            for stage in hostile.STAGES:
                client = self.at(stage)
                lengths = [int.from_bytes(raw[12:16], 'little') for raw in self.frames(stage, client)]
                client.socket.close()
                for i, control in enumerate(lengths):
                    bits = [*range(288, 320, 5), *range(320, 320 + 8 * control, 8 * control // 12 | 1)]
                    for bit in bits:
                        with self.subTest(stage=stage, frame=i, bit=bit):
                            client = self.at(stage)
                            self.refused(client, flipped(self.frames(stage, client)[i], bit), PROTOCOL, HEADER)
            for stage, type_ in (('HELLO', wire.HELLO), ('LAYOUT', wire.LAYOUT), ('READY', wire.READY)):
                for crc in (0, 0xffffffff, 12345):
                    with self.subTest(stage=stage, crc=crc):
                        self.refused(self.at(stage), frame(type_, fixed64(4, 1), crc=crc), PROTOCOL, HEADER)
        self.check_undisturbed(lines=800)

    def test_every_bit_of_a_header(self):
        """Turned over, with the checksum as it was: refused, or waited for in vain because it is longer now."""
        self.start_job()
        raw = frame(wire.HELLO, hostile.hello())
        with self.attack():
            for bit in range(320):
                with self.subTest(bit=bit):
                    client = self.at('HELLO')
                    client.send(flipped(raw, bit))
                    client.socket.shutdown(socket.SHUT_WR)
                    reason, words = self.goodbye(client)
                    if reason is None:
                        self.assertTrue(96 <= bit < 108, 'only a message that became longer')
                    else:
                        self.assertEqual(reason, VERSION if 32 <= bit < 40 else PROTOCOL, words)
        self.check_undisturbed(lines=300)

    def test_bulk(self):
        """Of a vote: it does not count."""
        self.start_job()
        count = self.at('HELLO').form.d
        bulk = bytes((count + 7) // 8)
        right = hostile.crc32c(bulk)
        with self.attack():
            for crc in (0, 0xffffffff, right ^ 1, right ^ 0x80000000, hostile.zlib.crc32(bulk)):
                with self.subTest(crc=crc):
                    client = self.at('READY')
                    self.refused(client, frame(wire.PUSH, bulk=bulk, bulk_crc=crc, round_=client.due, count=count,
                                               flags=LAST), PROTOCOL, BULK)
            for bit in (0, 7, 1000, count - 1):
                with self.subTest(bit=bit):
                    client = self.at('READY')
                    raw = client.pushes(client.due)[0]
                    self.refused(client, flipped(raw, 8 * (len(raw) - len(bulk)) + bit), PROTOCOL, BULK)
        self.check_undisturbed(lines=300)


if __name__ == '__main__':
    hostile.main()
