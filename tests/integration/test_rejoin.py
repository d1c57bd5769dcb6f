"""Workers whose process, cable, or server goes away for a while: they notice, say what they wait for, come back to their
slot, and go on with their momentum."""
import os
import re
import signal
import struct
import threading
import time

import harness
import made
import wire

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
BEATS = ('server.heartbeat.interval=0.2', 'server.heartbeat.timeout=1')
LONG = ('train.epochs=200', 'train.evaluate=50', 'optimizer.sgd.lr=0.1')
SILENT = r'nothing was heard from it for (\d+\.\d) s'


class Cable(wire.Proxy):
    """A relay that can be cut without either end being told: from then on nothing is passed on, and nothing closed. A new
    connection is taken, and hears nothing either, until the cable is mended."""

    def __init__(self, target):
        self.whole = threading.Event()
        self.whole.set()
        cable = self

        class Hold(wire.Policy):
            def pass_on(self, direction, data):
                cable.whole.wait()
                return b'' if cable.closed else data
        super().__init__(target, Hold)

    def close(self):
        super().close()
        self.whole.set()


class Cuts(harness.Case):
    def cable(self, server):
        cable = Cable(server.address())
        self.addCleanup(cable.close)
        return cable

    def test_a_cable_is_cut_in_the_middle_of_rounds(self):
        """Neither end is told: both find it by silence. The job goes on without the worker, which comes back."""
        wide = 'model.hidden=[1024]'  # or the job might be over before the cable is mended
        server = self.start_server(*LONG, *BEATS, wide)
        cable = self.cable(server)
        workers = self.start_workers(server, 3, wide) + [self.start_worker(cable.address, wide)]
        slot = self.slot_of(workers[3])
        self.wait_for_round(server, 100)
        cable.whole.clear()
        self.wait_for_words(server, rf'left slot {slot}: nothing was heard of the worker for \d+\.\d s '
                                    r'\(server\.heartbeat\.timeout is 1\)')
        self.wait_for_words(workers[3], rf'lost the server \S+: {SILENT}; connecting again in 0\.\d s')
        self.wait_for_words(workers[3], rf'waiting for the server \S+ for \d+\.\d s \({SILENT}\); next attempt in \d\.\d s')
        self.wait_for_round(server, server.status()['round'] + 100)
        cable.whole.set()
        self.wait_for(lambda: server.status()['live'] == 4, 'the worker to be back')
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.assertEqual(set(re.findall(r'as slot (\d+) of', workers[3].err())), {str(slot)})
        self.assertEqual(sum(s['resyncs'] for s in summary['slots']), 0)
        self.assertEqual(workers[3].err().count(' info  model '), 1, 'its model was made anew for the same job')

    def test_a_cable_is_cut_while_the_worker_only_waits(self):
        """Nothing has to be sent in either direction but signs of life, and that they are missing is noticed."""
        server = self.start_server('train.epochs=5', 'workers=2', *BEATS)
        cable = self.cable(server)
        worker = self.start_worker(cable.address)
        self.slot_of(worker)
        cable.whole.clear()
        self.wait_for_words(server, r'left slot 0: nothing was heard of the worker for \d+\.\d s')
        self.wait_for_words(worker, rf'lost the server \S+: {SILENT}')
        cable.whole.set()
        self.wait_for_words(worker, r'as slot 0 of', times=2)
        self.assert_done(self.finish(server, [worker, self.start_worker(server)]))

    def test_a_cable_that_stays_cut_ends_the_patience(self):
        server = self.start_server('workers=2', *BEATS)
        cable = self.cable(server)
        worker = self.start_worker(cable.address, 'worker.give_up=2')
        self.slot_of(worker)
        cable.whole.clear()
        self.wait_for_end(worker, 1)
        self.assertRegex(worker.err().splitlines()[-1], r'no server at \S+ for \d(\.\d)? s; giving up')

    def test_the_server_is_paused_for_long(self):
        """Workers try again and again, to a kernel that takes their connections for a server that does not: when it goes
        on it finds all of them, and each worker has its slot and its momentum."""
        server = self.start_server(*LONG, *BEATS)
        workers = self.start_workers(server, 4, slots=True)
        self.wait_for_round(server, 100)
        server.send(signal.SIGSTOP)
        for worker in workers:
            self.wait_for_words(worker, rf'lost the server \S+: {SILENT}')
            found = self.wait_for_words(worker, rf'waiting for the server \S+ for (\d+\.\d) s \({SILENT}\)')
            self.assertGreaterEqual(float(found.group(1)), 1)
        time.sleep(2)
        server.send(signal.SIGCONT)
        self.wait_for(lambda: server.status()['live'] == 4, 'all to be back')
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.assertEqual(sum(s['resyncs'] for s in summary['slots']), 0)
        for slot, worker in enumerate(workers):
            self.assertEqual(set(re.findall(r'as slot (\d) of', worker.err())), {str(slot)})
            self.assertNotIn('begins at zero', worker.err())

    def test_the_server_is_started_again_for_another_job(self):
        """In another folder, so that it knows nothing of the first: the workers that wait take part, and their momentum
        is not of it."""
        port = harness.free_port()
        server = self.start_server(*LONG, listen=f'127.0.0.1:{port}')
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 100)
        server.kill()
        for worker in workers:
            self.wait_for_words(worker, r'lost the server')
        again = self.start_server('train.epochs=10', listen=f'127.0.0.1:{port}', run='again')
        self.assert_done(self.finish(again, workers))
        for worker in workers:
            self.assertRegex(worker.err(), r'the momentum of round \d+ is not of this run; it begins at zero')


class Killed(made.Case):
    """A worker whose rounds take more than a second, alone in its job: what it does is known to the bit."""

    JOB = ('workers=1', 'train.rounds=7', 'train.evaluate=0', 'optimizer.switch.when=at', 'optimizer.switch.step=5',
           'optimizer.sgd.lr=0.05')

    def saved_round(self, path):
        """Of the momentum in the file; 0 if there is none."""
        try:
            return struct.unpack('<I', path.read_bytes()[36:40])[0]
        except (FileNotFoundError, struct.error):
            return 0

    def kill_after(self, round_, keep):
        """A job whose worker is killed while it computes the gradient after that round; another goes on, if `keep` with
        the file. Returns (summary, log of the second worker)."""
        run = f'run-{keep}'
        server = self.start_server(*self.JOB, config=made.CONFIG, run=run)
        path = self.folder / run / 'momentum-0'
        worker = self.start_made(server, 0, more='pause=1100', folder=path.parent)

        def caught():
            if self.saved_round(path) < round_:
                return False
            worker.send(signal.SIGSTOP)
            if self.saved_round(path) == server.status()['round'] == round_:
                return True
            worker.send(signal.SIGCONT)  # in the moment between file and commit
            return False
        self.wait_for(caught, f'round {round_} to be saved')
        worker.kill()
        if not keep:
            path.unlink()
        again = self.start_made(server, 0, more='pause=1100', folder=path.parent)
        summary = self.finish(server, [again])
        self.assertFalse(path.exists(), 'nobody needs it any more')
        return summary, again.err()

    def test_it_goes_on_with_its_momentum(self):
        undisturbed = self.made_job(*self.JOB, workers=1, run='undisturbed')[1]
        summary, log = self.kill_after(3, True)
        self.assertRegex(log, r'goes on with the momentum of round 3, which \S+/momentum-0 kept')
        self.assertEqual(summary['weights_digest'], undisturbed['weights_digest'])
        summary, log = self.kill_after(3, False)
        self.assertNotIn('momentum', log)
        self.assertNotEqual(summary['weights_digest'], undisturbed['weights_digest'], 'it makes a difference')


class Saved(harness.Case):
    """Where signpost-worker saves its momentum, and that it goes when the job is done."""

    SLOW = ('train.batch=512', 'model.hidden=[512]', 'optimizer.switch.when=never', 'train.evaluate=0', 'worker.momentum.every=1')

    def check(self, folder, *sets, out=()):
        server = self.start_server('workers=1', 'train.rounds=1000000', *self.SLOW)
        worker = self.start('worker', harness.WORKER, '--config', harness.DIGITS, '--server', server.address(), *out,
                            *[word for item in (*self.SLOW, *sets) for word in ('--set', item)])
        path = folder / 'momentum-0'
        self.wait_for(path.exists, f'{path} to be written')
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(server.ask('stop').get('error'), None)
        self.finish(server, [worker])
        self.assertTrue(path.exists(), 'a job that was stopped is not done')

    def test_by_default(self):
        self.check(self.folder / 'runs/digits')

    def test_out(self):
        self.check(self.folder / 'some/where', out=('--out', self.folder / 'some/where'))

    def test_key(self):
        self.check(self.folder / 'key', f'worker.momentum.folder={self.folder}/key', out=('--out', self.folder / 'other'))
        self.assertFalse((self.folder / 'other').exists())

    def test_of_a_run(self):
        """`signpost run` has its workers save in the run's folder, wherever they were started."""
        run = self.folder / 'there'
        job = self.start('signpost', SIGNPOST, 'run', harness.DIGITS, '--out', run,
                         *[word for item in ('workers=1', 'server.listen=127.0.0.1:0', 'train.rounds=1000000', *self.SLOW)
                           for word in ('--set', item)])
        self.wait_for((run / 'momentum-0').exists, 'the momentum to be written')
        job.send(signal.SIGINT)
        self.wait_for_end(job)
        self.assertFalse((self.folder / 'runs').exists())

    def test_never(self):
        server = self.start_server('workers=1', 'train.rounds=1000000', *self.SLOW)
        worker = self.start_worker(server, *self.SLOW, 'worker.momentum.every=0')
        self.wait_for_words(server, r'round 1 of')
        time.sleep(2)
        server.ask('stop')
        self.finish(server, [worker])
        self.assertFalse((self.folder / 'runs').exists())


if __name__ == '__main__':
    harness.main()
