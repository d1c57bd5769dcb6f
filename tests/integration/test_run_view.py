"""signpost run on a terminal: the block at its bottom, and the lines above it."""
import json
import os
import re
import signal
import subprocess
import time

import harness
import screens

QUIET = ('--set', 'train.report=2000', '--set', 'train.evaluate=2000')
JOB = ('--set', 'server.listen=127.0.0.1:0', '--set', 'train.epochs=3000')


class RunView(screens.Case):
    def start_job(self, *more, blind=False, **how):
        terminal = self.terminal(screens.SIGNPOST, 'run', harness.DIGITS, '--out', self.folder / 'run', *JOB, *more, **how)
        terminal.blind = blind
        return terminal

    def run_job(self, *more, **how):
        terminal = self.start_job(*QUIET, *more, **how)  # the emulated terminal is a slow one
        self.wait_for_screen(terminal, 'workers   4 of 4 live')
        return terminal

    def children(self, terminal, program):
        """Process ids of the server or the workers."""
        found = subprocess.run(['ps', '-o', 'pid=,comm=', '--ppid', str(terminal.popen.pid)], capture_output=True, text=True,
                               check=True).stdout
        return [int(line.split()[0]) for line in found.splitlines() if line.split()[1] == program[:15]]

    def round(self):
        return json.loads(harness.ask_raw(self.folder / 'run', b'status\n'))['round']

    def check_block(self, terminal):
        """Never two blocks, and soon one, at the end of what the screen holds, with lines above it. Returns both."""
        def look():
            lines = terminal.look()
            while lines and not lines[-1]:
                lines.pop()
            heads = [i for i, line in enumerate(lines) if line.startswith('digits  running')]
            self.assertLessEqual(len(heads), 1, '\n'.join(lines))
            if not heads or not any(line.startswith('workers   ') for line in lines):
                return None  # a picture in the making
            return lines[:heads[0]], lines[heads[0]:]

        try:
            above, block = self.wait_for(look, 'the block')
        except AssertionError as error:
            raise AssertionError(f'{error}:\n{terminal.text()}') from None
        self.assertFalse(any(re.match(r'^(loss|switch|pace|a round|bytes|workers) ', line) for line in above), '\n'.join(above))
        return above, block

    def test_the_block_and_the_end_of_the_job(self):
        terminal = self.run_job('--set', 'train.report=200', columns=100, lines=30)
        self.wait_for_screen(terminal, r'info  train   round \d+')
        above, block = self.check_block(terminal)
        self.assertGreater(len(above), 3)
        self.assertRegex('\n'.join(block), r'(?s)round \d+ of 69000.*loss .*accuracy .*pace .* rounds/s.*slot  host')
        terminal.press(b'\x03')
        text = self.wait_for_exit(terminal, 0)
        self.assertRegex(text, r'stopped by SIGINT after round \d+ of 69000')
        self.assertNotRegex(text, r'(?m)^pace ')
        self.assertIn(b'stopping the job in order; once more kills it', terminal.bytes)
        self.assert_restored(terminal)

    def test_a_terminal_that_is_closed(self):
        """Its hangup ends the job in order: nothing is left behind."""
        for more in ((), ('--plain',)):
            terminal = self.start_job('--fresh', *more)
            self.wait_for_bytes(terminal, rb'info  train   round 100/')
            programs = self.children(terminal, 'signpostd') + self.children(terminal, 'signpost-worker')
            self.assertEqual(len(programs), 5)
            terminal.hang_up()
            self.wait_for(lambda: terminal.popen.poll() is not None, 'the program to end', 15)
            self.assertEqual(terminal.popen.returncode, 0)
            self.assertFalse([pid for pid in programs if os.path.exists(f'/proc/{pid}')])
            summary = json.loads((self.folder / 'run/summary.json').read_text())
            self.assertEqual(summary['outcome'].split(' after ')[0], 'stopped by SIGTERM')

    def test_several_signals_at_once(self):
        """As a session's end may send them: one wish, and the results are written."""
        terminal = self.start_job()
        self.wait_for_bytes(terminal, rb'info  train   round 100/')
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            terminal.popen.send_signal(number)
        self.wait_for_exit(terminal, 0)
        self.assertTrue(json.loads((self.folder / 'run/summary.json').read_text())['stopped'])

    def test_nohup(self):
        terminal = self.start_job(ignored=[signal.SIGHUP])
        self.wait_for_bytes(terminal, rb'info  train   round 100/')
        first = self.round()
        terminal.popen.send_signal(signal.SIGHUP)
        self.wait_for(lambda: self.round() > first + 500, 'the job to go on')
        terminal.press(b'\x03')
        self.wait_for_exit(terminal, 0)

    def test_no_line_of_the_log_is_lost(self):
        """Every round is told once, in order, at a thousand rounds a second."""
        terminal = self.start_job('--set', 'train.epochs=90', '--set', 'train.report=1', blind=True)
        self.wait_for_exit(terminal, 0, 30)
        rounds = [int(r) for r in re.findall(rb'info  train   round (\d+)/', terminal.bytes)]
        self.assertEqual(rounds, list(range(1, 2071)))
        self.assertIn(b'info  server  ended', terminal.bytes)
        self.assertNotIn(b'lines are missing', terminal.bytes)

    def test_it_is_stopped_itself(self):
        """kill -STOP to signpost run alone: its server's log is read by nobody, which the job does not wait for."""
        terminal = self.start_job('--set', 'train.report=1', blind=True)
        self.wait_for_bytes(terminal, rb'info  train   round 100/')
        terminal.popen.send_signal(signal.SIGSTOP)
        first = self.round()
        self.wait_for(lambda: self.round() > first + 3000, 'rounds whose lines do not fit into a pipe', 60)
        terminal.popen.send_signal(signal.SIGCONT)
        self.wait_for_bytes(terminal, rb'\d+ lines are missing here: nobody read them')
        terminal.press(b'\x03')
        self.wait_for_exit(terminal, 0)

    def test_a_window_that_changes(self):
        terminal = self.run_job()
        for columns, lines in ((50, 15), (80, 24), (40, 10), (120, 40)):
            terminal.resize(columns, lines)
            terminal.popen.send_signal(signal.SIGWINCH)
            time.sleep(harness.seconds(1.3))
            above, block = self.check_block(terminal)
            self.assertGreaterEqual(len(above), 3)
            self.assertLessEqual(len(block), lines - 3)
        self.assertIsNone(terminal.popen.poll())

    def test_a_worker_that_is_killed(self):
        terminal = self.run_job(columns=120, lines=40)
        os.kill(self.children(terminal, 'signpost-worker')[0], signal.SIGKILL)
        self.wait_for(lambda: (terminal.look(), re.search(rb'worker \d was killed by signal 9; starting it again',
                                                          terminal.bytes))[1], 'the words')
        self.check_block(terminal)

    def test_a_server_that_is_stopped(self):
        terminal = self.run_job()
        server = self.children(terminal, 'signpostd')[0]
        os.kill(server, signal.SIGSTOP)
        self.wait_for_screen(terminal, r'server    has not answered for \d+ s')
        terminal.resize(100, 30)
        terminal.popen.send_signal(signal.SIGWINCH)
        time.sleep(harness.seconds(0.5))
        self.check_block(terminal)
        terminal.press(b'\x03')
        self.wait_for(lambda: (terminal.look(), b'stopping the job in order' in terminal.bytes)[1], 'the words', 2)
        os.kill(server, signal.SIGCONT)
        self.wait_for_exit(terminal, 0)
        self.assert_restored(terminal)

    def test_a_terminal_that_stands_still(self):
        """Nobody reads it for a while: the job goes on, and how many lines are missing is said."""
        terminal = self.start_job('--set', 'train.report=1', blind=True)
        self.wait_for_bytes(terminal, rb'info  train   round 100/')
        first = self.round_of()
        self.wait_for(lambda: self.round_of() > first + 6000, 'rounds', 30)
        self.wait_for_bytes(terminal, rb'signpost: (\d+) lines are missing here: the terminal did not take them in time')
        rounds = [int(r) for r in re.findall(rb'info  train   round (\d+)/', terminal.bytes)]
        self.assertEqual(rounds, sorted(set(rounds)), 'the others are there once, in order')
        terminal.press(b'\x03')
        self.wait_for_exit(terminal, 0)
        self.assertIn(b'info  server  ended', terminal.bytes)

    def round_of(self):
        out = subprocess.run([screens.SIGNPOST, 'status', '--json', self.folder / 'run'], capture_output=True, check=True).stdout
        return json.loads(out)['round']

    def wait_for_bytes(self, terminal, words):
        self.wait_for(lambda: (terminal.read(0), re.search(words, terminal.bytes))[1], f'the words {words!r}')

    def test_ctrl_z_gives_the_terminal_back(self):
        terminal = self.run_job()
        terminal.popen.send_signal(signal.SIGTSTP)
        self.wait_for(lambda: (terminal.look(), not terminal.screen.cursor.hidden)[1], 'the cursor')
        self.assertEqual(terminal.modes(), terminal.before)
        terminal.popen.send_signal(signal.SIGCONT)
        self.wait_for(lambda: (terminal.look(), terminal.screen.cursor.hidden)[1], 'the block')
        time.sleep(harness.seconds(0.7))
        self.check_block(terminal)

    def test_no_color(self):
        terminal = self.run_job(NO_COLOR='1')
        self.assertEqual(set(screens.COLOURS.findall(terminal.bytes)) - {b'\x1b[0m'}, set())

    def test_plain(self):
        for more, how in ((('--plain',), {}), ((), {'TERM': 'dumb'})):
            terminal = self.terminal(screens.SIGNPOST, 'run', harness.DIGITS, '--out', self.folder / 'run', *more,
                                     '--set', 'server.listen=127.0.0.1:0', **how)
            self.assertRegex(self.wait_for_exit(terminal, 0, 30), 'the job is done: 690 rounds')
            self.assertNotIn(b'\x1b', terminal.bytes)
            self.assertIn(b'4 workers started, their logs are', terminal.bytes)

    def test_a_pipe(self):
        done = subprocess.run([screens.SIGNPOST, 'run', harness.DIGITS, '--out', self.folder / 'run', *JOB[:2]],
                              capture_output=True, timeout=harness.seconds(30), check=True)
        self.assertNotIn(b'\x1b', done.stdout + done.stderr)
        self.assertIn(b'info  server  ended', done.stderr)
        self.assertIn(b'the job is done', done.stdout)


if __name__ == '__main__':
    harness.main()
