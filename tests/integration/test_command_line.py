"""What people type, and what they get told: arguments, job files, data files, ports, folders."""
import os
import re
import shutil
import socket
import stat
import subprocess

import harness

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
PROGRAMS = ((harness.SIGNPOSTD, 'signpostd'), (harness.WORKER, 'signpost-worker'))


class CommandLine(harness.Case):
    def call(self, program, *arguments, code):
        """Runs to its end. Returns (stdout, stderr)."""
        try:
            done = subprocess.run([program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=harness.seconds(20), cwd=self.folder)
        except subprocess.TimeoutExpired:
            self.fail(f'{program} {arguments} did not end')
        self.assertEqual(done.returncode, code, f'{program} {arguments}: {done.stdout}{done.stderr}')
        self.assertNotRegex(done.stderr, harness.COMPLAINTS)
        return done.stdout, done.stderr

    def job_file(self, text):
        path = self.folder / 'job.yaml'
        path.write_text(text)
        return path

    MINIMAL = 'job: j\ndata:\n  train: {images: a, labels: b}\n'

    def refused(self, text, *patterns, sets=()):
        """Both programs refuse the job file with 2 and every one of the lines; FILE stands for the file's path."""
        path = self.job_file(text)
        for program, name in PROGRAMS:
            arguments = ['--config', path]
            for item in sets:
                arguments += ['--set', item]
            for more in ([], ['--validate']):
                out, err = self.call(program, *arguments, *more, code=2)
                self.assertEqual(out, '')
                for pattern in patterns:
                    self.assertRegex(err, '(?m)^' + pattern.replace('FILE', re.escape(str(path))))
                self.assertRegex(err.splitlines()[-1], rf'^{name}: {re.escape(str(path))} was refused: \d+ problems?$')

    def test_version(self):
        for program, name in PROGRAMS:
            out, err = self.call(program, '--version', code=0)
            self.assertRegex(out, rf'^{name} \d+\.\d+\.\d+\n$')
            self.assertEqual(err, '')

    def test_help(self):
        for program, name in PROGRAMS:
            out, _ = self.call(program, '--help', code=0)
            for option in ('--config', '--set', '--validate', '--version', '--log'):
                self.assertIn(option, out)
            self.assertIn(name, out)
        self.assertIn('--listen', self.call(harness.SIGNPOSTD, '--help', code=0)[0])
        self.assertIn('--slot', self.call(harness.WORKER, '--help', code=0)[0])

    def test_validate(self):
        for program, _ in PROGRAMS:
            for path in sorted((harness.ROOT / 'configs').glob('*.yaml')):
                self.assertEqual(self.call(program, '--config', path, '--validate', code=0), (f'{path}: valid\n', ''))
        self.assertEqual(list(self.folder.iterdir()), [], 'checking a file leaves nothing behind')

    def test_check_says_what_has_no_effect(self):
        out, _ = self.call(SIGNPOST, 'check', harness.DIGITS, '--set', 'model.width=8', '--set', 'data.csv.separator=tab', code=0)
        self.assertIn('model.width: has no effect without model.type resnet18\n', out)
        self.assertIn('data.csv.separator: has no effect without data.format csv\n', out)
        self.assertEqual(out.count('has no effect'), 2)
        self.assertNotIn('has no effect', self.call(SIGNPOST, 'check', harness.DIGITS, code=0)[0])

    def test_check_says_every_key(self):
        rules = 'tensors=[{match: "bn*", update: full}, {match: "*.bias", decay: true}]'
        out, _ = self.call(SIGNPOST, 'check', harness.DIGITS, '--set', rules, code=0)
        self.assertRegex(out, r'(?m)^optimizer\.sign\.lr +0\.002 *$')
        self.assertRegex(out, r'(?m)^optimizer\.adam\.lr +0\.001 +\(default\)$', 'which the table writes 1e-3')
        self.assertRegex(out, r'(?m)^tensors +- \{match: "bn\*", update: full\}\n +- \{match: "\*\.bias", decay: true\}$')
        self.assertEqual(re.findall('tensors: .*', out),
                         ["tensors: no tensor of the model matches 'bn*'; that rule does nothing"])
        self.assertRegex(self.call(SIGNPOST, 'check', harness.DIGITS, code=0)[0],
                         r'(?m)^tensors +\[\] +\(default\)$')

    def test_usage_errors(self):
        for program, name in PROGRAMS:
            for arguments, words in ((), 'required'), (('--config',), 'config'), (('--nonsense',), 'nonsense'), \
                    (('--config', harness.DIGITS, 'more'), r"unexpected argument -- 'more'"), \
                    (('--config', harness.DIGITS, '--log', 'loud'), r"invalid --log -- 'loud'"):
                out, err = self.call(program, *arguments, code=2)
                self.assertRegex(err, words)
                self.assertRegex(err, rf'{name} --help|{name}:')
        for slot in ('x', '-1', '', '1.5', '99999', '999999999999999999999'):
            _, err = self.call(harness.WORKER, '--config', harness.DIGITS, '--slot', slot, code=2)
            self.assertIn(f"invalid --slot -- '{slot}'", err)

    def test_no_job_file(self):
        for program, name in PROGRAMS:
            _, err = self.call(program, '--config', self.folder / 'missing.yaml', code=2)
            self.assertRegex(err, rf'{self.folder}/missing\.yaml: .*[Nn]o such file')
            self.call(program, '--config', self.folder, code=2)

    def test_broken_yaml(self):
        self.refused('job: digits\nworkers: [4\nseed: 1\n', r'FILE:[34]:\d+: ')
        self.refused('job: "digits\n', r'FILE:\d+:\d+: ')
        self.refused('\tjob: digits\n', r'FILE:1:1: ')
        self.refused('', r'FILE.*: ')
        self.refused('- a\n- b\n', r'FILE:1:1: ')

    def test_unknown_key(self):
        self.refused(self.MINIMAL + 'worker: {}\nwrkers: 4\n', r"FILE:5:1: unknown key 'wrkers'; did you mean 'workers'\?")
        self.refused(self.MINIMAL + 'optimizer:\n  sign: {lr: 1e-3, schedules: linear}\n',
                     r"FILE:5:20: unknown key 'optimizer\.sign\.schedules'; did you mean 'optimizer\.sign\.schedule'\?")

    def test_wrong_values(self):
        self.refused(self.MINIMAL + 'workers: many\n', r"FILE:4:10: workers: must be .*, not 'many'")
        self.refused(self.MINIMAL + 'workers: 0\n', r'FILE:4:10: workers: must be ')
        self.refused(self.MINIMAL + 'optimizer: {beta1: 1.5}\n', r'FILE:4:20: optimizer\.beta1: must be ')
        self.refused(self.MINIMAL + 'optimizer: {switch: {when: now}}\n',
                     r"FILE:4:28: optimizer\.switch\.when: must be .*never.*, not 'now'")

    def test_all_problems_at_once(self):
        self.refused('workers: x\nseed: y\ndata: {train: {labels: l}}\n', r'FILE:1:10: workers', r'FILE:2:7: seed',
                     r"FILE: 'job' is missing")

    def test_a_job_without_data_is_for_other_workers(self):
        path = self.folder / 'job.yaml'
        path.write_text('job: j\n')
        self.call(harness.SIGNPOSTD, '--config', path, '--validate', code=0)
        _, err = self.call(harness.WORKER, '--config', path, code=2)
        self.assertRegex(err, r"^signpost-worker: job 'j' names no data")
        path.write_text('job: j\ndata: {train: {labels: l}}\n')
        _, err = self.call(harness.SIGNPOSTD, '--config', path, '--validate', code=2)
        self.assertRegex(err, r'data\.train\.images: missing, but data\.train\.labels is given')

    def test_bad_set(self):
        self.refused(self.MINIMAL, r"--set nonsense=1: unknown key 'nonsense'", sets=['nonsense=1'])
        self.refused(self.MINIMAL, r"--set workers=x: .*workers: must be ", sets=['workers=x'])
        self.refused(self.MINIMAL, r"--set workers: ", sets=['workers'])
        self.refused(self.MINIMAL, r"--set =3: ", sets=['=3'])
        self.refused(self.MINIMAL, r'.*optimizer\.switch\.when: at needs its moment', sets=['optimizer.switch.when=at'])

    # --- the server's surroundings -------------------------------------------------------------------------------------

    def serve(self, *arguments, code=1):
        return self.call(harness.SIGNPOSTD, '--config', harness.DIGITS, *arguments, code=code)[1]

    def test_port_taken(self):
        with socket.create_server(('127.0.0.1', 0)) as taken:
            address = '127.0.0.1:%d' % taken.getsockname()[1]
            err = self.serve('--listen', address, '--out', self.folder / 'run')
            self.assertRegex(err, rf'^signpostd: cannot listen on {address}: the port is taken')
            err = self.serve('--set', f'server.listen={address}', '--out', self.folder / 'run')
            self.assertRegex(err, rf'^signpostd: cannot listen on {address}: the port is taken')
        self.assertFalse((self.folder / 'run' / 'address').exists())

    def test_addresses_that_are_none(self):
        for text in ('nonsense', '127.0.0.1', '127.0.0.1:', '127.0.0.1:70000', '::1:80', ':80'):
            err = self.serve('--listen', text, '--out', self.folder / 'run', code=2)
            self.assertIn(f"'{text}'", err)
            self.call(harness.WORKER, '--config', harness.DIGITS, '--server', text, code=1)
            err = self.serve('--set', f'server.listen={text}', code=2)
            self.assertIn(f"'{text}'", err)
        self.assertRegex(self.serve('--listen', 'no-such-host.invalid:0', '--out', self.folder / 'run'),
                         r"cannot resolve host 'no-such-host\.invalid'")

    def test_folder_that_cannot_be_made(self):
        # Under a file, because root may write to any folder.
        (self.folder / 'file').write_text('')
        err = self.serve('--listen', '127.0.0.1:0', '--out', self.folder / 'file' / 'run')
        self.assertRegex(err, rf'(?i)^signpostd: cannot make the folder {self.folder}/file/run: not a directory')
        err = self.serve('--listen', '127.0.0.1:0', '--out', self.folder / 'file')
        self.assertRegex(err, rf'^signpostd: cannot .*{self.folder}/file')
        err = self.serve('--listen', '127.0.0.1:0', '--out', '', code=2)
        self.assertRegex(err, r'^signpostd: .*folder')

    def test_folder_too_deep_for_a_socket(self):
        err = self.serve('--listen', '127.0.0.1:0', '--out', self.folder / ('d' * 100), code=2)
        self.assertRegex(err, r'^signpostd: .*signpostd\.sock is longer than .* choose a shorter --out')

    def test_two_servers_in_one_folder(self):
        server = self.start_server('workers=1', 'train.epochs=3')
        err = self.serve('--listen', '127.0.0.1:0', '--out', server.run)
        self.assertRegex(err, rf'^signpostd: another signpostd writes to {server.run} now; .*--out.*signpost stop')
        self.assertEqual(server.status()['stage'], 'new', 'the first one is not disturbed')
        self.assert_done(self.finish(server, [self.start_worker(server)]))

    def test_the_operators_socket_is_for_the_owner(self):
        server = self.start_server()
        mode = os.stat(server.run / 'signpostd.sock').st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    def test_the_default_folder_is_named_after_the_job(self):
        server = self.start('server', harness.SIGNPOSTD, '--config', harness.DIGITS, '--listen', '127.0.0.1:0',
                            '--set', 'job=my-job', '--set', 'workers=1', '--set', 'train.epochs=1')
        address = self.folder / 'runs/my-job/address'
        self.wait_for(address.exists, 'the server to listen')
        worker = self.start_worker(address.read_text(), 'job=my-job')
        self.wait_for_end(server)
        self.wait_for_end(worker)
        self.assertTrue((self.folder / 'runs/my-job/summary.json').exists())

    # --- the worker's data ---------------------------------------------------------------------------------------------

    def spoiled(self, name, change):
        shutil.rmtree(self.folder / 'digits', ignore_errors=True)
        shutil.copytree(harness.DATA, self.folder / 'digits')
        path = self.folder / 'digits' / name
        change(path)
        config = shutil.copy(harness.DIGITS, self.folder / 'digits.yaml')
        _, err = self.call(harness.WORKER, '--config', config, '--server', '127.0.0.1:1', code=1)
        self.assertRegex(err.splitlines()[-1], rf'^signpost-worker: .*{re.escape(str(path))}')
        return err

    def test_missing_data(self):
        for name in ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte', 'test-images-idx3-ubyte',
                     'test-labels-idx1-ubyte'):
            self.assertRegex(self.spoiled(name, lambda p: p.unlink()), r'[Nn]o such file')

    def test_truncated_data(self):
        for name in ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte', 'test-images-idx3-ubyte'):
            for keep in (0, 3, 7, 500, -1):
                self.spoiled(name, lambda p: p.write_bytes(p.read_bytes()[:keep]))

    def test_data_of_another_kind(self):
        self.spoiled('train-images-idx3-ubyte', lambda p: p.write_bytes(b'PK\x03\x04' + bytes(5000)))
        self.spoiled('train-images-idx3-ubyte', lambda p: shutil.copy(harness.DATA / 'train-labels-idx1-ubyte', p))
        # Images and labels of different numbers.
        self.spoiled('train-labels-idx1-ubyte', lambda p: shutil.copy(harness.DATA / 'test-labels-idx1-ubyte', p))


if __name__ == '__main__':
    harness.main()
