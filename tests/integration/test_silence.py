"""Peers that hang (SIGSTOP), and connections that nobody closed."""
import re
import signal
import time

import harness
import wire

BEATS = ('server.heartbeat.interval=0.2', 'server.heartbeat.timeout=1')
LONG = ('train.epochs=200', 'train.evaluate=50', 'optimizer.sgd.lr=0.1')


class Silence(harness.Case):
    def test_a_worker_that_hangs_is_dropped_and_returns(self):
        server = self.start_server(*LONG, *BEATS)
        workers = self.start_workers(server, 4, slots=True)
        self.wait_for_round(server, 200)
        workers[1].send(signal.SIGSTOP)
        self.wait_for_words(server, r'worker \S+ left slot 1: nothing was heard of the worker for 1\.\d s '
                                    r'\(server\.heartbeat\.timeout is 1\)')
        status = server.status()
        self.assertEqual((status['live'], status['slots'][1]['state']), (3, 'empty'))
        self.wait_for_round(server, status['round'] + 200)
        self.assertEqual(server.status()['slots'][1]['votes'], status['slots'][1]['votes'])
        workers[1].send(signal.SIGCONT)
        self.wait_for_words(workers[1], r'lost the server \S+: ')
        self.wait_for(lambda: server.status()['slots'][1]['votes'] > status['slots'][1]['votes'] + 10,
                      'the worker to vote again')
        self.assertEqual(self.slot_of(workers[1]), 1)
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.assertEqual([s['joins'] for s in summary['slots']], [1, 2, 1, 1])
        self.assertEqual(sum(s['resyncs'] for s in summary['slots']), 0)

    def test_a_short_pause_costs_nothing(self):
        """Shorter than the timeout: the job waits for it, and nobody is dropped."""
        server = self.start_server(*LONG, 'server.heartbeat.timeout=20')
        workers = self.start_workers(server, 4, slots=True)
        self.wait_for_round(server, 100)
        workers[1].send(signal.SIGSTOP)
        stuck = self.wait_for(lambda: (s := server.status())['waits_for'] and s, 'the server to say what it waits for')
        self.assertRegex(stuck['waits_for'], rf"^the pushes of slot 1 in round {stuck['round'] + 1}$")
        self.assertEqual(server.status()['round'], stuck['round'])
        workers[1].send(signal.SIGCONT)
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.assertEqual([s['votes'] for s in summary['slots']], [summary['rounds']] * 4)
        self.assertEqual([s['joins'] for s in summary['slots']], [1] * 4)

    def test_the_server_hangs(self):
        """Workers notice, try again, and go on when it does."""
        server = self.start_server(*LONG, *BEATS)
        workers = self.start_workers(server, 3)
        workers.append(self.start_worker(server))
        self.wait_for_round(server, 100)
        server.send(signal.SIGSTOP)
        for worker in workers:
            self.wait_for_words(worker, r'lost the server \S+: nothing was heard from it for 1\.\d s')
        server.send(signal.SIGCONT)
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.assertEqual(sum(s['resyncs'] for s in summary['slots']), 0)

    def test_a_worker_returns_before_its_old_connection_is_known_to_be_dead(self):
        """A proxy ends the worker's side only: the server learns of it when the worker is back with its ticket."""
        server = self.start_server(*LONG, 'server.heartbeat.timeout=60')

        class HalfCut(wire.CutAfter):
            def pass_on(self, direction, data):
                try:
                    return super().pass_on(direction, data)
                except wire.Cut:
                    self.left = None
                    proxy.end_inner(self.number)
                    return b''
        proxy = Proxy(server.address(), lambda n: HalfCut(n, wire.UP, 60000) if n == 0 else wire.Policy(n))
        self.addCleanup(proxy.close)
        workers = self.start_workers(server, 3)
        workers.append(self.start_worker(proxy.address))
        slot = self.slot_of(workers[3])
        self.wait_for_words(workers[3], r'lost the server')
        self.wait_for_words(server, rf'left slot {slot}: another connection took over its slot with its ticket')
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.assertEqual(summary['slots'][slot]['joins'], 2)
        slots = re.findall(r'as slot (\d+) of', workers[3].err())
        self.assertEqual(slots, [str(slot)] * 2)

    def test_a_busy_worker_is_not_silent(self):
        """Rounds longer than the timeout: nobody may be dropped as long as all compute."""
        model = 'model.hidden=[4096, 256]'
        server = self.start_server('train.rounds=6', 'train.batch=64', 'server.heartbeat.interval=0.1',
                                   'server.heartbeat.timeout=0.2', 'train.evaluate=0', model, 'workers=2')
        workers = self.start_workers(server, 2, model, 'train.batch=64')
        summary = self.finish(server, workers)
        self.assertEqual(summary['rounds_done'], 6)


class Proxy(wire.Proxy):
    """Can end the worker's side of a connection and leave the server's side open."""

    def end_inner(self, number):
        with self.lock:
            inner = self.sockets[2 * number]
        self._end(inner)

    def _pump(self, policy, direction, source, sink):
        if policy.number > 0:
            super()._pump(policy, direction, source, sink)
            return
        try:
            while data := source.recv(262144):
                data = policy.pass_on(direction, data)
                if direction == wire.DOWN and policy.left is None:
                    continue  # what comes from the server now goes nowhere
                sink.sendall(data)
        except OSError:
            pass
        while not self.closed:
            time.sleep(0.02)


if __name__ == '__main__':
    harness.main()
