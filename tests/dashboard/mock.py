"""A server that serves the dashboard with made jobs, to look at and for the tests.

    mock.py PAGE.html [PORT]

/NAME/ is the page with the job NAME of scenarios.py. `secret` wants the token `open sesame`; `lost` and `ended` answer three times.
/count/NAME says how many requests there were for NAME.
/frame/NAME?width=W&height=H&theme=T&run=SCRIPT is the page in a frame of that size, in which the script runs after a second.
"""
import collections
import html
import http.server
import json
import pathlib
import sys
import threading
import urllib.parse

import scenarios

TOKEN = 'open sesame'
ANSWERS_OF_LOST = 3

# Chromium talks to its makers by itself, and other versions may do so in spite of the switches of browser.py.
MAKERS = ('.google.com', '.googleapis.com', '.gstatic.com')

# The page itself has no hook for tests: what they ask is asked from around it.
FRAME = """<!DOCTYPE html><html><head><link rel="icon" href="data:,">
<style>body {{ margin: 0 }} iframe {{ border: 0; display: block }}</style></head><body>
<iframe id="frame" width="{width}" height="{height}" src="/{name}/{hash}"></iframe>
<pre id="answer"></pre>
<script>
const pause = ms => new Promise(done => setTimeout(done, ms));
const frame = document.getElementById('frame');
frame.addEventListener('load', async () => {{
    const inside = frame.contentWindow;
    const page = frame.contentDocument;
    const press = (key, to = page.body, more = {{}}) =>
        to.dispatchEvent(new inside.KeyboardEvent('keydown', {{ key, bubbles: true, cancelable: true, ...more }}));
    const text = id => page.getElementById(id).textContent;
    if ('{theme}' !== '')
        page.documentElement.dataset.theme !== '{theme}' && press('t');
    await pause(1500);
    let answer;
    try {{
        answer = await (async () => {{ {run} }})();
    }} catch (error) {{
        answer = 'error: ' + error;
    }}
    document.getElementById('answer').textContent = JSON.stringify(answer ?? null);
}}, {{ once: true }});
</script></body></html>"""


class Mock:
    def __init__(self, page, port=0):
        self.page = pathlib.Path(page).read_bytes()
        self.scenarios = scenarios.scenarios()
        self.lock = threading.Lock()
        self.asked = collections.defaultdict(list)  # scenario -> what was asked of it, in order
        self.strangers = []  # paths that are nobody's
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', port), self.handler())
        self.server.daemon_threads = True
        self.url = f'http://127.0.0.1:{self.server.server_port}'

    def start(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def handler(mock):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_GET(self):
                try:
                    mock.answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the browser has ended

            def do_CONNECT(self):
                mock.stranger(self.path, self.path.rsplit(':', 1)[0])
                self.close_connection = True

            def log_message(self, *_):
                pass

        return Handler

    def answer(self, request):
        url = urllib.parse.urlsplit(request.path)
        parts = url.path.strip('/').split('/')
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.netloc:  # asked as a proxy is: for somebody else, unless it is this very server
            parts = parts if f'http://{url.netloc}' == self.url else ['elsewhere']
        if len(parts) == 2 and parts[0] == 'frame' and parts[1] in self.scenarios:
            return self.send(request, 200, 'text/html; charset=utf-8', self.frame(parts[1], query))
        if len(parts) == 2 and parts[0] == 'count':
            return self.send(request, 200, 'application/json', str(len(self.asked[parts[1]])).encode())
        if parts[0] not in self.scenarios or len(parts) > 2:
            self.stranger(request.path, url.hostname or '')
            return self.send(request, 404, 'text/plain', b'no such page\n')
        with self.lock:
            answer = self.of(parts[0], parts[1] if len(parts) == 2 else '', query, request.headers)
        return self.send(request, *answer)

    def stranger(self, path, host):
        if not host.endswith(MAKERS):
            with self.lock:
                self.strangers.append(path)

    def of(self, name, what, query, headers):
        job = self.scenarios[name]
        self.asked[name].append((what, query, headers.get('Authorization')))
        if what == '':
            return 200, 'text/html; charset=utf-8', self.page
        if name == 'secret' and headers.get('Authorization') != f'Bearer {TOKEN}':
            return 401, 'text/plain', b'this server wants a token\n'
        if name in ('lost', 'ended') and len(self.asked[name]) > ANSWERS_OF_LOST:
            return 503, 'text/plain', b'out of order\n'
        if what == 'status':
            return 200, 'application/json', json.dumps(job.status()).encode()
        points = job.series(int(query.get('from', 0)))
        return 200, 'application/x-ndjson', ''.join(json.dumps(point) + '\n' for point in points).encode()

    @staticmethod
    def frame(name, query):
        fields = {'width': '1400', 'height': '1800', 'theme': '', 'run': '', 'hash': '', **query}
        fields['hash'] = html.escape(fields['hash'])
        return FRAME.format(name=name, **fields).encode()

    @staticmethod
    def send(request, code, kind, body):
        request.send_response(code)
        request.send_header('Content-Type', kind)
        request.send_header('Content-Length', str(len(body)))
        request.send_header('Cache-Control', 'no-store')
        request.end_headers()
        request.wfile.write(body)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    mock = Mock(sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 0)
    print('\n'.join(f'{mock.url}/{name}/' for name in mock.scenarios), flush=True)
    mock.server.serve_forever()


if __name__ == '__main__':
    main()
