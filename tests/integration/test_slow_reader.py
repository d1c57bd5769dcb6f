"""A worker that reads nothing while rounds go on without it: what waits for it is bounded, then it is sent away; it comes back."""
import re
import signal
from pathlib import Path

import harness

# 301,066 parameters in float32: 1.2 MB of update a round. The worker's time is not up before its bytes are.
HIDDEN = 'model.hidden=[512,512]'
MODEL_BYTES = 4 * 301_066
JOB = ('workers=3', 'server.close.quorum=2', 'train.rounds=800', 'train.evaluate=0', 'server.heartbeat.timeout=300',
       'optimizer.mode=sgd', 'optimizer.sgd.lr=0.05', 'optimizer.sgd.wire=f32')
BUDGET_BYTES = 3 * MODEL_BYTES + 1024 * 1024
SLACK_BYTES = 8 * 1024 * 1024
ROUNDS = 100


def resident_bytes(process):
    status = Path(f'/proc/{process.pid}/status').read_text()
    return 1024 * int(re.search(r'VmRSS:\s+(\d+) kB', status).group(1))


class SlowReader(harness.Case):
    def test_a_worker_that_stops_reading(self):
        server = self.start_server(*JOB, HIDDEN, 'server.journal.enabled=false', 'server.checkpoint.enabled=false')
        workers = self.start_workers(server, 3, HIDDEN, slots=True)
        self.assertEqual(self.wait_for_round(server, 30)['params'], MODEL_BYTES // 4)
        before = resident_bytes(server)
        workers[2].send(signal.SIGSTOP)
        self.wait_for_words(server, r'sent away: the worker reads too slowly: more than a model\'s worth', harness.RUN_S)
        left = self.wait_for(lambda: (s := server.status())['slots'][2]['state'] == 'empty' and s, 'its slot to be free')
        most = 0

        def look():
            nonlocal most
            most = max(most, resident_bytes(server))
            return server.status()['round'] >= left['round'] + ROUNDS
        self.wait_for(look, f'{ROUNDS} rounds without it', harness.RUN_S)
        # Those rounds alone are 120 MB.
        slack = SLACK_BYTES * (4 if harness.SLOW > 1 else 1)  # a sanitizer keeps for a while what is freed
        self.assertLess(most, before + BUDGET_BYTES + slack)
        workers[2].send(signal.SIGCONT)
        self.wait_for(lambda: server.status()['slots'][2]['votes'] > left['slots'][2]['votes'], 'it to vote again',
                      harness.RUN_S)
        summary = self.finish(server, workers, 2 * harness.RUN_S)
        self.assertGreaterEqual(summary['slots'][2]['joins'], 2)  # where processors are short, more may be sent away
        self.assertEqual(sum(slot['resyncs'] for slot in summary['slots']), 0)
        self.assertEqual(summary['rounds_done'], summary['rounds'])

    def test_all_together(self):
        """server.limits.buffered is below what a single worker may hold back: the one for which most waits goes first."""
        # One is enough for a round: where processors are short, a second one may be behind.
        server = self.start_server(*JOB, HIDDEN, 'server.journal.enabled=false', 'server.checkpoint.enabled=false',
                                   'server.limits.buffered=2.5', 'server.close.quorum=1')
        workers = self.start_workers(server, 3, HIDDEN, slots=True)
        self.wait_for_round(server, 30)
        workers[2].send(signal.SIGSTOP)
        self.wait_for_words(server, r'more waits for all of them together than server\.limits\.buffered allows', harness.RUN_S)
        status = self.wait_for(lambda: (s := server.status())['slots'][2]['state'] == 'empty' and s, 'its slot to be free')
        self.assertGreaterEqual(status['sent_away']['buffered'], 1)
        workers[2].send(signal.SIGCONT)
        self.assertEqual(self.finish(server, workers, 2 * harness.RUN_S)['rounds_done'], 800)


if __name__ == '__main__':
    harness.main()
