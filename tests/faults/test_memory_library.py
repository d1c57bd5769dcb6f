"""A program of somebody else's with libsignpost.so (worker/examples, and one with buffers, in all phases) whose memory runs out at any one allocation of the
library: a code and words, or the same end; never a crash, a hang or wrong weights."""
import os
import re

import faults
import harness

QUADRATIC = harness.ROOT / 'worker/examples/quadratic.yaml'
ALL_PHASES = ('train.evaluate=3', 'optimizer.switch.step=3', 'optimizer.switch.to=margin', 'optimizer.margin.until=0.5',
              'optimizer.dither.sigma0=0.5', 'optimizer.dither.scale=tensor', 'tensors=[{match: "*.bias", update: full}]')
# (program, its job, settings)
JOBS = ((os.environ['SP_EXAMPLE_QUADRATIC'], QUADRATIC, ('train.evaluate=0',)),
        (os.environ['SP_EXAMPLE_OWN_LOOP'], QUADRATIC, ('train.evaluate=0',)),
        (os.environ['SP_MADE_WORKER'], harness.ROOT / 'tests/integration/made.yaml', ALL_PHASES))


class Memory(faults.Case):
    def job(self, one, program, config, sets):
        """A job whose worker is watched. If it fails, another one comes in its place. Returns the digest of the end."""
        run = one.folder / 'run'
        argv = [harness.SIGNPOSTD, '--config', config, '--listen', '127.0.0.1:0', '--out', run]
        for item in ('workers=1', 'train.rounds=12', *sets):
            argv += ['--set', item]
        server = one.start('server', *argv)
        address = run / 'address'
        one.watched = server
        one.expect(one.wait_for(address.exists), 'the server does not listen')
        where = address.read_text()
        one.watch('worker', program, where)
        one.expect(one.wait_for(lambda: not one.watched.alive(), 15), 'it still runs')
        if not server.alive() and 'no server at' in one.watched.err():
            pass  # it lost the connection when all was done, and nobody was there to tell it so
        elif one.code() != 0:
            one.expect(server.alive(), 'the server ended before another worker came')
            one.start('second', program, where)
        one.expect(one.wait_for(lambda: not server.alive(), 15), 'the server still waits')
        digest = re.search(r'"weights_digest": "([0-9a-f]{16})"', (run / 'summary.json').read_text()).group(1)
        if one.watched.popen.returncode == 0:
            one.expect(digest in one.watched.out(), 'the worker says another digest than the server')
        return digest

    def test_any_allocation(self):
        for job in JOBS:
            expected, sites = self.plain(lambda one, j=job: self.job(one, *j))

            def attempt(one, _, j=job, digest=expected):
                got = self.job(one, *j)
                again = 'left slot' in one.processes[0].err()  # it may give a gradient twice then
                one.expect(got == digest or again, 'the digest differs')

            self.sweep([s for s in sites if any('libsignpost' in frame for frame in s.frames)], attempt, budget_s=10)


if __name__ == '__main__':
    faults.main()
