"""Jobs of made_worker.c."""
import json
import math
import os
import struct

import harness

CONFIG = harness.ROOT / 'tests/integration/made.yaml'
WORKER = os.environ.get('SP_MADE_WORKER', str(harness.ROOT / 'build/tests/integration/made_worker'))
ROUNDS = 120
SWITCH = 65
GAMMA = 0.01
TENSORS = {'busy.weight': [40, 25], 'still.weight': [64], 'half.weight': [16, 16], 'busy.bias': [40],
           'still.bias': [16]}
BUFFERS = {'norm.mean': [5], 'norm.count': [1]}
PARAMS = sum(math.prod(shape) for shape in TENSORS.values())


def float32(value):
    return struct.unpack('<f', struct.pack('<f', value))[0]


class Case(harness.Case):
    def start_made(self, server, slot=-1, shift=0, more='', folder=None):
        """`server` is a server or a HOST:PORT."""
        address = server.address() if isinstance(server, harness.Server) else server
        return self.start('made', WORKER, address, slot, shift, *([more] if more else []), *([folder] if folder else []))

    @staticmethod
    def said(worker, *at):
        """The lines that it printed, of these events or all."""
        lines = [json.loads(line, parse_float=lambda text: float32(float(text))) for line in worker.out().splitlines()]
        return [line for line in lines if not at or line['at'] in at]

    def made_job(self, *sets, workers=4, shift=0, more='', run='run'):
        """Returns (server, summary, the workers, what the first says of its weights at its end); all of them end with
        the server's weights."""
        server = self.start_server(f'workers={workers}', *sets, config=CONFIG, run=run)
        processes = [self.start_made(server, slot, shift, more) for slot in range(workers)]
        s = self.finish(server, processes)
        self.assert_done(s)
        last = [self.said(worker, 'done')[0] for worker in processes]
        self.assertEqual([line['digest'] for line in last], [s['weights_digest']] * workers)
        self.assertEqual(sum(slot['resyncs'] for slot in s['slots']), 0)
        return server, s, processes, last[0]['weights']
