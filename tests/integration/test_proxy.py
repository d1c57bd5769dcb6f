"""Bad lines between a worker and the server: cut, cut in the middle of frames, slow, in crumbs, damaged."""
import random
import re
import time

import harness
import wire

# The job waits for whoever is cut off, so that it cannot be over before the last cut.
WAITS = 'server.min_live=4'
JOB = (WAITS, 'train.epochs=30', 'optimizer.switch.when=at', 'optimizer.switch.step=400', 'train.evaluate=10')
CHUNKS = 'model.hidden=[1500]'  # seven chunks of 64 KiB a round after the switch


class BadLines(harness.Case):
    def proxied(self, sets, policies, model=None):
        """A job whose workers each sit behind a proxy if `policies` has one for them."""
        models = (model,) if model else ()
        server = self.start_server(*sets, *models)
        proxies = [wire.Proxy(server.address(), p) if p else None for p in policies]
        for proxy in filter(None, proxies):
            self.addCleanup(proxy.close)
        workers = [self.start_worker(proxy.address if proxy else server, *models, slot=i)
                   for i, proxy in enumerate(proxies)]
        return server, proxies, workers

    def check_returned(self, summary, workers, slot, times):
        """The worker came back that often, always to its own slot, and nobody's weights went astray."""
        self.assert_done(summary)
        # With the slots the others have been in all along, only its ticket or --slot leads it back.
        self.assertEqual(re.findall(r'joined job .* as slot (\d+) of', workers[slot].err()), [str(slot)] * (times + 1))
        self.assertEqual(summary['slots'][slot]['joins'], times + 1)
        self.assertEqual(sum(s['resyncs'] for s in summary['slots']), 0)
        for i, s in enumerate(summary['slots']):
            if i != slot:
                self.assertEqual((s['joins'], s['votes']), (1, summary['rounds']), i)

    def cut_again_and_again(self, direction, seed, model=None, sets=JOB, low=20000, high=90000, times=5):
        """Each connection of worker 2 ends after so many bytes, wherever that is; the last one stays."""
        rng = random.Random(seed)
        limits = [rng.randrange(low, high) for _ in range(times)] + [None]
        server, proxies, workers = self.proxied(
            sets, [None, None, lambda n: wire.CutAfter(n, direction, limits[min(n, times)]), None], model)
        summary = self.finish(server, workers)
        self.check_returned(summary, workers, 2, times)
        self.assertEqual(proxies[2].cuts, times)
        self.assertEqual(len(re.findall(r'lost the server', workers[2].err())), times)
        return summary

    def test_cut_on_the_way_up(self):
        summary = self.cut_again_and_again(wire.UP, 1)
        self.assertGreater(summary['test_accuracy'], 0.9)

    def test_cut_on_the_way_down(self):
        # A connection begins with 3 kB of WELCOME and 20 kB of weights: some cuts fall into these.
        self.cut_again_and_again(wire.DOWN, 2, low=5000, high=40000)

    def test_cut_in_the_middle_of_chunks_up(self):
        self.cut_again_and_again(wire.UP, 3, CHUNKS, low=100000, high=1500000, times=4, sets=(
            WAITS, 'train.rounds=60', 'optimizer.switch.when=at', 'optimizer.switch.step=5', 'optimizer.sgd.lr=0.05'))

    def test_cut_in_the_middle_of_chunks_down(self):
        self.cut_again_and_again(wire.DOWN, 4, CHUNKS, low=300000, high=2500000, times=4, sets=(
            WAITS, 'train.rounds=60', 'optimizer.switch.when=at', 'optimizer.switch.step=5', 'optimizer.sgd.lr=0.05'))

    def test_cut_in_the_first_bytes(self):
        """In HELLO, in WELCOME, before the first weights: the job begins all the same, when the line holds."""
        for direction in (wire.UP, wire.DOWN):
            with self.subTest(direction):
                limits = [1, 39, 41, 100, None]
                server, proxies, workers = self.proxied(
                    ('train.epochs=4', 'workers=2'), [lambda n: wire.CutAfter(n, direction, limits[min(n, 4)]), None])
                summary = self.finish(server, workers)
                self.assert_done(summary)
                self.assertEqual(proxies[0].cuts, 4)
                self.assertEqual([s['votes'] for s in summary['slots']], [summary['rounds']] * 2)

    def test_all_cut_at_once(self):
        """A switch that is turned off and on: everybody is gone, and comes back with the ticket."""
        server, proxies, workers = self.proxied(JOB[1:] + ('train.epochs=150',), [wire.Policy] * 4)
        self.wait_for_round(server, 100)
        for times in (2, 3, 4):
            for proxy in proxies:
                proxy.cut_all()
            self.wait_for(lambda: (s := server.status())['live'] == 4 and {x['joins'] for x in s['slots']} == {times},
                          'all to be back')
            self.wait_for_round(server, server.status()['round'] + 100)
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.assertEqual([s['joins'] for s in summary['slots']], [4] * 4)
        self.assertEqual(sum(s['resyncs'] for s in summary['slots']), 0)
        for slot, worker in enumerate(workers):
            self.assertEqual(re.findall(r'as slot (\d+) of', worker.err()), [str(slot)] * 4)

    def test_the_ticket_leads_back_to_the_slot(self):
        """Without --slot: a worker that was cut off gets its own slot again, though a lower one is free."""
        server = self.start_server('train.epochs=200', 'optimizer.sgd.lr=0.1')
        others = self.start_workers(server, 3)
        for other in others:
            self.slot_of(other)
        proxy = wire.Proxy(server.address())
        self.addCleanup(proxy.close)
        worker = self.start_worker(proxy.address)
        slot = self.slot_of(worker)
        self.assertEqual(slot, 3)
        self.wait_for_round(server, 50)
        next(o for o in others if self.slot_of(o) == 0).kill()
        self.wait_for(lambda: server.status()['live'] == 3, 'the server to notice')
        proxy.cut_all()
        self.wait_for_words(worker, r'as slot \d of', times=2)
        self.assertEqual(re.findall(r'as slot (\d) of', worker.err()), ['3', '3'])
        others = [o for o in others if o.alive()]
        self.assert_done(self.finish(server, others + [worker]))

    def test_slow_lines(self):
        """Up to 6 ms each way: slower, but the weights are the same to the bit."""
        sets = ('train.epochs=4', 'optimizer.switch.when=at', 'optimizer.switch.step=60')
        server, _, workers = self.proxied(sets, [lambda n, i=i: wire.Delay(n, 0.006, i) for i in range(4)])
        began = time.monotonic()
        summary = self.finish(server, workers)
        self.assertGreater(time.monotonic() - began, 92 * 0.006, 'the proxies did delay')
        reference = self.whole_job(*sets, run='reference')[1]
        self.assertEqual(summary['weights_digest'], reference['weights_digest'])
        self.assertEqual(sum(s['joins'] for s in summary['slots']), 4)

    def test_crumbs(self):
        """The first 60 kB each way arrive in pieces of 7 bytes."""
        sets = ('train.epochs=3', 'optimizer.switch.when=at', 'optimizer.switch.step=40')
        server, _, workers = self.proxied(sets, [lambda n: wire.Trickle(n, wire.UP, 7, 60000), None,
                                                 lambda n: wire.Trickle(n, wire.DOWN, 7, 60000), None])
        summary = self.finish(server, workers)
        reference = self.whole_job(*sets, run='reference')[1]
        self.assertEqual(summary['weights_digest'], reference['weights_digest'])
        self.assertEqual(sum(s['joins'] for s in summary['slots']), 4)

    def test_damaged_bytes_are_noticed(self):
        """One bit turned on the way: that connection ends with words, the next one goes on, no weights go astray."""
        for direction, places in ((wire.UP, (30000, 30001, 30700, 100001)), (wire.DOWN, (21000, 40000, 40601, 150000))):
            with self.subTest(direction):
                damage = list(places) + [None]
                server, proxies, workers = self.proxied(
                    JOB, [lambda n: wire.Damage(n, direction, damage[min(n, 4)]), None, None, None])
                summary = self.finish(server, workers)
                self.check_returned(summary, workers, 0, 4)
                log = workers[0].err() + server.err()
                self.assertGreaterEqual(len(re.findall(r'checksum|not a Signpost frame|version \d+ of Signpost|unknown frame type|unknown flags|'
                                                       r'control bytes|bulk bytes|coordinate',
                                                       log)), 4, 'each damage was named')


if __name__ == '__main__':
    harness.main()
