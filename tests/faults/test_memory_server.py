"""signpostd whose memory runs out at any one allocation: it ends in words, or goes on and brings the job to the same end."""
import faults
import harness


class Memory(faults.Case):
    def job(self, one, sets):
        """A job whose server is watched; its worker is well. Returns the status before the worker came, and the results;
        None where there are none."""
        run = one.folder / 'run'
        argv = [faults.SERVER, '--config', harness.DIGITS, '--listen', '127.0.0.1:0', '--out', run]
        for item in sets:
            argv += ['--set', item]
        server = one.watch('server', *argv)
        address = run / 'address'
        one.expect(one.wait_for(lambda: address.exists() or not server.alive()), 'it neither listens nor ends')
        try:
            where = address.read_text()
        except FileNotFoundError:
            self.assertNotEqual(one.code(), 0)
            return None, None
        status = faults.ask(run)
        worker = one.start('worker', harness.WORKER, '--config', harness.DIGITS, '--server', where)
        if one.code() != 0:
            return status, None
        one.expect(one.wait_for(lambda: not worker.alive(), 10), 'the worker waits for a server that has ended')
        one.expect(worker.popen.returncode == 0, 'the worker failed')
        return status, faults.results(run)

    def test_any_allocation(self):
        silent = []

        def attempt(one, site, sets, plain):
            status, expected = plain
            told, got = self.job(one, sets)
            if told is not None and 'error' not in told:
                one.expect(sorted(told) == sorted(status), 'a status with keys missing')
            words = one.watched.err()
            if got is None:
                return
            if 'but there is no memory for the next phase' in words:
                # It is tried again after the next round, when there is.
                one.expect(got['rounds'] == expected['rounds'] and 'switch from' in words, 'it never switched')
                return
            # A worker that was sent away in a round and came back gave a gradient twice: its momentum is another.
            same = ('keys', 'rounds', 'slots') if 'left slot' in words else expected
            for key, value in ((key, expected[key]) for key in same):
                one.expect(got[key] == value, f'{key} is {got[key]!r:.300}, not {value!r:.300}')
            if one.hit() and not faults.NO_MEMORY.search(words) and (told is None or 'error' not in told):
                silent.append(site)

        self.sweeps(self.job, attempt, budget_s=15)
        # Who goes on without a word is the C library, which did without (a buffer, a time zone).
        self.assertEqual([s.frames for s in silent if not s.frames[0].startswith('libc.')], [])


if __name__ == '__main__':
    faults.main()
