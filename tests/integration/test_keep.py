"""What outlives the server: checkpoints, the journal, and a server that goes on from them."""
import json
import os
import re
import resource
import shutil
import subprocess

import harness

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
ALWAYS = 'server.journal.fsync=always'


def checkpoint_of(status):
    """The round of the one on the disk; 0 before there is any."""
    return (status['keep']['checkpoint'] or {'round': 0})['round']


class Keep(harness.Case):
    def setUp(self):
        self.port = harness.free_port()

    def server_on(self, *sets, **more):
        return self.start_server(*sets, listen=f'127.0.0.1:{self.port}', **more)

    def tool(self, *argv, code=0):
        done = subprocess.run([SIGNPOST, *map(str, argv)], capture_output=True, text=True, cwd=self.folder,
                              timeout=harness.seconds(60))
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def replay(self, run='run', *more):
        """Round and digest."""
        out = self.tool('replay', self.folder / run, *more).stdout
        return (int(re.search(r'round +(\d+) of', out)[1]), re.search(r'weights digest  ([0-9a-f]{16})', out)[1])

    def went_on(self, server):
        """The rounds that it went on after, and that its checkpoint was of."""
        match = self.wait_for_words(server, r'going on after round (\d+): the checkpoint of round (\d+) and')
        return int(match[1]), int(match[2])

    # --- going on ------------------------------------------------------------------------------------------------------

    def kill_and_go_on(self, *sets, times=3):
        server = self.server_on(*sets)
        workers = self.start_workers(server, 4)
        round_ = 0
        for _ in range(times):
            self.wait_for_round(server, round_ + 60)
            server.kill()
            round_, digest = self.replay()
            server = self.server_on(*sets)
            self.assertEqual(self.went_on(server)[0], round_)
            self.assertEqual(self.replay('run', '--to-round', round_), (round_, digest))
        summary = self.finish(server, workers)
        self.assert_done(summary)
        self.assertEqual(summary['restarts'], times)
        self.assertEqual(self.replay(), (summary['rounds'], summary['weights_digest']))
        self.assertEqual(sum(slot['resyncs'] for slot in summary['slots']), 0)
        self.assertGreater(summary['test_accuracy'], 0.93)
        return server, summary

    def test_killed_and_started_again(self):
        server, summary = self.kill_and_go_on(ALWAYS, 'train.epochs=30')
        rounds = [line['round'] for line in server.history()]
        self.assertEqual(rounds, sorted(rounds), 'no report twice')
        self.assertEqual(rounds[-1], summary['rounds'])
        self.assertGreaterEqual(summary['bytes_pushed'], 4 * 690 * 600)

    def test_by_interval(self):
        self.kill_and_go_on('train.epochs=30', 'server.journal.interval_ms=20', 'server.checkpoint.every=50')

    def test_values_all_the_way(self):
        for mode in ('adam', 'sgd'):
            with self.subTest(mode):
                self.kill_and_go_on(ALWAYS, f'optimizer.mode={mode}', 'train.epochs=25', 'optimizer.adam.lr=2e-3', times=1)

    def test_checkpoints_without_a_journal(self):
        sets = ('train.epochs=30', 'server.journal.enabled=false', 'server.checkpoint.every=40')
        server = self.server_on(*sets)
        workers = self.start_workers(server, 4)
        self.wait_for(lambda: checkpoint_of(server.status()) >= 80, 'two checkpoints')
        server.kill()
        server = self.server_on(*sets)
        after, checkpoint = self.went_on(server)
        self.assertEqual(after, checkpoint)
        self.assertGreaterEqual(after, 80)
        self.assert_done(self.finish(server, workers))
        self.assertFalse((server.run / 'journal').exists())

    def test_stopped_and_started_again(self):
        server = self.server_on('train.epochs=200')
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 50)
        self.tool('stop', server.run)
        summary = self.finish(server, workers)
        self.assertTrue(summary['stopped'])
        self.assertEqual(self.replay(), (summary['rounds_done'], summary['weights_digest']))
        server = self.server_on('train.epochs=200')
        self.assertEqual(self.went_on(server)[0], summary['rounds_done'])
        self.assertFalse((server.run / 'summary.json').exists(), 'that of a part is not taken for the result')
        self.start_workers(server, 4)
        self.wait_for_round(server, summary['rounds_done'] + 20)

    def test_finished_runs_begin_anew(self):
        first = self.whole_job('train.epochs=3')[1]
        server, second = self.whole_job('train.epochs=3')
        self.assertNotIn('going on', server.err())
        self.assertEqual(second['weights_digest'], first['weights_digest'])
        self.assertEqual(second['restarts'], 0)

    def test_another_job_in_the_folder(self):
        server = self.server_on('train.epochs=200')
        self.start_workers(server, 4)
        self.wait_for_round(server, 20)
        server.kill()
        refused = self.start_server('train.epochs=200', 'optimizer.sign.lr=0.5', wait=False)
        self.wait_for_end(refused, 2)
        self.assertRegex(refused.err(), r"holds a run of job 'digits' that did not come to its end, with "
                                        r'optimizer\.sign\.lr 0\.002, now it is 0\.5; give this run a folder of its own with '
                                        r'--out, the job its old settings to go on, or --fresh to begin anew')
        # Keys that do not govern training may change.
        server = self.server_on('train.epochs=200', 'server.checkpoint.every=10', 'train.report=7')
        self.went_on(server)

    def test_fresh(self):
        server = self.server_on('train.epochs=200')
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 20)
        server.kill()
        for worker in workers:
            worker.kill()
        fresh = self.start('fresh', harness.SIGNPOSTD, '--config', harness.DIGITS, '--out', self.folder / 'run', '--fresh',
                           '--listen', f'127.0.0.1:{self.port}', '--set', 'train.epochs=2')
        workers = [self.start_worker(f'127.0.0.1:{self.port}') for _ in range(4)]
        self.wait_for_end(fresh, 0)
        self.assertNotIn('going on', fresh.err())
        self.assertEqual(self.replay()[0], 46)

    def test_all_come_back_before_a_round_goes_on(self):
        server = self.server_on(ALWAYS, 'train.epochs=400')
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 50)
        server.kill()
        for worker in workers[1:]:
            worker.kill()
        server = self.server_on(ALWAYS, 'train.epochs=400', 'server.rejoin_timeout=5')
        after = self.went_on(server)[0]
        words = r'the return of workers: 1 of 4 are back; goes on in \d+ s at the latest \(server\.rejoin_timeout\)'
        self.wait_for(lambda: re.search(words, server.status()['waits_for']), 'the server to say that it waits')
        self.assertEqual(server.status()['round'], after)
        self.wait_for_words(server, rf'round {after + 1} goes on with 1 of the 4 workers of the round before', 20)
        self.wait_for_round(server, after + 10)

    # --- damage --------------------------------------------------------------------------------------------------------

    def broken_off(self, *sets):
        """A run with some checkpoints, whose server was killed."""
        server = self.server_on(ALWAYS, 'train.epochs=400', 'server.checkpoint.every=30', *sets)
        workers = self.start_workers(server, 4)
        status = self.wait_for(lambda: server.status() if checkpoint_of(server.status()) >= 90 else None,
                               'some checkpoints')
        self.wait_for_round(server, status['round'] + 10)
        server.kill()
        for worker in workers:
            worker.kill()
        return server.run

    def go_on(self, *sets):
        return self.server_on(ALWAYS, 'train.epochs=400', *sets)

    def test_a_damaged_checkpoint(self):
        run = self.broken_off()
        round_, digest = self.replay()
        files = sorted((run / 'checkpoint').glob('*.checkpoint'))
        self.assertEqual(len(files), 3)
        data = bytearray(files[-1].read_bytes())
        data[len(data) // 2] ^= 4
        files[-1].write_bytes(data)
        files[-2].write_bytes(files[-2].read_bytes()[:-100])
        server = self.go_on()
        after, checkpoint = self.went_on(server)
        self.assertEqual((after, checkpoint), (round_, int(files[0].stem)))
        self.assertRegex(server.err(), rf'error keep +the checkpoint of round {int(files[-1].stem)} is of no use: .*; trying '
                                       'the one before')
        self.assertEqual(self.replay('run', '--to-round', round_), (round_, digest))

    def test_no_good_checkpoint(self):
        run = self.broken_off()
        for path in (run / 'checkpoint').glob('*.checkpoint'):
            path.write_bytes(b'SPCHECK1 and then nothing of use')
        refused = self.start_server(ALWAYS, 'train.epochs=400', wait=False)
        self.wait_for_end(refused, 1)
        self.assertRegex(refused.err(), r'no checkpoint in \S+/checkpoint can be read; --fresh begins anew')

    def test_a_torn_record(self):
        run = self.broken_off()
        while (last := sorted((run / 'journal').glob('*.journal'))[-1]).stat().st_size < 500:
            self.broken_off()  # a checkpoint of the last round needs no record
        round_, _ = self.replay()
        with open(last, 'r+b') as file:
            file.truncate(last.stat().st_size - 5)
        server = self.go_on()
        self.assertEqual(self.went_on(server)[0], round_ - 1)
        self.assertRegex(server.err(), rf'{last.name}: after round {round_ - 1} \d+ bytes of a round that is not complete are '
                                       'left out')
        self.start_workers(server, 4)
        self.wait_for_round(server, round_ + 30)
        server.kill()
        self.assertGreaterEqual(self.replay()[0], round_ + 30)

    def test_a_hole_in_the_journal(self):
        run = self.broken_off('server.checkpoint.keep=10')
        segment = sorted((run / 'journal').glob('*.journal'))[0]
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
        # Newer checkpoints are beyond it: nothing is lost.
        round_, digest = self.replay()
        self.assertGreaterEqual(round_, 90)
        for path in sorted((run / 'checkpoint').glob('*.checkpoint'))[1:]:
            path.unlink()
        done = self.tool('replay', run)
        self.assertIn('is damaged after round', done.stderr)
        self.assertLess(self.replay()[0], 30)

    def test_files_of_the_first_version(self):
        """tests/fixtures/run, see README.md there."""
        run = self.folder / 'run'
        shutil.copytree(harness.ROOT / 'tests/fixtures/run', run)
        self.assertEqual(self.replay(), (22, '314f22f6e7063b0e'))
        sets = ('model.type=softmax', 'workers=2', 'train.rounds=24', 'train.evaluate=0', 'optimizer.switch.when=at',
                'optimizer.switch.step=10', 'optimizer.sgd.wire=i8')
        server = self.server_on(*sets)
        self.assertEqual(self.went_on(server), (22, 11))
        summary = self.finish(server, self.start_workers(server, 2, 'model.type=softmax'))
        self.assertEqual((summary['rounds_done'], summary['switch_round']), (24, 10))
        self.assertEqual(self.replay(), (24, summary['weights_digest']))

    def test_another_version_of_the_state(self):
        run = self.folder / 'run'
        shutil.copytree(harness.ROOT / 'tests/fixtures/run', run)
        data = bytearray((run / 'checkpoint/0000000011.checkpoint').read_bytes())
        (run / 'checkpoint/0000000011.checkpoint').write_bytes(data.replace(b'SPCHECK1', b'SPCHECK9'))
        refused = self.tool('replay', run, code=1)
        self.assertRegex(refused.stderr, r'version')

    # --- the disk ------------------------------------------------------------------------------------------------------

    def small_files(self, limit, *sets):
        server = self.server_on('train.epochs=400', ALWAYS, *sets)
        workers = self.start_workers(server, 4)
        self.wait_for_round(server, 20)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        return server, workers

    def test_a_full_disk(self):
        server, workers = self.small_files(30000)
        self.wait_for_words(server, r'error keep +cannot write \S+\.journal.*; the job goes on, and what a restart would lose '
                                    'grows until it can be written again')
        status = self.wait_for_round(server, server.status()['round'] + 50)
        self.assertTrue(status['keep']['failing'])
        self.assertFalse(status['keep']['journal']['written'])
        self.assertIn('CANNOT BE WRITTEN', self.tool('status', server.run).stdout)
        kept = self.replay()[0]
        self.assertLess(kept, status['round'])
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.tool('checkpoint', server.run)
        self.wait_for_words(server, 'from here on nothing is lost again')
        self.wait_for_round(server, server.status()['round'] + 30)
        server.kill()
        self.assertGreaterEqual(self.replay()[0], status['round'])

    def test_a_full_disk_stops_the_job(self):
        server, workers = self.small_files(30000, 'server.journal.on_error=stop')
        self.wait_for_end(server, 1)
        self.assertRegex(server.err(), r'the job stops \(server\.journal\.on_error\)')
        self.assertTrue(server.summary()['stopped'])
        for worker in workers:
            self.wait_for_end(worker, 0)

    # --- people --------------------------------------------------------------------------------------------------------

    def test_commands(self):
        server = self.server_on('train.epochs=400', ALWAYS)
        self.start_workers(server, 4)
        self.wait_for_round(server, 30)
        said = self.tool('checkpoint', server.run).stdout
        round_ = int(re.search(r'the checkpoint of round (\d+) is written', said)[1])
        self.assertTrue((server.run / 'checkpoint' / f'{round_:010}.checkpoint').exists())
        self.assertRegex(self.tool('status', server.run).stdout,
                         r'kept +checkpoint of round \d+ \(\d+ s ago\); journal to round \d+, on the disk to \d+ \(')
        export = self.folder / 'made.safetensors'
        done = self.tool('replay', server.run, '--to-round', round_, '--export', export)
        digest = re.search(r'weights digest  ([0-9a-f]{16})', done.stdout)[1]
        raw = export.read_bytes()
        head = json.loads(raw[8:8 + int.from_bytes(raw[:8], 'little')])
        self.assertEqual(head['__metadata__']['weights_digest'], digest)
        self.assertEqual(head['dense1.weight']['shape'], [64, 64])
        self.assertRegex(self.tool('replay', server.run, '--to-round', '4000000', code=1).stderr,
                         r'goes to round \d+ only, .*round 4000000 cannot be made')
        self.assertRegex(self.tool('replay', self.folder, code=1).stderr, 'holds no checkpoint: name a run')
        self.tool('replay', server.run, '--to-round', 'x', code=2)

    def test_history_is_kept_when_asked_for(self):
        sets = ('train.epochs=20', 'server.checkpoint.every=60', 'server.checkpoint.keep=1')
        server, summary = self.whole_job(*sets)
        first = min(int(path.stem) for path in (server.run / 'checkpoint').glob('*.checkpoint'))
        self.assertGreater(first, 0)
        self.tool('replay', server.run, '--to-round', first - 1, code=1)
        self.assertEqual(len(list((server.run / 'checkpoint').glob('*.checkpoint'))), 1)
        self.assertLessEqual(len(list((server.run / 'journal').glob('*.journal'))), 2)
        server, summary = self.whole_job(*sets, 'server.journal.keep_history=true', run='whole')
        self.assertEqual(len(list((server.run / 'checkpoint').glob('*.checkpoint'))), 2)
        self.assertEqual(self.replay('whole', '--to-round', 0)[0], 0)
        self.assertEqual(self.replay('whole', '--to-round', 17)[0], 17)
        self.assertEqual(self.replay('whole')[1], summary['weights_digest'])

    def test_a_journal_has_its_limit(self):
        server = self.server_on('train.epochs=400', 'server.journal.max_bytes=400000', 'server.checkpoint.keep=2')
        self.start_workers(server, 4)
        self.wait_for(lambda: checkpoint_of(server.status()) > 300, 'checkpoints because of its size')
        first = server.run / 'checkpoint' / '0000000000.checkpoint', server.run / 'journal' / '0000000000.journal'
        self.wait_for(lambda: not any(path.exists() for path in first), 'the first checkpoint and segment to go')


if __name__ == '__main__':
    harness.main()
