"""A worker whose chunks are out of order, overlap, go beyond the layout, come twice, or never end.

Rounds of float32 and of int8 with a model of three and of two chunks, and the sign phase, with one.
"""
import hostile
import wire
from hostile import BUFFERS, F32, FULL, I8, LAST, PROTOCOL, SGD, SIGN, frame

D = 64 * 512 + 512 + 512 * 10 + 10   # 38410 coordinates


def chunk(client, first, count, flags=0, more=0):
    """A PUSH of zeros, as many as such a chunk has and some."""
    bulk = bytes(client.form.bytes(first, count) + more)
    return frame(wire.PUSH, bulk=bulk, round_=client.due, first=first, count=count, flags=flags)


# Name, then chunks as (first, count, flags[, more bytes]).
IN_SIGNS = [
    ('without LAST', (0, D, 0)),
    ('all but one', (0, D - 8, LAST)),
    ('one too many', (0, D + 1, LAST)),
    ('in two', (0, 32768, 0)),
    ('beyond the layout', (D, 8, LAST)),
    ('far beyond', (2**34 - 8, 8, LAST)),
    ('not from the first', (8, D - 8, LAST)),
    ('a byte more', (0, D, LAST, 1)),
    ('of the section in full', (0, D, LAST | FULL)),
    ('of buffers', (0, D, LAST | BUFFERS)),
]
IN_F32 = [
    ('the second first', (16384, 16384, 0)),
    ('the last first', (32768, D - 32768, LAST)),
    ('LAST in the first', (0, 16384, LAST)),
    ('one less', (0, 16383, 0)),
    ('all that fits less 4 bytes', (0, 16383, 0, 4)),
    ('half of it', (0, 8192, 0)),
    ('a bit later', (1, 16384, 0)),
    ('bytes of another wire', (0, 8192, 0, 4 * 8192)),
    ('beyond the layout', (49152, 16384, 0)),
    ('in full', (0, 16384, FULL)),
    ('buffers', (0, 1, LAST | BUFFERS)),
]
# After the first one was right.
LATER = [
    ('the third', (32768, D - 32768, LAST)),
    ('a gap', (16400, 16384, 0)),
    ('LAST too early', (16384, 16384, LAST)),
    ('beyond the layout', (49152, 16384, LAST)),
    ('the rest as one', (16384, 16384, 0), (32768, D - 32768 + 1, LAST)),
    ('no end', (16384, 16384, 0), (32768, D - 32768, 0)),
    ('a section too many', (16384, 16384, 0), (32768, D - 32768, LAST | BUFFERS)),
]
# In int8, where there is nothing to tell the chunks by but their place, and blocks have scales.
IN_I8 = [
    ('the second first', (32768, D - 32768, LAST)),
    ('as float32', (0, 16384, 0)),
    ('a scale less', (0, 32768, 0, -4)),
    ('a scale more', (0, 32768, 0, 4)),
    ('without scales', (0, 32768, 0, -4 * 128)),
    ('LAST in the first', (0, 32768, LAST)),
]


class Chunks(hostile.Case):
    seat = True
    hidden = 512

    def wrong(self, cases, phase, coded, begun=()):
        for name, *chunks in cases:
            with self.subTest(name):
                client = self.at('READY')
                self.assertEqual((client.form.phase, client.form.coded), (phase, coded))
                raw = b''.join(chunk(client, *how) for how in (*begun, *chunks))
                self.refused(client, raw, PROTOCOL, r'PUSH of \d+ coordinates from \d+ in \d+ bytes is not the next chunk')

    def test_signs(self):
        self.start_job()
        with self.attack():
            self.wrong(IN_SIGNS, SIGN, F32)
            client = self.at('READY')
            raw = bytearray((D + 7) // 8)
            raw[-1] = 0x80  # past the last coordinate, which is bit 1 of this byte
            self.refused(client, frame(wire.PUSH, bulk=bytes(raw), round_=client.due, count=D, flags=LAST), PROTOCOL,
                         'bits set beyond its last coordinate')
        self.check_undisturbed(lines=200)

    def test_values(self):
        self.start_job(sets=('optimizer.mode=sgd', 'optimizer.sgd.schedule=constant'))
        with self.attack():
            self.wrong(IN_F32, SGD, F32)
        self.check_undisturbed(lines=200)

    def test_values_of_eight_bits(self):
        self.start_job(sets=('optimizer.mode=sgd', 'optimizer.sgd.schedule=constant', 'optimizer.sgd.wire=i8'))
        with self.attack():
            self.wrong(IN_I8, SGD, I8)
        self.check_undisturbed(lines=200)

    def test_later_ones(self):
        """What was right before the wrong chunk is counted: the weights are no longer those of the honest alone."""
        self.start_job(sets=('optimizer.mode=sgd', 'optimizer.sgd.schedule=constant'))
        first = 0, 16384, 0
        with self.attack():
            self.wrong(LATER, SGD, F32, begun=(first,))
            # A chunk given twice is no error, nor is one that begins before what is due: thrown away, and counted.
            client = self.at('READY')
            rest = (16384, 16384, 0), (32768, D - 32768, LAST)
            overlap = 16000, 16384, 0
            for _ in range(10):
                client.send(b''.join(chunk(client, *how) for how in (first, first, overlap, rest[0], first, rest[0], rest[1])))
                client.due = client.commit()
            slot = self.server.status()['slots'][hostile.SEAT]
            self.assertEqual(slot['state'], 'live')
            self.assertGreaterEqual(slot['votes'], 9)
            self.assertGreaterEqual(slot['duplicates'], 36)
            client.socket.close()
            # It gives the first chunk of a round, and leaves.
            for _ in range(20):
                client = self.at('READY')
                client.send(chunk(client, *first))
                client.socket.close()
        self.check_undisturbed(lines=400, digest=False)


if __name__ == '__main__':
    hostile.main()
