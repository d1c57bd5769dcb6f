"""Installs the build folder somewhere, and builds and runs programs with what is there, as users of the library would."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'integration'))
import harness  # noqa: E402

BUILD = Path(os.environ['SP_BUILD_ROOT'])
HERE = harness.ROOT / 'tests/library'
EXAMPLES = harness.ROOT / 'worker/examples'
CC = os.environ.get('CC', 'cc').split()
CXX = os.environ.get('CXX', 'c++').split()


class Install(harness.Case):
    def call(self, *argv, env=None):
        argv = [str(a) for a in argv]
        self.assertIsNotNone(shutil.which(argv[0]), f'{argv[0]} is needed for this test (deploy/install-packages.sh test)')
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=self.folder,
                              timeout=harness.seconds(60), env={**os.environ, **(env or {})})
        self.assertEqual(done.returncode, 0, f'{argv}: {done.stdout}{done.stderr}')
        return done.stdout

    def setUp(self):
        self.destination = self.folder / 'destination'
        self.call('meson', 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', self.destination)
        self.pc = self.one('signpost.pc')
        self.lib = self.one('libsignpost.so.0').parent

    def one(self, name):
        found = [path for path in self.destination.rglob(name)]
        self.assertEqual(len(found), 1, f'{name} is installed {len(found)} times')
        return found[0]

    def flags(self, *options):
        return self.call('pkg-config', *options, 'signpost', env={
            'PKG_CONFIG_PATH': str(self.pc.parent), 'PKG_CONFIG_SYSROOT_DIR': str(self.destination)}).split()

    def build(self, name, source, *options, compiler=None):
        program = self.folder / name
        self.call(*(compiler or CC), source, '-o', program, *options)
        return program

    def needs(self, program):
        return self.call('readelf', '--dynamic', program)

    def run_job(self, program):
        """The program as the only worker of a short job."""
        server = self.start_server('workers=1', 'train.rounds=50', config=EXAMPLES / 'quadratic.yaml')
        worker = self.start(program.name, 'env', f'LD_LIBRARY_PATH={self.lib}', program, server.address())
        summary = self.finish(server, [worker])
        self.assertRegex(worker.out(), rf'^loss \d+\.\d+, weights {summary["weights_digest"]}\n$')

    def test_what_is_installed(self):
        self.assertEqual(self.one('signpost.h').parent.name, 'include')
        self.assertEqual([p.name for p in self.destination.rglob('*.h')], ['signpost.h'])
        self.assertTrue(self.one('libsignpost.so').is_symlink())
        self.assertTrue(self.one('libsignpost.so.0').is_symlink())
        self.assertFalse(self.one('libsignpost.so.0.*').is_symlink())
        # A thin archive would only name files of the build folder.
        self.assertEqual(self.one('libsignpost.a').read_bytes()[:8], b'!<arch>\n')
        self.assertEqual([p.name for p in self.destination.rglob('*.a')], ['libsignpost.a'])
        self.assertRegex(self.one('libsignpost.so.0.*').name, r'^libsignpost\.so\.0\.\d+\.\d+$')
        version = self.call('pkg-config', '--modversion', 'signpost', env={'PKG_CONFIG_PATH': str(self.pc.parent)})
        self.assertIn(version.strip(), self.call(self.one('bin/signpostd'), '--version'))

    def test_manual_pages_and_completion(self):
        """Where man and bash look for them. (Pages are left out where the programs cannot run, which is not where tests do.)"""
        for page in ('signpost.1', 'signpost-worker.1', 'signpost-job.5', 'signpostd.8'):
            self.assertEqual(self.one(page).parent.name, f'man{page[-1]}')
            self.assertEqual(self.one(page).parent.parent.name, 'man')
        for name in ('signpost', 'signpostd', 'signpost-worker'):
            found = [path for path in self.destination.rglob(name) if path.parent.name == 'completions']
            self.assertEqual([path.parent.parent.name for path in found], ['bash-completion'], name)
            self.call('bash', '-n', found[0])

    def test_shared(self):
        flags = self.flags('--cflags', '--libs')
        # What the library itself needs is no matter of its users.
        self.assertEqual([f for f in flags if f.startswith('-l')], ['-lsignpost'])
        program = self.build('quadratic', EXAMPLES / 'quadratic.c', '-Wall', '-Wextra', '-Werror', *flags)
        self.assertIn('[libsignpost.so.0]', self.needs(program))
        self.run_job(program)

    def test_static(self):
        flags = self.flags('--cflags', '--libs', '--static')
        flags = ['-l:libsignpost.a' if flag == '-lsignpost' else flag for flag in flags]
        program = self.build('quadratic-static', EXAMPLES / 'quadratic.c', *flags)
        self.assertNotIn('libsignpost', self.needs(program))
        self.run_job(program)

    def test_own_loop(self):
        flags = self.flags('--cflags', '--libs')
        program = self.build('own-loop', EXAMPLES / 'own_loop.c', '-Wall', '-Wextra', '-Werror', *flags)
        self.run_job(program)

    def test_header_alone(self):
        strict = ('-Wall', '-Wextra', '-pedantic', '-Werror')
        for source, standard, compiler in (('header.c', 'c99', CC), ('header.c', 'c11', CC), ('header.cpp', 'c++11', CXX),
                                           ('header.cpp', 'c++17', CXX)):
            with self.subTest(source, standard=standard):
                program = self.build(f'header-{standard}', HERE / source, f'-std={standard}', *strict,
                                     *self.flags('--cflags', '--libs'), compiler=compiler)
                self.call(program, env={'LD_LIBRARY_PATH': str(self.lib)})


if __name__ == '__main__':
    harness.main()
