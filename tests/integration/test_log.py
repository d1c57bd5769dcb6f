"""The log: every line of a whole job in JSON can be read, of server and workers, whatever ends them; text stays text."""
import json
import re
import signal

import harness

TIME = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d')
JSON = ('--log-format', 'json')


class Log(harness.Case):
    def objects(self, process):
        """Each line of a log, read."""
        lines = process.err().splitlines(keepends=True)
        self.assertTrue(lines, f'{process.name} said nothing')
        objects = [json.loads(line) for line in lines]
        for line, entry in zip(lines, objects):
            self.assertTrue(line.endswith('}\n'), line)
            self.assertEqual(list(entry), [key for key in ('time', 'level', 'tag', 'name', 'message') if key in entry])
            self.assertTrue({'time', 'level', 'tag', 'message'} <= entry.keys(), line)
            self.assertIn(entry['level'], ('error', 'warn', 'info', 'debug'))
            self.assertRegex(entry['time'], TIME)
        return objects

    def start_json(self, *more, workers=2):
        run = self.folder / 'run'
        server = harness.Server('server', [harness.SIGNPOSTD, '--config', harness.DIGITS, '--listen', '127.0.0.1:0', '--out', run,
                                           '--set', f'workers={workers}', *JSON, *more], self.folder, run)
        self.processes.append(server)
        self.wait_for(lambda: (run / 'address').exists() or not server.alive(), 'the server to listen')
        processes = [self.start('worker', harness.WORKER, '--config', harness.DIGITS, '--server', server.address(), *JSON,
                                '--log', 'debug') for _ in range(workers)]
        return server, processes

    def test_a_whole_job(self):
        server, workers = self.start_json('--set', 'train.epochs=3', '--log', 'debug')
        self.finish(server, workers)
        said = self.objects(server)
        self.assertTrue(any(entry['message'].startswith("job 'digits' for 2 workers, listening on ") for entry in said))
        self.assertTrue(any(entry['tag'] == 'train' and 'loss' in entry['message'] for entry in said))
        self.assertFalse(any('name' in entry for entry in said))
        for worker in workers:
            said = self.objects(worker)
            slot = self.slot_of(worker)
            self.assertNotIn('name', said[0])
            self.assertEqual(said[-1]['name'], f'worker {slot}')

    def test_what_ends_a_program_is_an_object(self):
        for argv, code, words in (
                ((harness.SIGNPOSTD, '--config', harness.DIGITS, '--set', 'workers=0', '--set', 'seed=x'), 2, 'was refused: 2 problems'),
                ((harness.SIGNPOSTD, '--config', 'no-such.yaml'), 2, 'no-such.yaml'),
                ((harness.WORKER, '--config', harness.DIGITS, '--server', 'no port'), 1, 'no port')):
            process = self.start('program', *argv, *JSON)
            self.wait_for_end(process, code)
            self.assertIn(words, self.objects(process)[-1]['message'])
            self.assertEqual(self.objects(process)[-1]['level'], 'error')

    def test_strange_words(self):
        """Bytes of other people, which the log repeats, break no line."""
        job = self.folder / 'a"b\n\x01.yaml'
        process = self.start('odd', harness.SIGNPOSTD, '--config', job, *JSON)
        self.wait_for_end(process, 2)
        self.assertIn('a"b', self.objects(process)[-1]['message'])
        process = self.start('odd', harness.SIGNPOSTD, '--config', b'caf\xe9.yaml'.decode('utf-8', 'surrogateescape'), *JSON)
        self.wait_for_end(process, 2)
        self.assertIn('caf\N{REPLACEMENT CHARACTER}.yaml', self.objects(process)[-1]['message'])

    def test_wrong_formats(self):
        for program in (harness.SIGNPOSTD, harness.WORKER):
            process = self.start('program', program, '--config', harness.DIGITS, '--log-format', 'xml')
            self.wait_for_end(process, 2)
            self.assertIn("invalid --log-format -- 'xml': use text or json", process.err())

    def test_text_is_as_it_was(self):
        server = self.start_server('workers=1')
        server.send(signal.SIGTERM)
        self.wait_for_end(server)
        for line in server.err().splitlines():
            self.assertRegex(line, r'^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (error|warn |info |debug) [a-z]+ +\S')

    def hang_up(self, *more):
        """How a server's log tells of five signals."""
        run = self.folder / 'run'
        (run / 'address').unlink(missing_ok=True)
        server = harness.Server('server', [harness.SIGNPOSTD, '--config', harness.DIGITS, '--listen', '127.0.0.1:0', '--out', run,
                                           '--fresh', *more], self.folder, run)
        self.processes.append(server)
        self.wait_for(lambda: (run / 'address').exists() or not server.alive(), 'the server to listen')
        for _ in range(5):
            server.send(signal.SIGHUP)
            server.status()  # so that it was seen: two that come together are one
        server.send(signal.SIGTERM)
        self.wait_for_end(server)
        return re.findall(r'SIGHUP: secrets and certificates were read again, for connections from now on(.*)\n', server.err())

    def test_repeats_are_counted(self):
        """Of five in a row one is told of at once, the rest together; with --log debug each one."""
        said = self.hang_up()
        self.assertEqual(said[0], '')
        self.assertEqual(len(said), 2, said)
        self.assertRegex(said[1], r'^ \(this was said 4 more times in \d+ s\)$')
        self.assertEqual(self.hang_up('--log', 'debug'), [''] * 5)


if __name__ == '__main__':
    harness.main()
