"""The tool `signpost` whose memory runs out at any one allocation, and the programs' --validate: words, or all that was asked
for."""
import gzip
import re
import shutil
import socket
import subprocess
import threading

import faults
import harness

# What differs from one status to the next of a server that does nothing but wait.
CHANGING = re.compile(r'for [0-9.]+ s|"(?:cpu_)?seconds": [0-9.]+')


class Memory(faults.Case):
    def check(self, *argv, budget_s=5, given=None, without=()):
        """Whatever fails, the program says so or prints all. It finds what is `given` in its folder. Sites whose hashes are
        in `without` are left out."""
        def attempt(one, site=None):
            if given is not None:
                shutil.copytree(given, one.folder / given.name)
            one.watch('tool', *argv)
            code = one.code()
            return code, CHANGING.sub('', one.watched.out())

        expected, sites = self.plain(attempt)
        self.assertEqual(expected[0], 0)

        def compare(one, site):
            code, out = attempt(one)
            one.expect(code != 0 or out == expected[1], 'it ended well without having printed all')

        self.sweep([site for site in sites if site.hash not in without], compare, budget_s)

    def test_check(self):
        self.check(faults.TOOL, 'check', harness.DIGITS, '--set', 'seed=7')
        sets = [word for item in faults.JOBS['all phases'] for word in ('--set', item)]
        self.check(faults.TOOL, 'check', harness.DIGITS, *sets)

    def test_check_data(self):
        """Of each format that is not the digits', plain and compressed. By their names: where memory runs out inside glob(),
        glibc 2.36 may free twice."""
        rows = ['label,"a",b,c,d'] + [f'{i % 3},{i},{i / 7},-1e-3,{i * i}' for i in range(40)]
        record = b'\1' + bytes(range(256)) * 12
        for name, raw in ('rows', '\n'.join(rows).encode()), ('bin', 3 * record):
            (self.folder / f'1.{name}').write_bytes(raw)
            (self.folder / f'2.{name}').write_bytes(gzip.compress(raw))
        for name, sets in (('rows', ['data.format=csv', 'data.csv.shape=[2, 2]', 'data.scale.compute=input']),
                           ('bin', ['data.format=cifar10', 'data.scale.compute=channel'])):
            job = self.folder / f'{name}.yaml'
            job.write_text('job: data\nmodel: {type: softmax}\n')
            sets += [f'data.train.files=1.{name}', f'data.test.files=2.{name}', 'data.augment.crop=1']
            self.check(faults.TOOL, 'check', job, *(word for item in sets for word in ('--set', item)))

    def test_compare(self):
        """Of runs that are there already; without gnuplot, which would be under faults as well."""
        arguments = ('compare', harness.DIGITS, '--set', 'train.epochs=1', '--case', 'a:', '--case', 'b: workers=2', '--seeds',
                     '2', '--target', '0.1', '--out', 'made')
        subprocess.run([faults.SIGNPOST, *map(str, arguments)], cwd=self.folder, check=True, capture_output=True,
                       timeout=harness.seconds(harness.RUN_S))
        self.check('PATH=/nonexistent', faults.TOOL, *arguments, given=self.folder / 'made')

    def test_eval(self):
        arguments = ('run', harness.DIGITS, '--set', 'train.epochs=1', '--out', 'made')
        subprocess.run([faults.SIGNPOST, *map(str, arguments)], cwd=self.folder, check=True, capture_output=True,
                       timeout=harness.seconds(harness.RUN_S))
        # jansson's parser takes a token that it has no memory for as a mistake in the text, or reads past its end, and the
        # reader of safetensors files has no way to tell yet. Of a table all that jansson allocates is for that reader.
        def attempt(one):
            one.watch('tool', faults.TOOL, 'eval', self.folder / 'made')
            self.assertEqual(one.code(), 0)
        _, sites = self.plain(attempt)
        parser = {site.hash for site in sites if site.frames[0].startswith('libjansson')}
        self.check(faults.TOOL, 'eval', self.folder / 'made', without=parser)
        self.check(faults.TOOL, 'eval', self.folder / 'made', '--json', without=parser)

    def test_status(self):
        server = self.start_server()
        self.check(faults.TOOL, 'status', server.run)
        self.check(faults.TOOL, 'status', server.run, '--json')
        self.assertTrue(server.alive())

    def test_stop(self):
        """Asked of one who says yes and does not stop. (Not --help: glibc's own printing of it ends in an assertion.)"""
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(self.folder / 'signpostd.sock'))
            door.listen(16)
            threading.Thread(target=self.say_yes, args=(door,), daemon=True).start()
            self.check(faults.TOOL, 'stop', self.folder)

    @staticmethod
    def say_yes(door):
        while door.fileno() >= 0:
            try:
                s, _ = door.accept()
                with s:
                    while (piece := s.recv(100)) and not piece.endswith(b'\n'):
                        pass
                    s.sendall(b'{"ok":true}')
            except OSError:
                continue  # it hung up, as one whose memory ran out may

    def test_validate(self):
        self.check(faults.SERVER, '--config', harness.DIGITS, '--validate')
        self.check(faults.WORKER, '--config', harness.DIGITS, '--validate')


if __name__ == '__main__':
    faults.main()
