#!/usr/bin/env python3
"""The files of deploy/monitoring against README.md: every metric they name is in its table, and every panel asks for one."""
import json
import os
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(os.environ['SP_SOURCE_ROOT'])
NAME = re.compile(r'\b(?:signpost|process)_[a-z0-9_]+')


class Monitoring(unittest.TestCase):
    def setUp(self):
        self.known = set(re.findall(r'^\| `((?:signpost|process)_[a-z0-9_]+)` \|', (ROOT / 'README.md').read_text(), re.M))
        self.panels = json.loads((ROOT / 'deploy/monitoring/grafana/dashboard.json').read_text())['panels']

    def test_panels(self):
        self.assertGreater(len(self.known), 40)
        for panel in self.panels:
            for target in panel['targets']:
                names = set(NAME.findall(target['expr']))
                self.assertTrue(names, f'{panel["title"]}: {target["expr"]} asks for no metric of ours')
                self.assertLessEqual(names, self.known, f'{panel["title"]}: {target["expr"]}')

    def test_places(self):
        """No panel lies on another, and no two have one number."""
        taken = set()
        for panel in self.panels:
            at = panel['gridPos']
            cells = {(x, y) for x in range(at['x'], at['x'] + at['w']) for y in range(at['y'], at['y'] + at['h'])}
            self.assertFalse(cells & taken, panel['title'])
            self.assertLessEqual(at['x'] + at['w'], 24, panel['title'])
            taken |= cells
        self.assertEqual(len({panel['id'] for panel in self.panels}), len(self.panels))

    def test_the_server_has_one_name(self):
        compose = (ROOT / 'deploy/docker-compose.yml').read_text()
        self.assertIn('targets: ["server:7701"]', (ROOT / 'deploy/monitoring/prometheus.yml').read_text())
        self.assertIn('server.http=0.0.0.0:7701', compose)
        self.assertRegex(compose, r'(?m)^  server:$')

    def test_the_image_is_of_this_version(self):
        version = re.search(r"version: '([0-9.]+)'", (ROOT / 'meson.build').read_text()).group(1)
        self.assertIn(f'image.version="{version}"', (ROOT / 'deploy/Dockerfile').read_text())


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=2)
