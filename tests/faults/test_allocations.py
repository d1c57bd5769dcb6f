"""A round in its steady state allocates nothing, on the server and in the workers, in any phase and form: a long job
allocates where a short one does, and as often. What grows with the rounds is named by its callers."""
import faults
import harness

SHORT, LONG = 30, 230
# With a record on the disk before each COMMIT no more than a round's frames wait for the disk, however slow it is.
QUIET = ('workers=2', 'server.journal.fsync=always', 'train.report=100000', 'train.evaluate=0', 'optimizer.dither.sigma0=1')
AT_ONCE = ('optimizer.switch.when=at', 'optimizer.switch.step=5')
FORMS = {
    'sign': ('optimizer.switch.when=never',),
    'sign by tensor': ('optimizer.switch.when=never', 'optimizer.dither.scale=tensor',
                       'tensors=[{match: "*.bias", update: full}]', 'optimizer.weight_decay=0.1'),
    'margin': ('optimizer.switch.when=never', 'optimizer.start=margin'),
    'i8, rates by tensor': AT_ONCE,
    'bf16': (*AT_ONCE, 'optimizer.sgd.wire=bf16'),
    'float32, median': ('optimizer.mode=sgd', 'optimizer.sgd.aggregate=median'),
    'adam': ('optimizer.mode=adam',),
    # More frames at once than a pool keeps of itself, and more than a socket takes.
    'float32, 1.1 M parameters': ('optimizer.mode=sgd', 'model.hidden=[1024, 1024]'),
}


class Allocations(faults.Case):
    def count(self, sets, rounds, watched):
        """Allocations of the program that is watched ('server' or 'worker'), by site, in a job of so many rounds."""
        one = faults.Attempt(self, f'{watched}-{rounds}', None)
        try:
            run = one.folder / 'run'
            keys = [word for item in (*QUIET, *sets, f'train.rounds={rounds}') for word in ('--set', item)]
            argv = [faults.SERVER, '--config', harness.DIGITS, '--listen', '127.0.0.1:0', '--out', run, *keys]
            start = one.watch if watched == 'server' else one.start
            server = start('server', *argv)
            address = run / 'address'
            self.assertTrue(one.wait_for(address.exists), server.err())
            workers = []
            for i in range(2):
                start = one.watch if watched == 'worker' and i == 0 else one.start
                workers.append(start(f'worker{i}', faults.WORKER, '--config', harness.DIGITS, '--server',
                                     address.read_text(), '--slot', i, *keys))
            for p in (server, *workers):
                self.assertTrue(one.wait_for(lambda p=p: not p.alive(), 60), f'{p.name} does not end')
                self.assertEqual(p.popen.returncode, 0, p.err())
            return {site.hash: site for site in one.sites()}
        finally:
            one.end()

    def test_steady_rounds(self):
        for name, sets in FORMS.items():
            for watched in ('server', 'worker'):
                with self.subTest(name, watched=watched):
                    short, long = self.count(sets, SHORT, watched), self.count(sets, LONG, watched)
                    self.assertGreater(len(short), 10, 'nothing was counted')
                    # Signs of life go by the clock, and a queue grows to the longest it has ever been: what comes once
                    # in a while is not of a round.
                    grown = [f'{s.count - getattr(short.get(s.hash), "count", 0)} more: {" ".join(s.frames[:8])}'
                             for s in long.values()
                             if s.count - getattr(short.get(s.hash), 'count', 0) > (LONG - SHORT) // 2]
                    self.assertEqual(grown, [], f'{LONG - SHORT} rounds more')


if __name__ == '__main__':
    faults.main()
