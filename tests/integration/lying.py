"""Jobs some of whose workers lie: tests/chaos/liar.c, which is SP_LIAR."""
import os

import harness

LIAR = os.environ.get('SP_LIAR', str(harness.ROOT / 'build/tests/chaos/liar'))


class Case(harness.Case):
    def start_liar(self, server, slot, lie, phase=None, since=1):
        """Turns its votes over ('flip'), or as liar.c says; in one phase only, or always; from a round on."""
        words = [f'SP_LIE={lie}', f'SP_LIE_FROM={since}'] + ([f'SP_LIE_PHASE={phase}'] if phase else [])
        return self.start(f'liar-slot{slot}', 'env', *words, LIAR, '--config', harness.DIGITS, '--server', server.address(),
                          '--slot', slot)

    def start_job(self, *sets, workers=15, liars=0, lie='flip', phase=None, since=1, run='run'):
        """The last slots are the liars'. Returns (server, processes)."""
        server = self.start_server(f'workers={workers}', *sets, run=run)
        processes = [self.start_worker(server, slot=slot) for slot in range(workers - liars)]
        processes += [self.start_liar(server, slot, lie, phase, since) for slot in range(workers - liars, workers)]
        return server, processes

    def lying_job(self, *sets, limit_s=harness.RUN_S, **how):
        """A whole job. Returns (its summary, its quarantine events)."""
        server, processes = self.start_job(*sets, **how)
        summary = self.finish(server, processes, limit_s)
        self.assert_done(summary)
        return summary, server.events('quarantine')
