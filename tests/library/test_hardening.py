"""What the programs are built with against misuse, read from the files: PIE, RELRO, stack protector, checked functions of the
C library, no executable stack; and what they could not do if they wanted: the server and the worker start no program."""
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

PROGRAMS = {name: os.environ[f'SP_{name.upper()}'] for name in ('signpostd', 'worker', 'signpost')}
LIBRARY = os.environ['SP_LIBSIGNPOST']
NOBODY = 65534
# Of a shell or another program; posix_spawn is what libuv would use, which is a library and imported by name only if called.
STARTS = re.compile(r'^(system|popen|exec[lv]\w*|fexecve|posix_spawnp?|v?fork|uv_spawn|wordexp)$')


def readelf(*what):
    return subprocess.run(['readelf', '-W', *what], capture_output=True, text=True, check=True).stdout


def imports(path):
    """Names that the dynamic loader must find elsewhere."""
    names = set()
    for line in readelf('--dyn-syms', path).splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[6] == 'UND':
            names.add(fields[7].split('@')[0])
    return names


class Hardening(unittest.TestCase):
    def test_position_independent(self):
        for path in PROGRAMS.values():
            self.assertRegex(readelf('-h', path), r'Type:\s+DYN', path)
            self.assertRegex(readelf('-d', path), r'Flags:.*\bPIE\b', path)

    def test_nothing_to_write_to_in_what_the_loader_made(self):
        for path in (*PROGRAMS.values(), LIBRARY):
            self.assertIn('GNU_RELRO', readelf('-l', path), path)
            self.assertRegex(readelf('-d', path), r'BIND_NOW|Flags:.*\bNOW\b', path)

    def test_no_segment_is_written_and_executed(self):
        for path in (*PROGRAMS.values(), LIBRARY):
            for line in readelf('-l', path).splitlines():
                self.assertNotRegex(line, r'^\s+(LOAD|GNU_STACK)\s.*\bRWE\b', path)

    def test_stack_protector_and_checked_functions(self):
        for path in (*PROGRAMS.values(), LIBRARY):
            found = imports(path)
            self.assertIn('__stack_chk_fail', found, path)
            self.assertTrue(any(re.match(r'__\w+_chk$', name) for name in found), f'{path}: nothing of FORTIFY')

    def test_server_and_worker_start_no_program(self):
        for name in ('signpostd', 'worker'):
            self.assertEqual([n for n in imports(PROGRAMS[name]) if STARTS.match(n)], [], name)

    def test_nobody_gets_rights_by_them(self):
        for path in PROGRAMS.values():
            self.assertEqual(os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID), 0, path)

    @unittest.skipIf(os.geteuid() != 0, 'this user is nobody special already')
    def test_the_server_needs_no_root(self):
        """As a user with no rights at all, in a folder of its own; a copy, since it may not be able to come to the original."""
        with tempfile.TemporaryDirectory(prefix='sp-', dir='/tmp') as folder:
            path = Path(folder)
            shutil.copy(PROGRAMS['signpostd'], path / 'signpostd')
            (path / 'job.yaml').write_text('job: nobody\n')
            for each in (path, path / 'signpostd', path / 'job.yaml'):
                os.chown(each, NOBODY, NOBODY)
            with subprocess.Popen([path / 'signpostd', '--config', 'job.yaml', '--listen', '127.0.0.1:0', '--out', 'run'],
                                  cwd=path, user=NOBODY, group=NOBODY, extra_groups=[], stderr=subprocess.PIPE,
                                  text=True) as server:
                deadline = time.monotonic() + 20
                while not (path / 'run/address').exists() and time.monotonic() < deadline and server.poll() is None:
                    time.sleep(0.01)
                server.send_signal(signal.SIGTERM)
                words = server.communicate(timeout=20)[1]
            self.assertEqual(server.returncode, 0, words)
            self.assertIn('listening on 127.0.0.1:', words)


if __name__ == '__main__':
    if not sys.platform.startswith('linux'):
        sys.exit(77)
    unittest.main(verbosity=2)
