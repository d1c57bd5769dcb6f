"""signpost watch: on a terminal, on a pipe, and what it survives."""
import re
import signal
import subprocess
import time

import fake_server
import harness
import made
import screens

ESCAPE = '\x1b'
HOSTILE = '\x1b]0;title\x07\x1b[2J\x9b31m\u202eevil\r\n'
LONG = ('train.epochs=3000', 'optimizer.switch.when=never')


class Watch(screens.Case, made.Case):
    def fake(self, said, points=()):
        fake = fake_server.Fake(self.folder / 'run', said, points if points is None else list(points))
        self.addCleanup(lambda: fake.path.exists() and fake.end())
        return fake

    def watch(self, *more, **how):
        return self.terminal(screens.SIGNPOST, 'watch', self.folder / 'run', *more, **how)

    def plain(self, *more):
        return self.start('watch', screens.SIGNPOST, 'watch', self.folder / 'run', '--every', 1, *more)

    def check_picture(self, terminal, text):
        """The screen holds this picture and nothing besides; no line is wider than the window."""
        self.assertTrue(text.startswith('digits  running, sign phase'), text)
        self.assertEqual(text.count('50.0 %'), 1, text)
        self.assertEqual(text.count('loss  '), 1, text)
        self.assertEqual(len(re.findall('(?m)^workers ', text)), 1, text)
        self.assertNotIn(ESCAPE, text)

    # --- the picture -------------------------------------------------------------------------------------------------

    def test_the_picture_and_ctrl_c(self):
        self.fake(fake_server.status(), fake_server.series())
        terminal = self.watch(columns=100)
        text = self.wait_for_screen(terminal, 'workers   4 of 4 live')
        self.check_picture(terminal, text)
        for words in ('round 345 of 690, epoch 15.0 of 30, ETA 2 min 3 s', 'gamma 0.00123, sigma 0.0104, vote margin 71 %',
                      'would switch at lambda about 0.042', '512 rounds/s, 2.4 MB/s up, 1.4 MB/s down',
                      '1.95 ms = 1.5 waiting + 0.3 tally + 0.15 sending', '23.1 MB sent, float32 would be 312 MB: 14 times less',
                      '   3  10.0.0.3  live'):
            self.assertIn(words, text)
        self.assertRegex(text, r'loss      0\.0312   [▁▂▃▄▅▆▇█]{20,}')
        self.assertRegex(text, r'accuracy  97\.22 %  [▁▂▃▄▅▆▇█]{10,}')
        self.assertTrue(terminal.screen.cursor.hidden)
        self.assertNotEqual(terminal.modes(), terminal.before)
        terminal.press(b'\x03')
        self.assertIn('no longer watching; the job goes on', self.wait_for_exit(terminal, 130))
        self.assert_restored(terminal)

    def test_windows_of_all_sizes(self):
        said = fake_server.status(60)
        said['slots'][41].update(latency_ms=61.2)
        self.fake(said, fake_server.series())
        terminal = self.watch()
        self.check_picture(terminal, self.wait_for_screen(terminal, r'41  10\.0\.0\.41 .*slowest, 51x'))
        for columns, lines in ((50, 15), (40, 10), (120, 40), (80, 24)):
            terminal.resize(columns, lines)
            terminal.popen.send_signal(signal.SIGWINCH)
            self.wait_for(lambda: len(terminal.look()) == lines and 'workers' in '\n'.join(terminal.look()), 'a new picture')
            time.sleep(harness.seconds(0.7))
            text = terminal.text()
            self.check_picture(terminal, text)
            self.assertEqual('60 of 60 live' in text, True)
            self.assertEqual('slot  host' in text, lines > 10, text)
            if lines > 10:
                self.assertRegex(text, r'and \d+ more, all live')

    def test_what_it_waits_for(self):
        said = fake_server.status(live=3, waits_for='the pushes of slot 3 in round 346')
        said['slots'][3].update(state='empty', host=None, latency_ms=None, silent_seconds=None)
        fake = self.fake(said)
        terminal = self.watch()
        self.wait_for_screen(terminal, r'waits for the pushes of slot 3 in round 346')
        self.assertIn(b'\x1b[1;33mthe pushes of slot 3', terminal.bytes)
        self.wait_for_screen(terminal, r'3 of 4 live')
        fake.said = fake_server.after_switch()
        self.wait_for_screen(terminal, r'from sign to sgd after round 378; auto: diminishing')
        self.assertNotIn('waits for', terminal.text())

    def test_a_hostile_name_is_harmless(self):
        said = fake_server.status(job=HOSTILE, waits_for=HOSTILE)
        said['slots'][1].update(host=HOSTILE, state=HOSTILE)
        said['switch']['words'] = HOSTILE * 50
        self.fake(said)
        terminal = self.watch(NO_COLOR='1')
        text = self.wait_for_screen(terminal, 'of 4 live')
        self.assertIn('evil', text)
        self.assertNotRegex(terminal.bytes, rb'title\x07|\x1b\]|\xc2\x9b|\xe2\x80\xae')
        self.assertEqual(terminal.bytes.count(b'\x1b[2J'), 1, 'of our own beginning')
        out = subprocess.run([screens.SIGNPOST, 'status', self.folder / 'run'], capture_output=True, check=True).stdout
        self.assertIn(b'evil', out)
        self.assertNotIn(b'\x1b', out)
        watch = self.plain()
        self.wait_for(lambda: 'evil' in watch.out(), 'a line')
        self.assertNotIn(ESCAPE, watch.out())
        watch.kill()

    def test_no_color(self):
        self.fake(fake_server.status(waits_for='slot 1'))
        terminal = self.watch(NO_COLOR='1')
        self.wait_for_screen(terminal, 'workers   4 of 4 live')
        self.assertEqual(set(screens.COLOURS.findall(terminal.bytes)) - {b'\x1b[0m'}, set())
        coloured = self.watch()
        self.wait_for_screen(coloured, 'workers   4 of 4 live')
        self.assertIn(b'\x1b[32m', set(screens.COLOURS.findall(coloured.bytes)))

    def test_letters_where_there_is_no_utf_8(self):
        self.fake(fake_server.status(), fake_server.series())
        terminal = self.watch(LC_ALL='C')
        text = self.wait_for_screen(terminal, 'workers   4 of 4 live')
        self.assertTrue(terminal.bytes.isascii())
        self.assertRegex(text, r'\[#+\.+\]')
        self.assertRegex(text, r'loss      0\.0312   [_.,=+*#-]{20,}')

    def test_an_older_server(self):
        """It does not know the curve: that is made of what status says."""
        fake = self.fake(fake_server.status(round=1), points=None)
        terminal = self.watch()
        self.wait_for_screen(terminal, r'loss      0\.0312   ▁ ')
        fake.said = fake_server.status(round=200, loss=0.01)
        self.wait_for_screen(terminal, r'loss      0\.0100   █▁ ')
        self.assertEqual(sum(line.startswith('series') for line in fake.asked), 1, 'it is asked for once')

    def test_ctrl_z_gives_the_terminal_back(self):
        self.fake(fake_server.status())
        terminal = self.watch()
        self.wait_for_screen(terminal, 'workers   4 of 4 live')
        terminal.popen.send_signal(signal.SIGTSTP)
        self.wait_for(lambda: (terminal.look(), not terminal.screen.cursor.hidden)[1], 'the cursor')
        self.assertEqual(terminal.modes(), terminal.before)
        terminal.popen.send_signal(signal.SIGCONT)
        self.wait_for(lambda: (terminal.look(), terminal.screen.cursor.hidden)[1], 'the picture')
        self.check_picture(terminal, self.wait_for_screen(terminal, 'workers   4 of 4 live'))

    # --- lines -------------------------------------------------------------------------------------------------------

    def test_plain_lines_where_there_is_no_terminal(self):
        fake = self.fake(fake_server.status())
        watch = self.plain()
        self.wait_for(lambda: watch.out().count('round 345 of 690 (50.0 %)') >= 2, 'two lines')
        said = fake_server.after_switch(live=3)
        said['slots'][2].update(state='empty', host=None)
        fake.said = said
        self.wait_for(lambda: re.search(r'(?m)^\d\d:\d\d:\d\d switched from sign to sgd after round 378; auto: dim', watch.out()),
                      'the switch')
        self.wait_for(lambda: re.search(r'(?m)^\d\d:\d\d:\d\d worker 2 is lost$', watch.out()), 'the loss')
        fake.said = fake_server.after_switch()
        self.wait_for(lambda: re.search(r'(?m) worker 2 is there, at 10\.0\.0\.2$', watch.out()), 'the return')
        self.assertNotIn(ESCAPE, watch.out())
        watch.send(signal.SIGINT)
        self.wait_for_end(watch, 130)
        self.assertEqual(watch.err(), 'signpost: no longer watching; the job goes on\n')

    def test_plain_lines_on_a_dumb_terminal(self):
        self.fake(fake_server.status())
        for more, how in (((), {'TERM': 'dumb'}), (('--plain',), {})):
            terminal = self.watch(*more, **how)
            self.wait_for_screen(terminal, 'round 345 of 690')
            self.assertNotIn(b'\x1b', terminal.bytes)
            self.assertEqual(terminal.modes(), terminal.before)

    def test_nobody_there(self):
        (self.folder / 'run').mkdir()
        watch = self.plain()
        self.wait_for_end(watch, 1)
        self.assertRegex(watch.err(), r'^signpost: no server runs in .*/run ')
        terminal = self.watch()
        self.wait_for_exit(terminal, 1)
        self.assertNotIn(b'\x1b', terminal.bytes)

    # --- real jobs ---------------------------------------------------------------------------------------------------

    def slow_job(self, *sets, pause=20, workers=2):
        server = self.start_server(f'workers={workers}', *sets, config=made.CONFIG)
        return server, [self.start_made(server, slot, more=f'pause={pause}') for slot in range(workers)]

    def test_a_job_to_its_end(self):
        server, workers = self.slow_job()
        terminal, lines = self.watch(), self.plain()
        text = self.wait_for_screen(terminal, 'running, (sign|sgd) phase')
        self.assertRegex(text, rf'round \d+ of {made.ROUNDS}')
        self.assertRegex(self.wait_for_screen(terminal, 'workers   2 of 2 live'), r'\[[█░]+\]')
        self.finish(server, workers)
        text = self.wait_for_exit(terminal, 0)
        self.assertRegex(text, rf'the job is done: {made.ROUNDS} rounds')
        self.assertIn('weights digest', text)
        self.assert_restored(terminal)
        self.wait_for_end(lines, 0)
        self.assertRegex(lines.out(), rf'the job is done: {made.ROUNDS} rounds')
        self.assertNotIn(ESCAPE, lines.out())
        late = self.plain()
        self.wait_for_end(late, 0)
        self.assertRegex(late.out(), r'(?s)^No server runs in .*The job there has come to its end:.*the job is done')

    def test_a_server_that_is_stopped_and_one_that_is_killed(self):
        server, _ = self.slow_job('server.listen=127.0.0.1:0', 'server.checkpoint.seconds=1')
        address = server.address()
        terminal, lines = self.watch(), self.plain()
        self.wait_for_screen(terminal, 'workers   2 of 2 live')
        self.wait_for(lambda: 'round' in lines.out(), 'a line')
        server.kill()
        self.wait_for_screen(terminal, r'server    no answer since \d\d:\d\d:\d\d \(\d+ s\): no server runs in')
        self.wait_for(lambda: re.search(r'no answer since .*; waiting for it to come back', lines.out()), 'the words')
        self.start_server('workers=2', config=made.CONFIG, listen=address)
        self.wait_for(lambda: 'the server answers again' in lines.out(), 'its return')
        self.wait_for(lambda: 'the server was started again, and goes on from round' in lines.out(), 'its return')
        self.wait_for(lambda: 'no answer since' not in terminal.text(), 'its return')
        terminal.press(b'\x03')
        self.wait_for_exit(terminal, 130)

    def test_a_server_on_another_machine(self):
        token = self.folder / 'operator.token'
        subprocess.run([screens.SIGNPOST, 'token', token], check=True, stdout=subprocess.DEVNULL)
        server, workers = self.slow_job(f'security.operator_token_file={token}')
        remote = ('watch', '--server', server.address(), '--token-file', token)
        terminal = self.terminal(screens.SIGNPOST, *remote)
        lines = self.start('watch', screens.SIGNPOST, *remote, '--every', 1)
        self.wait_for_screen(terminal, 'workers   2 of 2 live')
        self.wait_for_screen(terminal, r'loss      \d')
        self.wait_for_screen(terminal, r'loss      \S+ +[▁▂▃▄▅▆▇█]{5,}')
        self.wait_for(lambda: re.search(r'switched from sign to sgd after round 65; ', lines.out()), 'the switch')
        self.finish(server, workers)
        for text in (self.wait_for_exit(terminal, 0), (self.wait_for_end(lines, 0), lines.out())[1]):
            self.assertRegex(text.replace('\n', ''), r'round \d+ of 120.*The server is gone, with nothing left to do')
        nobody = self.start('nobody', screens.SIGNPOST, 'watch', '--server', '127.0.0.1:1', '--token-file', token)
        self.wait_for_end(nobody, 1)
        self.assertIn('cannot connect to 127.0.0.1:1', nobody.err())

    def test_what_a_server_on_another_machine_refuses(self):
        token = self.folder / 'operator.token'
        subprocess.run([screens.SIGNPOST, 'token', token], check=True, stdout=subprocess.DEVNULL)
        server = self.start_server(f'security.operator_token_file={token}', config=made.CONFIG)
        switch = self.start('switch', screens.SIGNPOST, 'switch', '--server', server.address(), '--token-file', token)
        self.wait_for_end(switch, 1)
        self.assertRegex(switch.err(), r"^signpost: the server 127\.0\.0\.1:\d+ refused 'switch': the job has not started")

    def test_ctrl_c_while_the_server_is_stopped(self):
        server, _ = self.slow_job()
        terminal = self.watch()
        self.wait_for_screen(terminal, 'workers   2 of 2 live')
        server.send(signal.SIGSTOP)
        time.sleep(harness.seconds(1.5))
        began = time.monotonic()
        terminal.press(b'\x03')
        self.wait_for_exit(terminal, 130)
        self.assertLess(time.monotonic() - began, harness.seconds(2))
        self.assert_restored(terminal)
        server.send(signal.SIGCONT)


if __name__ == '__main__':
    harness.main()
