"""Who takes part: late joiners, spares, the one that gives the weights, and a job that waits for workers."""
import signal
import time

import harness
import wire

# 3450 rounds, a second or two. A fixed SGD rate, as in test_kills.py.
LONG = ('train.epochs=150', 'train.evaluate=50', 'optimizer.sgd.lr=0.1')


class Members(harness.Case):
    def votes(self, server, slot):
        return server.status()['slots'][slot]['votes']

    def check_result(self, summary):
        self.assert_done(summary)
        self.assertGreater(summary['test_accuracy'], 0.93)
        self.assertEqual(sum(slot['resyncs'] for slot in summary['slots']), 0)

    def test_a_late_joiner(self):
        """Three of four start by start_timeout; the fourth comes when the job is under way."""
        server = self.start_server(*LONG, 'server.start_timeout=0.3', 'server.min_live=3')
        workers = self.start_workers(server, 3)
        self.wait_for_words(server, r'round 1 of 3450 begins with 3 of 4 workers')
        self.wait_for_round(server, 100)
        late = self.start_worker(server)
        slot = self.slot_of(late)
        self.wait_for(lambda: self.votes(server, slot) > 0, 'the late one to vote')
        summary = self.finish(server, workers + [late])
        self.check_result(summary)
        self.assertLess(summary['slots'][slot]['votes'], summary['rounds'] - 99)

    def test_a_late_joiner_after_the_switch(self):
        server = self.start_server(*LONG, 'server.start_timeout=0.3', 'optimizer.switch.when=at',
                                   'optimizer.switch.step=50', 'server.min_live=3')
        workers = self.start_workers(server, 3)
        status = self.wait_for_round(server, 200)
        self.assertEqual((status['phase'], status['switch_round']), ('sgd', 50))
        late = self.start_worker(server)
        slot = self.slot_of(late)
        self.wait_for(lambda: self.votes(server, slot) > 10, 'the late one to take part')
        self.check_result(self.finish(server, workers + [late]))

    def test_a_spare_takes_over(self):
        server = self.start_server(*LONG)
        workers = self.start_workers(server, 4, slots=True)
        self.wait_for_round(server, 100)
        spare = self.start_worker(server, name='spare')
        self.wait_for_words(spare, r'waiting for (it|one) as a spare')
        status = server.status()
        self.assertEqual((status['live'], status['spares']), (4, 1))
        # The round waits for slot 1 alone when it dies: it is committed in the same breath in which the spare takes over.
        workers[1].send(signal.SIGSTOP)
        self.wait_for(lambda: server.status()['waits_for'].startswith('the pushes of slot 1 in round'), 'a stuck round')
        workers[1].kill()
        self.assertEqual(self.slot_of(spare), 1)
        self.wait_for(lambda: self.votes(server, 1) > status['slots'][1]['votes'] + 100, 'the spare to vote')
        self.assertEqual(server.status()['spares'], 0)
        workers[1] = spare
        summary = self.finish(server, workers)
        self.check_result(summary)
        self.assertEqual(summary['slots'][1]['joins'], 2)

    def test_a_spare_takes_over_the_share_of_data(self):
        """Workers without a memory of their own, and a job that waits for all of them: whoever is in a slot gives what
        the first one would have given, or the weights differ."""
        job = ('workers=3', 'server.min_live=3', 'train.epochs=60', 'optimizer.mode=sgd', 'optimizer.sgd.lr=0.1',
               'optimizer.sgd.momentum=none', 'optimizer.sgd.wire=f32')
        server = self.start_server(*job)
        workers = self.start_workers(server, 3, slots=True)
        for slot in (1, 0, 1):
            self.wait_for_round(server, server.status()['round'] + 100)
            spare = self.start_worker(server, name='spare')
            self.wait_for_words(spare, r'waiting for (it|one) as a spare')
            workers[slot].kill()
            self.assertEqual(self.slot_of(spare), slot)
            workers[slot] = spare
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.assertEqual([s['joins'] for s in summary['slots']], [2, 3, 1])
        self.assertEqual([s['votes'] for s in summary['slots']], [summary['rounds']] * 3)
        reference = self.whole_job(*job, workers=3, run='reference')[1]
        self.assertEqual(summary['weights_digest'], reference['weights_digest'])

    def test_workers_come_and_go_at_any_round(self):
        """One is gone and another one comes, again and again, through sign rounds and those of the SGD phase."""
        server = self.start_server(*LONG, 'optimizer.switch.when=at', 'optimizer.switch.step=600', 'server.min_live=4')
        workers = self.start_workers(server, 4)
        phases = set()
        for turn in range(8):
            phases.add(self.wait_for_round(server, server.status()['round'] + 100)['phase'])
            workers.pop(0).kill()
            self.wait_for_words(server, r'left slot \d', times=turn + 1)
            workers.append(self.start_worker(server, name=f'comer{turn}'))
            self.slot_of(workers[-1])
        summary = self.finish(server, workers)
        self.check_result(summary)
        self.assertEqual(phases, {'sign', 'sgd'})
        self.assertEqual(sum(s['joins'] for s in summary['slots']), 12)
        self.assertEqual(sum(s['duplicates'] + s['abstained'] for s in summary['slots']), 0)

    def test_a_spare_that_is_never_needed_ends_with_the_job(self):
        server = self.start_server('train.epochs=100')
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 1)
        spares = [self.start_worker(server, name='spare') for _ in range(2)]
        for spare in spares:
            self.wait_for_words(spare, r'waiting for (it|one) as a spare')
        summary = self.finish(server, workers + spares)
        self.assertEqual([s['votes'] for s in summary['slots']], [summary['rounds']] * 4)

    def test_a_worker_that_wants_a_taken_slot_waits_for_that_one(self):
        server = self.start_server(*LONG)
        workers = self.start_workers(server, 4, slots=True)
        self.wait_for_round(server, 100)
        spare = self.start_worker(server, slot=3, name='spare')
        self.wait_for_words(spare, r'waiting for (it|one) as a spare')
        workers[0].kill()
        self.wait_for(lambda: server.status()['live'] == 3, 'the server to notice')
        self.assertEqual(server.status()['spares'], 1, 'slot 0 is not the one it wants')
        workers[3].kill()
        self.assertEqual(self.slot_of(spare), 3)
        summary = self.finish(server, [workers[1], workers[2], spare])
        self.check_result(summary)

    def test_the_one_that_gives_the_weights_dies_before(self):
        """Its INIT is held back by a proxy, so that it never gives weights; then it is killed."""
        server = self.start_server('train.epochs=20')
        proxy = wire.Proxy(server.address(), lambda n: wire.Drop(n, wire.DOWN, {wire.INIT}))
        self.addCleanup(proxy.close)
        first = self.start_worker(proxy.address)
        self.wait_for_words(server, r'is asked for the initial weights')
        others = self.start_workers(server, 3)
        for other in others:
            self.slot_of(other)
        time.sleep(0.2)
        status = server.status()
        self.assertEqual((status['stage'], status['round'], status['params']), ('new', 0, 4810))
        first.kill()
        self.wait_for_words(server, r'is asked for the initial weights', times=2)
        self.wait_for_words(server, r'gave the initial weights')
        others.append(self.start_worker(server))
        summary = self.finish(server, others)
        self.assert_done(summary)
        # Weights depend on the seed, not on who gave them.
        reference = self.whole_job('train.epochs=20', run='reference')[1]
        self.assertEqual(summary['weights_digest'], reference['weights_digest'])

    def test_the_one_that_gives_the_weights_takes_too_long(self):
        server = self.start_server('train.epochs=20', 'server.init_timeout=0.5', 'workers=2')
        proxy = wire.Proxy(server.address(), lambda n: wire.Drop(n, wire.DOWN, {wire.INIT}, connections={0}))
        self.addCleanup(proxy.close)
        first = self.start_worker(proxy.address)
        self.wait_for_words(server, r'is asked for the initial weights')
        second = self.start_worker(server)
        self.wait_for_words(first, r'the server says: .*weights')
        # It comes back through the proxy, which lets it be this time.
        self.assert_done(self.finish(server, [first, second]))

    def test_all_die_and_others_come(self):
        server = self.start_server(*LONG, 'workers=3')
        workers = self.start_workers(server, 3)
        self.wait_for_round(server, 100)
        for worker in workers:
            worker.kill()
        self.wait_for(lambda: server.status()['live'] == 0, 'the server to notice')
        status = self.wait_for(lambda: (s := server.status())['waits_for'] and s, 'the status to say what it waits for')
        self.assertEqual(status['stage'], 'running')
        self.assertRegex(status['waits_for'], r'the return of \d workers?; none is back')
        self.wait_for_words(server, r'waiting for the return of \d workers?; none is back')
        self.assertEqual(server.status()['round'], status['round'], 'nothing goes on without workers')
        workers = self.start_workers(server, 3)
        self.wait_for_round(server, status['round'] + 100)
        self.assertEqual(server.status()['waits_for'], '')
        self.check_result(self.finish(server, workers))

    def test_fewer_than_min_live_wait(self):
        server = self.start_server(*LONG, 'workers=3', 'server.min_live=2')
        workers = self.start_workers(server, 3, slots=True)
        self.wait_for_round(server, 100)
        workers[0].kill()
        self.wait_for(lambda: server.status()['live'] == 2, 'the server to notice')
        self.wait_for_round(server, server.status()['round'] + 50)
        workers[1].kill()
        self.wait_for(lambda: server.status()['live'] == 1, 'the server to notice')
        self.wait_for(lambda: 'workers: 1 live, server.min_live is 2' in server.status()['waits_for'],
                      'the status to say what it waits for')
        stuck = server.status()['round']
        time.sleep(0.5)
        self.assertEqual(server.status()['round'], stuck)
        self.assertTrue(workers[2].alive())
        workers[1] = self.start_worker(server, slot=1)
        self.wait_for_round(server, stuck + 50)
        self.check_result(self.finish(server, workers[1:]))


if __name__ == '__main__':
    harness.main()
