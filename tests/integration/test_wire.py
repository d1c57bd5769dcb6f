"""What a round costs on the wire, counted by a proxy that parses frames on its own, and by the server in summary.json."""
import collections

import harness
import wire

PARAMS = 4810


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

    def totals(self, summary, frames):
        """What the proxies saw, under the summary's names."""
        t = collections.Counter()
        last = summary['switch_round'] or summary['rounds']
        before = {}
        for number, direction, frame in (((w, n), d, f) for w, worker in enumerate(frames) for n, d, f in worker):
            # A worker that joins gets weights and with them the COMMIT of their round, which is no part of a sign round.
            follows_weights = before.get((number, direction)) == wire.WEIGHTS
            before[number, direction] = frame.type
            if direction == wire.UP and frame.type == wire.PUSH:
                t['bytes_pushed'] += frame.bytes
                t['bytes_pushed_sign'] += frame.bytes if frame.round <= last else 0
            elif direction == wire.DOWN and frame.type in (wire.UPDATE, wire.COMMIT):
                t['bytes_updated'] += frame.bytes
                t['bytes_updated_sign'] += frame.bytes if 1 <= frame.round <= last and not follows_weights else 0
            elif frame.type != wire.BYE or direction == wire.DOWN:  # workers leave after the summary is written
                t['bytes_other_in' if direction == wire.UP else 'bytes_other_out'] += frame.bytes
        return t

    def check_agreement(self, summary, frames):
        totals = self.totals(summary, frames)
        for key in ('bytes_pushed', 'bytes_updated', 'bytes_pushed_sign', 'bytes_updated_sign', 'bytes_other_in',
                    'bytes_other_out'):
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
        self.assertGreater(summary['bytes_pushed'], 3 * summary['bytes_pushed_sign'], 'the SGD phase is in float32')

    def test_signs_only(self):
        summary, frames = self.run_counted('optimizer.switch.when=never', 'train.epochs=5')
        self.check_agreement(summary, frames)
        self.check_sign_limits(summary, frames, PARAMS, 4)
        self.assertEqual(summary['bytes_pushed'], summary['bytes_pushed_sign'])
        # 32 times less than float32, but for header, sketch and scalars, which weigh at so small a model.
        self.assertLess(summary['bytes_updated_sign'], summary['bytes_float32'] / 25)

    def test_several_chunks(self):
        models = ('model.hidden=[8192]',)
        params = 8192 * 64 + 8192 + 8192 * 10 + 10
        summary, frames = self.run_counted('train.rounds=10', 'optimizer.switch.when=at', 'optimizer.switch.step=7',
                                           workers=2, models=models)
        self.check_agreement(summary, frames)
        self.check_sign_limits(summary, frames, params, 2)
        pushes = [f for _, d, f in frames[0] if d == wire.UP and f.type == wire.PUSH]
        for t, chunk, size in ((3, 65536 * 8, 1 / 8), (9, 16384, 4)):
            chunks = [f for f in pushes if f.round == t]
            self.assertEqual([f.first for f in chunks], list(range(0, params, chunk)), 'whole chunks, in order')
            self.assertEqual(sum(f.count for f in chunks), params)
            self.assertTrue(all(f.bulk_bytes == -int(-f.count * size // 1) for f in chunks))
            self.assertEqual([f.flags for f in chunks], [0] * (len(chunks) - 1) + [1], 'the last one says so')

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
