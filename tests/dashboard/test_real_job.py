"""The dashboard of a real job, in headless Chromium: what its document says, and a picture of it."""
import html
import re

import real_job
import browser

import harness


class RealJob(harness.Case):
    def start_job(self, *sets):
        server = self.start_server('workers=3', *real_job.SETS, *sets)
        workers = self.start_workers(server, 3, *(s for s in real_job.SETS if s.startswith('model.')), slots=True)
        self.addCleanup(real_job.slow_thread(workers[1].pid))
        return server

    def text(self, server, path='', **more):
        """The words of the page, and its whole document; its console must be empty."""
        document, said = real_job.chromium(server.status()['http'] + path, '--dump-dom', **more)
        self.assertEqual(browser.CONSOLE.findall(said), [])
        body = re.sub(r'(?s)<script>.*?</script>|<style>.*?</style>', '', document)
        return html.unescape(re.sub(r'\s+', ' ', re.sub(r'<[^>]*>', ' ', body))), document

    def test_while_it_runs(self):
        server = self.start_job('train.epochs=4000', 'optimizer.switch.when=at', 'optimizer.switch.step=20')
        self.wait_for_round(server, 70)
        text, document = self.text(server)
        for words in ('digits', 'running', 'SGD phase', 'The switch is made', 'at: round 20, as the job file says', '3 of 3',
                      'less', 'How clear the votes are', "Where a round's time goes", 'Stationarity'):
            self.assertIn(words, text)
        self.assertRegex(text, r'Round [\d,]+ of 60,000')
        self.assertRegex(text, r'slowest, [\d.]+ times the median')
        rows = re.findall(r'(?s)<tr[^>]*>(.*?)</tr>', document[document.index('id="workers"'):])
        slow = [i for i, row in enumerate(rows[1:]) if 'slowest' in row]
        self.assertEqual((len(rows), slow), (4, [1]), 'a row for each worker, and the slow one is marked')
        self.assertGreaterEqual(document.count('<canvas'), 8)
        self.look_like_pictures(server)

    def look_like_pictures(self, server):
        for size in ((1400, 1800), (390, 2400)):
            path = self.folder / f'{size[0]}.png'
            real_job.picture(server.status()['http'], path, size)
            self.assertEqual(real_job.png_size(path), size)
            self.assertGreater(path.stat().st_size, 60000, 'there is something in it')

    def test_before_the_switch_and_with_a_token(self):
        token = self.folder / 'http.token'
        token.write_text('ab' * 32)
        token.chmod(0o600)
        server = self.start_job('train.epochs=4000', 'optimizer.switch.when=manual', f'security.http_token_file={token}')
        self.wait_for_round(server, 20)
        text, _ = self.text(server, '#token=' + 'ab' * 32)
        self.assertIn('The switch lies ahead', text)
        self.assertRegex(text, r"would switch at lambda about [\d.e-]+; waits for 'signpost switch'")
        self.assertRegex(text, r'Round [\d,]+ of 60,000')
        document, _ = real_job.chromium(server.status()['http'], '--dump-dom')
        self.assertNotIn('would switch at lambda', document)
        self.assertRegex(document, r'<form[^>]*id="token-form">', 'the form is there to be filled in')


if __name__ == '__main__':
    harness.main()
