"""What a round costs on the wire, counted by a proxy that parses frames on its own, and by the server in summary.json."""
import collections

import harness
import wire

SIZES = (64 * 64, 64, 10 * 64, 10)
PARAMS = sum(SIZES)


class Bytes(harness.Case):
    def run_counted(self, *sets, workers=4, models=()):
        """A job with a counting proxy before each worker. Returns (summary, [frames of worker 0, ...])."""
        server = self.start_server(f'workers={workers}', *sets, *models)
        frames = [[] for _ in range(workers)]
        proxies = [wire.Proxy(server.address(), lambda n, f=f: wire.Count(n, f)) for f in frames]
        for proxy in proxies:
            self.addCleanup(proxy.close)
        processes = [self.start_worker(proxy.address, *models) for proxy in proxies]
        summary = self.finish(server, processes)
        self.assert_done(summary)
        return summary, frames

    def totals(self, summary, frames, first='sign'):
        """What the proxies saw, under the summary's names. `first`: the phase before the switch."""
        t = collections.Counter()
        last = summary['switch_round'] or summary['rounds']
        before = {}
        for number, direction, frame in (((w, n), d, f) for w, worker in enumerate(frames) for n, d, f in worker):
            # A worker that joins gets weights and with them the COMMIT of their round, which is no part of a sign round.
            follows_weights = before.get((number, direction)) == wire.WEIGHTS
            before[number, direction] = frame.type
            if direction == wire.UP and frame.type == wire.PUSH:
                t['bytes_pushed'] += frame.bytes
                t[f'bytes_pushed_{first}'] += frame.bytes if frame.round <= last else 0
            elif direction == wire.DOWN and frame.type in (wire.UPDATE, wire.COMMIT):
                t['bytes_updated'] += frame.bytes
                t[f'bytes_updated_{first}'] += frame.bytes if 1 <= frame.round <= last and not follows_weights else 0
            elif frame.type != wire.BYE or direction == wire.DOWN:  # workers leave after the summary is written
                t['bytes_other_in' if direction == wire.UP else 'bytes_other_out'] += frame.bytes
        return t

    def check_agreement(self, summary, frames, first='sign'):
        totals = self.totals(summary, frames, first)
        for key in ('bytes_pushed', 'bytes_updated', 'bytes_pushed_sign', 'bytes_updated_sign', 'bytes_pushed_margin',
                    'bytes_updated_margin', 'bytes_other_in', 'bytes_other_out'):
            self.assertEqual(summary[key], totals[key], key)

    def check_sign_limits(self, summary, frames, params, workers):
        rounds = summary['switch_round'] or summary['rounds']
        votes = workers * rounds
        self.assertEqual(summary['sign_rounds_received'], votes)
        self.assertLessEqual(summary['bytes_pushed_sign'] / votes, 1.002 * params / 8 + 2048)
        self.assertLessEqual(summary['bytes_updated_sign'] / votes, 1.002 * params / 8 + 1024)
        # Nor does any single round of any worker cost more; and no fewer bits than parameters can have been sent.
        for worker in frames:
            up, down = collections.Counter(), collections.Counter()
            for _, direction, frame in worker:
                if direction == wire.UP and frame.type == wire.PUSH:
                    up[frame.round] += frame.bytes
                elif direction == wire.DOWN and frame.type in (wire.UPDATE, wire.COMMIT):
                    down[frame.round] += frame.bytes
            for t in range(1, rounds + 1):
                self.assertTrue(params / 8 <= up[t] <= 1.002 * params / 8 + 2048, (t, up[t]))
                self.assertTrue(params / 8 <= down[t] <= 1.002 * params / 8 + 1024, (t, down[t]))

    def test_digits_as_shipped(self):
        summary, frames = self.run_counted()
        self.check_agreement(summary, frames)
        self.check_sign_limits(summary, frames, PARAMS, 4)
        # After the switch one round is in float32, all others are int8: blocks of at most 256, none across tensors.
        blocks = sum(-(-size // 256) for size in SIZES)
        values = {sum(f.bulk_bytes for _, d, f in worker if (d, f.type, f.round) == (way, kind, t))
                  for worker in frames for way, kind in ((wire.UP, wire.PUSH), (wire.DOWN, wire.UPDATE))
                  for t in range(summary['switch_round'] + 2, summary['rounds'] + 1)}
        self.assertEqual(values, {PARAMS + 4 * blocks})

    def test_signs_only(self):
        summary, frames = self.run_counted('optimizer.switch.when=never', 'train.epochs=5')
        self.check_agreement(summary, frames)
        self.check_sign_limits(summary, frames, PARAMS, 4)
        self.assertEqual(summary['bytes_pushed'], summary['bytes_pushed_sign'])
        # 32 times less than float32, but for header, sketch and scalars, which weigh at so small a model.
        self.assertLess(summary['bytes_updated_sign'], summary['bytes_float32'] / 25)

    def check_chunks(self, frames, t, size, bulk, full=(), down=None):
        """Round t of a worker is whole chunks in order. `bulk` (`down`: of an update) gives the bytes of a chunk; `full`
        are the counts of the chunks of tensors in full precision, which come last."""
        for way, kind, of in ((wire.UP, wire.PUSH, bulk), (wire.DOWN, wire.UPDATE, down or bulk)):
            chunks = [f for _, d, f in frames if (d, f.type, f.round) == (way, kind, t)]
            main = [(first, min(size, self.params - first)) for first in range(0, self.params, size)]
            expected = [(first, count, of(first, count), 0) for first, count in main]
            expected += [(sum(full[:i]), count, 4 * count, wire.FULL) for i, count in enumerate(full)]
            expected[-1] = (*expected[-1][:3], expected[-1][3] | wire.LAST)
            self.assertEqual([(f.first, f.count, f.bulk_bytes, f.flags) for f in chunks], expected, (way, t))

    def several_chunks(self, *sets, hidden=8192):
        """614,410 weights: more than a chunk in every form of a round."""
        models = (f'model.hidden=[{hidden}]',)
        self.params = hidden * 64 + hidden + hidden * 10 + 10
        summary, frames = self.run_counted('train.rounds=10', 'optimizer.switch.when=at', 'optimizer.switch.step=7',
                                           *sets, workers=2, models=models)
        self.check_agreement(summary, frames, 'margin' if 'optimizer.start=margin' in sets else 'sign')
        return summary, frames

    @staticmethod
    def bits(_, count):
        return (count + 7) // 8

    def test_several_chunks(self):
        for name, size, width in (('f32', 16384, 4), ('bf16', 32768, 2)):
            summary, frames = self.several_chunks(f'optimizer.sgd.wire={name}')
            self.check_sign_limits(summary, frames, self.params, 2)
            self.check_chunks(frames[0], 3, 524288, self.bits)
            self.check_chunks(frames[0], 8, 16384, lambda _, n: 4 * n)
            self.check_chunks(frames[0], 9, size, lambda _, n: width * n)

    def test_several_chunks_of_int8(self):
        _, frames = self.several_chunks()
        ends = (0, 524288, 532480, 614400, 614410)

        def bulk(first, count):
            parts = [min(end, first + count) - max(begin, first) for begin, end in zip(ends, ends[1:])]
            return count + sum(4 * -(-n // 256) for n in parts if n > 0)
        self.check_chunks(frames[0], 9, 32768, bulk)

    def test_several_chunks_of_vote_counts(self):
        """Two votes take two planes."""
        _, frames = self.several_chunks('optimizer.start=margin')
        self.check_chunks(frames[0], 7, 65536, self.bits, down=lambda first, n: 2 * self.bits(first, n))

    def test_several_chunks_of_tensors_in_full(self):
        """90,122 of them: six chunks, behind the votes."""
        _, frames = self.several_chunks('tensors=[{match: "dense2.*", update: full}, {match: "*.bias", update: full}]',
                                        'optimizer.sgd.wire=f32')
        full = [16384] * 5 + [8192 * 10 + 8192 + 10 - 5 * 16384]
        self.check_chunks(frames[0], 3, 524288, self.bits, full)
        self.check_chunks(frames[0], 9, 16384, lambda _, n: 4 * n, full)

    def test_with_a_worker_that_joins_late(self):
        """The numbers agree too when a worker leaves and another is sent the weights in mid-job."""
        server = self.start_server('workers=2', 'train.epochs=100', 'optimizer.switch.when=never')
        frames = []
        proxy = wire.Proxy(server.address(), lambda n: wire.Count(n, frames))
        self.addCleanup(proxy.close)
        first = self.start_worker(proxy.address, slot=0)
        second = self.start_worker(proxy.address, slot=1)
        self.wait_for_round(server, 100)
        second.kill()
        self.wait_for_words(server, r'left slot 1')
        second = self.start_worker(proxy.address, slot=1)
        summary = self.finish(server, [first, second])
        self.assertEqual(summary['slots'][1]['joins'], 2)
        totals = self.totals(summary, [frames])
        for key in ('bytes_other_in', 'bytes_other_out', 'bytes_updated', 'bytes_updated_sign', 'bytes_pushed'):
            # A frame or two that were under way to the killed worker, or from it, may have been lost behind one side.
            self.assertLessEqual(abs(summary[key] - totals[key]), 2 * (PARAMS // 8 + 1024),
                                 (key, summary[key], totals[key]))
        self.assertGreaterEqual(summary['bytes_updated'], totals['bytes_updated'])


if __name__ == '__main__':
    harness.main()
