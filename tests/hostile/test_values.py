"""Values that are not finite, or huge: in votes of every wire, and in the numbers that ride on them."""
import struct

import hostile
import wire
from hostile import BF16, F32, I8, LAST, PROTOCOL, SEAT, SGD, fixed64, frame

D = 4810
CONSTANT = ('optimizer.mode=sgd', 'optimizer.sgd.schedule=constant')


def f32(*patterns):
    return struct.pack(f'<{len(patterns)}I', *patterns)


# What is not finite: bits of float32; of bfloat16; scale of an int8 block, and its first q.
NOT_FINITE = {
    F32: [f32(bits) for bits in (0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0x7fffffff, 0xffffffff)],
    BF16: [struct.pack('<H', bits) for bits in (0x7f80, 0xff80, 0x7fc0, 0xffff, 0x7f81)],
    I8: [f32(bits) for bits in (0x7f800000, 0x7fc00000, 0xff800000, 0x80000000, 0xbf800000, 0x7f7fffff, 0x7d000000)],
}
HUGE = {F32: f32(0x7f7fffff), BF16: struct.pack('<H', 0x7f7f), I8: f32(0x7bff0000)}


class Values(hostile.Case):
    seat = True

    def check_abstains(self, coded):
        """Each counts as an abstention, at the chunk's beginning, in its middle and at its end."""
        self.start_job(sets=(*CONSTANT, f'optimizer.sgd.wire={("f32", "bf16", "i8")[coded]}'))
        with self.attack():
            client = self.at('READY')
            self.assertEqual((client.form.phase, client.form.coded), (SGD, coded))
            size = client.form.bytes(0, D)
            before = self.server.status()['slots'][SEAT]['abstained']
            given = 0
            for value in NOT_FINITE[coded]:
                n = len(value)
                places = (0, 4, 4 * client.form.blocks(0, D) - n) if coded == I8 else (0, n * (D // 2), size - n)
                for at in places:
                    bulk = bytes(at) + value + bytes(size - at - n)
                    self.give(client, bulk)
                    given += 1
            if coded == I8:
                for q in range(3):
                    bulk = bytearray(size)
                    bulk[-1 - q] = 0x80     # -128
                    self.give(client, bytes(bulk))
                    given += 1
            slot = self.server.status()['slots'][SEAT]
            self.assertEqual((slot['abstained'] - before, slot['votes']), (given, 0))
        self.check_undisturbed()

    def give(self, client, bulk):
        client.send(frame(wire.PUSH, bulk=bulk, round_=client.due, count=D, flags=LAST))
        client.due = client.commit()

    def test_float32(self):
        self.check_abstains(F32)

    def test_bfloat16(self):
        self.check_abstains(BF16)

    def test_int8(self):
        self.check_abstains(I8)

    def check_huge(self, aggregate, coded):
        """Finite, and as large as can be: they count, and a trimmed mean or a median makes nothing of them."""
        self.start_job(sets=(*CONSTANT, f'optimizer.sgd.wire={("f32", "bf16", "i8")[coded]}',
                             f'optimizer.sgd.aggregate={aggregate}', 'optimizer.sgd.lr=0.01'))
        with self.attack():
            client = self.at('READY')
            n = client.form.blocks(0, D) if coded == I8 else D
            bulk = HUGE[coded] * n + (b'\x7f' * D if coded == I8 else b'')
            for _ in range(30):
                self.give(client, bulk)
            self.assertGreaterEqual(self.server.status()['slots'][SEAT]['votes'], 29)
        summary = self.check_undisturbed(digest=False)
        self.assertEqual([slot['abstained'] for slot in summary['slots'][:3]], [0] * 3)

    def test_huge_float32(self):
        self.check_huge('trimmed_mean', F32)

    def test_huge_int8(self):
        self.check_huge('median', I8)

    def test_the_initial_weights(self):
        """Of the worker that is asked for them: not finite, and it is sent away; the next one is asked."""
        server = self.start_server(*hostile.SETS, 'workers=2', 'server.min_live=2', 'train.rounds=20')
        self.address, self.tensors, self.secret = server.address(), hostile.DIGITS, None
        for value in NOT_FINITE[F32]:
            client = self.connect()
            client.enter()
            client.until(wire.INIT)
            bulk = bytes(4 * (D - 1)) + value
            for digest, words in ((0, 'do not match their digest'), (weights_digest(bulk), 'not finite')):
                self.refused(client, frame(wire.WEIGHTS, fixed64(1, digest), bulk, count=D, flags=LAST), PROTOCOL, words)
                client = self.connect()
                client.enter()
                client.until(wire.INIT)
            client.socket.close()
        self.finish(server, self.start_workers(server, 2))


class Scalars(hostile.Case):
    """Losses, norms, sketches and dots of one worker that are none, infinite, or as large as can be."""

    def check_files(self, summary):
        """All that people and programs read of the run is JSON: without NaN and Infinity, which are none."""
        hostile.strict((self.server.run / 'summary.json').read_text())
        for line in (self.server.run / 'history.jsonl').read_text().splitlines():
            hostile.strict(line)
        return summary

    def test_in_the_sign_phase(self):
        self.start_job(sets=('train.report=10',), lies=True)
        with self.attack(rounds=200):
            for _ in range(10):
                hostile.strict(self.server.ask_raw(b'status\n'))
        self.check_files(self.check_undisturbed(lines=1000))

    def check_switch(self, rule, statistics):
        """To rates that are found from such statistics: none of them is anything but a number."""
        self.start_job(sets=('train.report=10', 'optimizer.switch.when=at', 'optimizer.switch.step=60',
                             f'optimizer.sgd.lambda={rule}', f'server.statistics={statistics}',
                             'optimizer.sgd.rate=tracking'), lies=True)
        with self.attack(rounds=150):
            pass
        summary = self.check_files(self.check_undisturbed(lines=1000, digest=False))
        self.assertEqual(summary['switch_round'], 60)
        self.assertEqual([slot['abstained'] for slot in summary['slots']], [0] * 3)

    def test_through_the_switch_by_norms(self):
        self.check_switch('norm_tensor', 'mean')

    def test_through_the_switch_by_dots(self):
        self.check_switch('paper', 'mean')

    def test_through_the_switch_by_robust_dots(self):
        self.check_switch('paper', 'robust')


def weights_digest(bulk):
    """Of fewer than 65,536 weights."""
    return hostile.xxh64(struct.pack('<Q', hostile.xxh64(bulk)))


if __name__ == '__main__':
    hostile.main()
