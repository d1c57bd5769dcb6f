"""Programs on a pseudo-terminal, and what they draw there, as an emulated screen has it (python3-pyte)."""
import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pyte

import harness

SIGNPOST = os.environ.get('SP_SIGNPOST', str(harness.ROOT / 'build/deploy/tool/signpost'))
COLOURS = re.compile(rb'\x1b\[[0-9;]*m')


class Terminal:
    """A program with a terminal of its own."""

    def __init__(self, argv, folder, columns=80, lines=24, ignored=(), **env):
        self.master, slave = pty.openpty()
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.bytes = b''
        self.blind = False  # what comes is kept, but not shown, which takes time
        self.size(columns, lines)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        env = {**os.environ, 'TERM': 'xterm-256color', 'LC_ALL': 'C.UTF-8', **env}
        env = {key: value for key, value in env.items() if value is not None}

        def in_child():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)
        self.popen = subprocess.Popen([str(a) for a in argv], stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=env,
                                      start_new_session=True, preexec_fn=in_child)

    def size(self, columns, lines):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', lines, columns, 0, 0))

    def resize(self, columns, lines):
        self.read(0)
        self.screen.resize(lines, columns)
        self.size(columns, lines)

    def read(self, wait_s=0.05):
        """Takes what the program has written, until it pauses: a picture may come in pieces."""
        until = time.monotonic() + 1  # however much there is
        while time.monotonic() < until and select.select([self.master], [], [], wait_s)[0]:
            try:
                piece = os.read(self.master, 65536)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return
            if not piece:
                return
            self.bytes += piece
            if not self.blind:
                self.stream.feed(piece)
            wait_s = 0.04

    def look(self, wait_s=0.05):
        """The screen's lines, without blanks at their ends."""
        self.read(wait_s)
        return [line.rstrip() for line in self.screen.display]

    def text(self):
        return '\n'.join(self.look())

    def press(self, key):
        os.write(self.master, key)

    def modes(self):
        return termios.tcgetattr(self.slave)

    def hang_up(self):
        """The window is closed."""
        for fd in (self.master, self.slave):
            os.close(fd)
        self.master = self.slave = None

    def end(self):
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
        if self.master is not None:
            self.hang_up()


class Case(harness.Case):
    def terminal(self, *argv, **how):
        terminal = Terminal(argv, self.folder, **how)
        self.addCleanup(terminal.end)
        return terminal

    def wait_for_screen(self, terminal, words, limit_s=15):
        """Until the screen has something that matches; returns its text."""
        deadline = time.monotonic() + harness.seconds(limit_s)
        while True:
            text = terminal.text()
            if re.search(words, text):
                return text
            if time.monotonic() > deadline:
                self.fail(f'the screen never had {words!r}:\n{text}')

    def wait_for_exit(self, terminal, code, limit_s=15):
        """Until it has ended; returns the text of its screen."""
        self.wait_for(lambda: (terminal.read(0), terminal.popen.poll() is not None)[1], 'the program to end', limit_s)
        text = terminal.text()
        self.assertEqual(terminal.popen.returncode, code, text)
        return text

    def assert_restored(self, terminal):
        self.assertEqual(terminal.modes(), terminal.before)
        self.assertFalse(terminal.screen.cursor.hidden, 'the cursor is back')
        self.assertEqual(terminal.bytes.count(b'\x1b[?1049h'), terminal.bytes.count(b'\x1b[?1049l'))
