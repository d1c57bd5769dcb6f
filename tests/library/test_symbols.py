"""What libsignpost offers and needs, by its symbol tables: exactly the functions of signpost.h go out, and nothing comes in
with which a library could print, end the program, take its signals or start threads."""
import os
import re
import subprocess
import unittest
from pathlib import Path

ROOT = Path(os.environ.get('SP_SOURCE_ROOT', Path(__file__).resolve().parents[2]))
SHARED = os.environ['SP_LIBSIGNPOST']
STATIC = os.environ['SP_LIBSIGNPOST_STATIC']

NEEDED = {
    'libc.so.6',
    'libm.so.6',
    'libuv.so.1',          # connection
    'libprotobuf-c.so.1',  # messages
    'libxxhash.so.0',      # digests
    'libisal.so.2',        # checksums
    'libcrypto.so.3',      # the secret
    'libssl.so.3',         # TLS
    'ld-linux-x86-64.so.2', 'ld-linux-aarch64.so.1',  # thread-local variables, with some compilers
}

FORBIDDEN = {
    'prints': r'_*(v?f?w?printf(_chk)?|v?dprintf(_chk)?|puts|fputs|fputc|putc|putchar|_IO_putc|fwrite(_unlocked)?|perror|'
              r'psignal|psiginfo|stdin|stdout|stderr|v?syslog(_chk)?|v?warnx?|v?errx?|error|error_at_line|print_backtrace|'
              r'backtrace_symbols_fd|uv_print_\w+|uv_tty_\w+|ERR_print_\w+)',
    'ends the program': r'_*(exit|_exit|_Exit|quick_exit|abort|assert\w*|kill|raise|tgkill|pthread_kill|pthread_exit|'
                        r'uv_kill|atexit|on_exit|at_quick_exit)',
    'takes signals': r'_*(signal|bsd_signal|sysv_signal|sigaction|sigset|siginterrupt|sigaltstack|signalfd|alarm|setitimer|'
                     r'timer_create|uv_signal_\w+)',
    # libuv's threads are those of its work queue.
    'starts threads or processes':
        r'_*(pthread_create|thrd_create|clone3?|v?fork|posix_spawnp?|exec[lv]\w*|system|popen|daemon|uv_thread_create\w*|'
        r'uv_queue_work|uv_getaddrinfo|uv_getnameinfo|uv_spawn|uv_fs_\w+|uv_random)',
    'changes what belongs to the process':
        r'_*(setenv|putenv|unsetenv|clearenv|chdir|fchdir|umask|setlocale|srand|srandom|srand48|setrlimit|uv_chdir|'
        r'uv_os_setenv|uv_set_process_title|uv_disable_stdio_\w+)',
}

ALLOWED = {
    'abort': 'SP_CHECK in common/check.h, when the library itself is wrong, never for what somebody gave it',
    'fprintf': 'SP_CHECK says where',
    'stderr': 'SP_CHECK says where',
    '__assert_fail': 'protoc-c writes assert(message->base.descriptor == ...) into each of its functions',
}


def output(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, 'LC_ALL': 'C'}).stdout


def symbols(*options, file=SHARED):
    """Names, without their versions."""
    lines = output('nm', '--format=posix', *options, file).splitlines()
    return {line.split()[0].split('@')[0] for line in lines if line and not line.endswith(':')}


def dynamic(tag):
    return re.findall(rf'\({tag}\).*\[(.*)\]', output('readelf', '--dynamic', '--wide', SHARED))


class Symbols(unittest.TestCase):
    maxDiff = None

    def declared(self):
        text = re.sub(r'/\*.*?\*/', '', (ROOT / 'worker/client/signpost.h').read_text(), flags=re.S)
        names = re.findall(r'^SIGNPOST_API\s[^;{]*?\b(\w+)\(', text, flags=re.M)
        self.assertEqual(len(names), len(re.findall(r'(?m)^SIGNPOST_API ', text)), 'one name each')
        self.assertEqual(len(names), len(set(names)))
        return set(names)

    def test_exports_the_functions_of_the_header_and_nothing_else(self):
        self.assertEqual(symbols('--dynamic', '--defined-only'), self.declared())

    def test_the_header_declares_with_its_prefix_only(self):
        self.assertEqual([name for name in self.declared() if not name.startswith('signpost_')], [])

    def test_name_and_needs(self):
        self.assertEqual(dynamic('SONAME'), ['libsignpost.so.0'])
        self.assertEqual(set(dynamic('NEEDED')) - NEEDED, set())
        self.assertEqual(dynamic('TEXTREL'), [])

    def test_imports_nothing_that_a_library_must_not_call(self):
        imported = {re.sub(r'^__(\w+)_chk$', r'\1', name) for name in symbols('--dynamic', '--undefined-only')}  # of FORTIFY
        self.assertIn('uv_run', imported, 'this is how the table is read right')
        found = {name: why for name in imported for why, pattern in FORBIDDEN.items()
                 if re.fullmatch(pattern, name) and name not in ALLOWED}
        self.assertEqual(found, {})
        self.assertEqual([name for name in ALLOWED if name not in imported], [], 'allowed, but not needed any more')

    def test_nothing_but_a_check_prints_or_aborts(self):
        """What is allowed above is so for common/check.h alone: no source file of the library has it."""
        objects = [name[:-2] for name in output('ar', 't', STATIC).split() if not name.endswith('.pb-c.c.o')]
        self.assertGreater(len(objects), 10)
        for name in objects:
            sources = [path for folder in ('common', 'proto', 'worker/client') for path in (ROOT / folder).rglob(name)]
            self.assertEqual(len(sources), 1, name)
            self.assertNotRegex(sources[0].read_text(), r'\b(fprintf|stderr|abort|assert) *[(,]', sources[0])

    def test_the_static_library_keeps_to_its_prefixes(self):
        defined = symbols('--extern-only', '--defined-only', file=STATIC)
        self.assertEqual(self.declared() - defined, set())
        # signpost__wire__ is what protoc-c makes of the messages.
        self.assertEqual({name for name in defined if not re.match(r'(signpost_|sp_|signpost__wire__)', name)}, set())

    def test_the_static_library_is_whole(self):
        missing = symbols('--undefined-only', file=STATIC) - symbols('--extern-only', '--defined-only', file=STATIC)
        self.assertEqual({name for name in missing if re.match(r'(signpost_|sp_)', name)}, set())

    def test_the_header_programs_name_every_function(self):
        for name in ('header.c', 'header.cpp'):
            text = (ROOT / 'tests/library' / name).read_text()
            self.assertEqual(set(re.findall(r'\b(signpost_\w+)\)?,', text)), self.declared(), name)


if __name__ == '__main__':
    unittest.main(verbosity=2)
