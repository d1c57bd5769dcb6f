"""signpost-worker whose memory runs out at any one allocation: it ends in words, or goes on to the same end; and the server
is none the worse for it."""
import faults
import harness


class Memory(faults.Case):
    def job(self, one, sets):
        """A job whose worker is watched. If it fails, another one comes in its place. Returns the results."""
        run = one.folder / 'run'
        argv = [harness.SIGNPOSTD, '--config', harness.DIGITS, '--listen', '127.0.0.1:0', '--out', run]
        for item in sets:
            argv += ['--set', item]
        server = one.start('server', *argv)
        address = run / 'address'
        one.watched = server
        one.expect(one.wait_for(address.exists), 'the server does not listen')
        where = address.read_text()
        arguments = ['--config', harness.DIGITS, '--server', where, '--set', 'worker.give_up=10']
        one.watch('worker', faults.WORKER, *arguments)
        # One that fails in the job's last frame leaves a server that is done, with the results that are checked below.
        if one.code() != 0 and server.alive():
            one.start('second', harness.WORKER, *arguments)
        one.expect(one.wait_for(lambda: not server.alive(), 15), 'the server still waits')
        one.expect(server.popen.returncode == 0, 'the server failed')
        return faults.results(run)

    def test_any_allocation(self):
        silent = []

        def attempt(one, site, sets, expected):
            got = self.job(one, sets)
            words = one.watched.err()
            for key in ('keys', 'rounds', 'history', 'slots'):
                one.expect(got[key] == expected[key], f'{key} is {got[key]!r:.300}, not {expected[key]!r:.300}')
            if one.watched.popen.returncode == 0:
                one.expect(got['digest'] == expected['digest'] or 'lost the server' in words, 'the digest differs')
                if one.hit() and not faults.NO_MEMORY.search(words):
                    silent.append(site)

        self.sweeps(self.job, attempt, budget_s=15)
        self.assertEqual([s.frames for s in silent if not s.frames[0].startswith('libc.')], [])


if __name__ == '__main__':
    faults.main()
