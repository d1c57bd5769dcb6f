"""The dashboard in headless Chromium, against a server of made jobs (scenarios.py): its words, its manners, its safety."""
import os
import re
import subprocess
import unittest

import need_browser  # noqa: F401
import mock as mock_server
import scenarios
from browser import Page, ask

SHOWN = "const shown = id => !page.getElementById(id).hidden;"
WIDTHS = [360, 390, 700, 1400]


class Dashboard(unittest.TestCase):
    def setUp(self):
        self.mock = mock_server.Mock(os.environ['SP_DASHBOARD_PAGE'])
        self.mock.start()

    def tearDown(self):
        self.mock.stop()
        self.assertEqual(self.mock.strangers, [], 'requests that are not for the server of the page')

    def ask(self, name, script, errors=(), **more):
        answer, page = ask(self.mock, name, SHOWN + script, **more)
        unexpected = [line for line in page.console if not any(error in line for error in errors)]
        self.assertEqual(unexpected, [], f'{name}: the console must stay empty')
        return answer

    def paths(self, name, what):
        return [query for asked, query, _ in self.mock.asked[name] if asked == what]


class Words(Dashboard):
    def test_all_jobs_without_complaints(self):
        for name in ('early', 'signs', 'switched', 'slow', 'million', 'waiting', 'over', 'hostile', 'many'):
            page = Page(self.mock, f'/{name}/', budget=2.5)
            self.assertEqual(page.console, [], f'{name}: the console must stay empty')
            self.assertEqual(len(re.findall(r'<canvas class="sample"', page.document)), 19, f'{name}: lines in legends')
            for word in ('undefined', 'NaN', 'Infinity', '[object', '>null<'):
                self.assertNotIn(word, re.sub(r'<script>.*?</script>', '', page.document, flags=re.DOTALL), name)

    def test_head(self):
        said = self.ask('signs', """return [text('job'), text('stage'), text('phase'), text('along-round'), text('along-time'),
            page.getElementById('bar').getAttribute('aria-valuenow'), page.title, text('tiles'), shown('waits'), shown('lost')]""")
        self.assertEqual(said[:7], ['digits', 'running', 'sign phase', 'Round 250 of 690, 36.2 %, epoch 10.9 of 30',
                                    'about 1.5 s to go', '36', 'digits - Signpost'])
        for words in ('Accuracy at 23094.72 %', 'Received780 kB/s', 'Sent712 kB/s', 'Rounds a second297', '1 spare4 of 4'):
            self.assertIn(words, said[7])
        self.assertEqual(said[8:], [False, False])

    def test_waiting(self):
        said = self.ask('waiting', "return [text('waits'), shown('waits'), text('stage'), text('chart-loss')]")
        self.assertEqual(said[:3], ['Waits for workers: 0 of 4 are there; start the others, or set workers lower', True, 'gathering'])
        self.assertIn('Nothing yet', said[3])

    def test_over(self):
        said = self.ask('over', "return [text('outcome'), shown('outcome'), text('along-time')]")
        self.assertEqual(said, ['Over: the job is done: 690 rounds. Test accuracy 97.22 %.', True, 'over'])

    def test_switch_ahead(self):
        said = self.ask('signs', """const meter = page.getElementById('meter');
            return [text('switch-head'), text('switch-words'), text('switch-facts'), meter.getAttribute('aria-valuenow'),
                    meter.getAttribute('aria-valuemax'), page.querySelectorAll('#boxes .full').length, text('meter-words')]""")
        self.assertEqual(said[0], 'The switch lies ahead')
        self.assertIn('would switch at lambda about 0.042', said[1])
        self.assertIn('0.0420 (a guess)', said[2])
        self.assertEqual(said[3:], ['1', '2', 1, '1 of 2 flat windows'])

    def test_switch_made(self):
        said = self.ask('switched', "return [text('switch-head'), text('switches'), text('chart-loss'), shown('meter')]")
        self.assertEqual(said[0], 'The switch is made')
        self.assertIn('From sign to sgd after round 378, at rate 1.48. Why: auto: diminishing returns', said[1])
        self.assertIn('To sgd after round 378 (auto: diminishing returns', said[2])
        self.assertFalse(said[3])

    def test_bytes(self):
        said = self.ask('signs', "return text('chart-bytes')")
        last = scenarios.Job(250).point(250, 250)
        times = 2 * last['bytes_float32'] / (last['bytes_pushed'] + last['bytes_updated'])
        self.assertIn(f'{times:.1f} times less', said)

    def test_workers(self):
        said = self.ask('slow', """const rows = [...page.querySelectorAll('#workers tbody tr')];
            return [rows.map(row => row.textContent), text('warnings'), rows.map(row => row.className),
                    rows.map(row => row.querySelector('.track div').style.width)]""")
        self.assertEqual(len(said[0]), 4)
        self.assertIn('10.0.0.3behind42 msslowest, 18.0 times the median', said[0][2])
        self.assertEqual([('slowest' in row) for row in said[0]], [False, False, True, False])
        self.assertIn('live, suspected', said[0][1])
        self.assertEqual(said[0][3], '3-empty-10743' + '00--')
        self.assertIn('slot 1 (10.0.0.2) is suspected', said[1])
        self.assertEqual(said[2], ['', '', 'far', 'empty-slot'])
        self.assertEqual(said[3][2:], ['100%', '0px'])

    def test_charts_are_described(self):
        said = self.ask('signs', """return [...page.querySelectorAll('.plot')].map(plot => [plot.getAttribute('role'),
            plot.tabIndex, plot.getAttribute('aria-label'), plot.closest('.card').querySelector('.about').textContent])""")
        self.assertEqual(len(said), 8)
        for role, focusable, label, sentence in said:
            self.assertEqual((role, focusable), ('img', 0))
            self.assertRegex(label, r'^Chart of .*; at round 250: ')
            self.assertIn('Healthy: ', sentence)
        self.assertRegex(said[0][2], r'training 0\.1\d+, test 0\.\d+')

    def test_headings_are_in_order(self):
        levels = self.ask('slow', "return [...page.querySelectorAll('main h2, main h3, h1')].map(h => Number(h.tagName[1]))")
        self.assertEqual(levels[0], 1)
        self.assertTrue(all(b <= a + 1 for a, b in zip(levels, levels[1:])), levels)


class Manners(Dashboard):
    def test_asks_once_a_second_and_for_what_is_new(self):
        said = self.ask('growing', """const asked = []; const fetch_ = inside.fetch; inside.fetch = (path, more) => {
                asked.push([path.split('?')[0], inside.performance.now()]); return fetch_.call(inside, path, more); };
            await pause(4500); return [text('chart-loss'), asked]""", budget=9)
        series = self.paths('growing', 'series')
        for what in ('status', 'series'):
            times = [time for path, time in said[1] if path == what]
            self.assertGreaterEqual(len(times), 3, f'{what} is asked for too seldom')
            self.assertGreaterEqual(min(b - a for a, b in zip(times, times[1:])), 990, f'{what} is asked for too often')
        asked = [int(query['from']) for query in series]
        self.assertEqual(asked[0], 0)
        self.assertEqual(asked, sorted(asked))
        self.assertGreaterEqual(asked[-1], 10, 'the whole series is asked for again and again')
        self.assertTrue(all(start % 10 == 0 for start in asked), f'{asked}: the last point, which grows, is left out')
        self.assertRegex(said[0], r'round1\d|round2\d')

    def test_pause_and_hidden(self):
        count = "await (await fetch('/count/growing')).json()"
        said = self.ask('growing', f"""press('p'); await pause(500); const before = {count}; await pause(3000); const after = {count};
            const words = shown('paused'); press('p'); await pause(1500); const again = {count};
            Object.defineProperty(page, 'hidden', {{ value: true, configurable: true }});
            page.dispatchEvent(new inside.Event('visibilitychange')); await pause(500); const hid = {count};
            await pause(3000); const still = {count}; return [after - before, words, again > after, still - hid]""", budget=14)
        self.assertEqual(said, [0, True, True, 0])

    def test_lost(self):
        said = self.ask('lost', "await pause(9000); return [text('lost'), shown('lost'), text('along-round')]", budget=14,
                        errors=['503'])
        self.assertIn('The server does not answer.', said[0])
        self.assertRegex(said[0], r'Since \d\d:\d\d:\d\d, [\d.]+ s ago \(it answers with code 503: out of order')
        self.assertTrue(said[1])
        self.assertIn('Round 250', said[2])
        self.assertLess(len(self.paths('lost', 'status')), 8, 'it does not wait longer from try to try')

    def test_ended(self):
        said = self.ask('ended', "await pause(2000); return [text('lost'), shown('outcome'), text('outcome')]", budget=7,
                        errors=['503'])
        self.assertIn('The server is gone, as it is when its job has ended.', said[0])
        self.assertEqual(said[1:], [True, 'Over: the job is done: 690 rounds. Test accuracy 97.22 %.'])

    def test_asks_for_all_again_when_the_server_has_merged(self):
        said = self.ask('merging', "await pause(6500); return text('chart-loss')", budget=11)
        asked = [int(query['from']) for query in self.paths('merging', 'series')]
        self.assertEqual(asked[0], 0)
        self.assertGreater(asked[1], 800)
        self.assertIn(0, asked[2:], f'{asked}: the page keeps more and more points')
        self.assertLess(asked[2:].count(0), 3, f'{asked}: the page asks for all again and again')
        self.assertRegex(said, r'round[2-5],\d00')

    def test_keys(self):
        said = self.ask('signs', """const theme = () => page.documentElement.dataset.theme; const before = theme();
            press('t'); const after = theme(); press('?'); const help = page.getElementById('help-box').open; press('?');
            const plot = page.querySelector('#chart-loss .plot'); const at = id => page.querySelector(`#${id} .at b`).textContent;
            plot.focus(); press('Home', plot); await pause(100); const first = at('chart-loss'); const synced = at('chart-votes');
            press('ArrowRight', plot); await pause(100); const second = at('chart-loss');
            press('+', plot); await pause(300); const zoomed = at('chart-votes'); press('r'); await pause(300);
            return [before !== after, help, page.getElementById('help-box').open, first, synced, second, zoomed]""")
        self.assertEqual(said, [True, True, False, '1', '1', '2', '2'])

    def test_theme_is_remembered(self):
        said = self.ask('signs', """const other = page.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'; press('t');
            frame.contentWindow.location.reload(); await pause(1500);
            return [frame.contentDocument.documentElement.dataset.theme === other]""")
        self.assertEqual(said, [True])

    def test_no_sideways_scrolling(self):
        for name in ('slow', 'million', 'hostile'):
            said = self.ask(name, f"""const wide = []; for (const width of {WIDTHS}) {{ frame.width = width; await pause(400);
                wide.push([page.documentElement.scrollWidth, inside.innerWidth]); }} return wide""", budget=6)
            self.assertEqual([width for _, width in said], WIDTHS)
            for scroll, width in said:
                self.assertLessEqual(scroll, width, f'{name} at {width} pixels')

    def test_columns(self):
        tops = "return [...page.querySelectorAll('#charts-cost .card')].map(card => card.getBoundingClientRect().top)"
        phone, desk = (self.ask('signs', tops, width=width) for width in (390, 1400))
        self.assertNotEqual(phone[0], phone[1])
        self.assertEqual(desk[0], desk[1])

    def test_charts_are_not_built_again(self):
        said = self.ask('growing', """const canvas = page.querySelector('#chart-loss .plot canvas'); await pause(2500);
            return [canvas === page.querySelector('#chart-loss .plot canvas'), page.querySelectorAll('.plot canvas').length]""")
        self.assertEqual(said, [True, 8])

    def test_charts_follow_the_width(self):
        said = self.ask('million', """const plot = page.querySelector('#chart-loss .plot'); const widths = () =>
            [plot.clientWidth, plot.querySelector('.u-wrap').clientWidth]; const before = widths(); frame.width = 390;
            for (let i = 0; i < 50 && widths()[0] !== widths()[1]; i++) await pause(100);
            return [before, widths()]""", budget=9)
        self.assertEqual(said[0][0], said[0][1])
        self.assertEqual(said[1][0], said[1][1])
        self.assertLess(said[1][0], 390)


class Safety(Dashboard):
    def test_hostile_names_stay_text(self):
        said = self.ask('hostile', """return [page.querySelectorAll('main img, header img, footer img, img').length,
            page.querySelectorAll('main script').length, text('job'), text('warnings'), text('workers'), text('switches'),
            page.title]""")
        self.assertEqual(said[:2], [0, 0])
        for words in said[2:]:
            self.assertIn(scenarios.HOSTILE, words)

    def test_policy_refuses_what_is_not_ours(self):
        said = self.ask('signs', """const refused = []; inside.caught = 0;
            page.addEventListener('securitypolicyviolation', event => refused.push(event.effectiveDirective));
            const script = page.createElement('script'); script.textContent = 'window.caught = 1'; page.body.append(script);
            const image = page.createElement('img'); image.src = '/secret/'; page.body.append(image);
            await pause(500); return [inside.caught, refused.sort()]""", errors=['Content Security Policy'])
        self.assertEqual(said, [0, ['img-src', 'script-src-elem']])

    def test_no_outside_addresses(self):
        with open(os.environ['SP_DASHBOARD_PAGE'], encoding='utf-8') as file:
            page = file.read()
        self.assertEqual(re.findall(r'(?:src|href|action)\s*=\s*["\']?(?!data:)[^"\'\s>]*//', page), [])
        self.assertEqual(re.findall(r'<[^>]*\son\w+\s*=', re.sub(r'<script>.*?</script>', '', page, flags=re.DOTALL)), [])
        self.assertNotIn('innerHTML', page)

    def test_token_is_asked_for(self):
        said = self.ask('secret', """const form = shown('token-form') && page.querySelector('#charts-cost').offsetHeight === 0; const send = async words => {
                page.getElementById('token').value = words; page.querySelector('#token-form button').click(); await pause(1500); };
            await send('wrong'); const wrong = [shown('token-form'), text('token-wrong')];
            await send('open sesame'); return [form, ...wrong, shown('token-form'), text('job'), inside.location.hash]""",
                        errors=['401'], budget=12)
        self.assertEqual(said, [True, True, 'The server does not take that token.', False, 'digits', ''])

    def test_token_in_the_address(self):
        said = self.ask('secret', """const first = [text('job'), inside.location.href, shown('token-form')];
            frame.contentWindow.location.reload(); await pause(1500);
            return [...first, frame.contentDocument.getElementById('job').textContent]""", fragment='#token=open%20sesame')
        self.assertEqual(said, ['digits', f'{self.mock.url}/secret/', False, 'digits'])

    def test_the_server_has_this_page(self):
        made = subprocess.run([os.environ['SP_DASHBOARD_BYTES']], capture_output=True, timeout=30, check=True).stdout
        self.assertEqual(made, self.mock.page)


if __name__ == '__main__':
    unittest.main(verbosity=2)
