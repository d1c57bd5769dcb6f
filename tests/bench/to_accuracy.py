"""Time to a test accuracy, Signpost beside PyTorch DDP; see to_accuracy.sh."""
import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / 'chaos'))
import hosts  # noqa: E402

WORKERS, BATCH = 4, 64
ROWS = {
    'signpost': ('Signpost, signs', (5e-4, 1e-3, 2e-3)),
    'ddp-f32': ('PyTorch DDP, float32', (0.05, 0.1, 0.2)),
    'ddp-f16': ('PyTorch DDP, float16 hook', (0.05, 0.1, 0.2)),
    'ddp-powersgd': ('PyTorch DDP, PowerSGD rank 1', (0.05, 0.1, 0.2)),
}
EVERY = 24    # rounds between evaluations
LIMIT_S = 900


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.lab = hosts.Hosts(WORKERS, hosts.Link(rate=args.link))
        self.runs = 0

    def sent(self):
        """Bytes that have left the cards of workers and server, with all headers."""
        return sum(self.lab.count(i, 'tx') for i in range(WORKERS + 1))

    def together(self, commands, environment):
        """Runs them all; returns what the first one printed."""
        self.runs += 1
        logs = [open(self.folder / f'{self.runs}-{i}.log', 'w+') for i in range(len(commands))]
        processes = [subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE if i == 0 else subprocess.DEVNULL,
                                      stderr=logs[i], text=True, env=environment) for i, words in enumerate(commands)]
        try:
            out = processes[0].communicate(timeout=LIMIT_S)[0]
            codes = [p.wait(60) for p in processes]
        finally:
            for p in processes:
                p.kill()
                p.wait()
        if any(codes):
            worst = next(i for i, code in enumerate(codes) if code)
            logs[worst].seek(0)
            raise RuntimeError(f'{" ".join(map(str, commands[worst]))} ended with {codes[worst]}: {logs[worst].read()[-800:]}')
        for log in logs:
            log.close()
        return out

    def ddp(self, hook, lr, seed):
        words = [self.args.python, HERE / 'train_ddp.py', '--hook', hook, '--master', f'{hosts.Hosts.ip(1)}:29500', '--data',
                 self.args.data, '--workers', WORKERS, '--batch', BATCH, '--lr', lr, '--seed', seed, '--accuracy',
                 self.args.accuracy, '--every', EVERY, '--rounds', self.args.rounds]
        environment = dict(os.environ, GLOO_SOCKET_IFNAME='eth0', OMP_NUM_THREADS='1', PYTHONDONTWRITEBYTECODE='1')
        out = self.together([[*self.lab.inside(1 + rank), *words, '--rank', rank] for rank in range(WORKERS)], environment)
        return json.loads(out.strip().splitlines()[-1])

    def signpost(self, lr, seed):
        """A run with evaluations tells the round, one without, of the same bits, how long until then."""
        seen = [line for line in self.job(lr, seed, EVERY * BATCH * WORKERS / 60000)[1] if line.get('test_accuracy') is not None]
        good = next((line for line in seen if line['test_accuracy'] >= self.args.accuracy), None)
        last = good or seen[-1]
        before = self.sent()
        summary, lines = self.job(lr, seed, 0)
        bytes_ = (self.sent() - before) * last['round'] / summary['rounds_done']
        waited = summary['wall_seconds'] - summary['train_seconds']  # the server waits for its workers
        timed = next(line for line in lines if line['round'] >= last['round'] and 'event' not in line)
        return {'seconds': timed['seconds'] - waited, 'rounds': last['round'], 'accuracy': last['test_accuracy'],
                'reached': good is not None, 'bytes': bytes_}

    def job(self, lr, seed, evaluate):
        run, token = self.folder / f'run-{lr}-{seed}-{evaluate > 0}', self.folder / 'token'
        if not token.exists():
            token.write_text('time-to-accuracy-secret-of-32-bytes\n')
            token.chmod(0o600)
        sets = []
        for item in (f'seed={seed}', f'train.batch={BATCH}', f'workers={WORKERS}', f'train.rounds={self.args.rounds}',
                     f'train.evaluate={evaluate:.6f}', 'train.report=1', f'optimizer.sign.lr={lr}', 'optimizer.switch.when=never',
                     'optimizer.sign.schedule=linear', f'security.token_file={token}', 'security.insecure=true',
                     *self.args.set):
            sets += ['--set', item]
        config = self.folder / 'mnist-mlp.yaml'
        if not config.exists():
            shutil.copy(ROOT / 'configs/mnist-mlp.yaml', config)
            (self.folder / 'mnist').symlink_to(self.args.data)
        build = Path(self.args.build)
        address = f'{hosts.Hosts.ip(0)}:7700'
        self.together([[*self.lab.inside(0), build / 'server/signpostd', '--config', config, '--listen', address, '--out', run, *sets],
                       *[[*self.lab.inside(1 + i), build / 'worker/train/signpost-worker', '--config', config, '--server', address,
                          *sets] for i in range(WORKERS)]], dict(os.environ, OMP_NUM_THREADS='1'))
        summary = json.loads((run / 'summary.json').read_text())
        return summary, [json.loads(line) for line in (run / 'history.jsonl').read_text().splitlines()]

    def one(self, name, lr, seed):
        before = self.sent()
        found = self.signpost(lr, seed) if name == 'signpost' else self.ddp(name[4:], lr, seed)
        found.setdefault('bytes', self.sent() - before)
        print(f'  {name} lr {lr:g} seed {seed}: {100 * found["accuracy"]:.2f} % after {found["rounds"]} rounds, '
              f'{found["seconds"]:.2f} s{"" if found["reached"] else " (not reached)"}', file=sys.stderr, flush=True)
        return found


def median(found, key):
    return statistics.median(f[key] for f in found)


def measure(args, bench):
    table = {}
    for name in args.rows:
        for lr in ROWS[name][1] if args.lr is None else [args.lr]:
            found = [bench.one(name, lr, seed) for seed in range(1, args.seeds + 1)]
            if all(f['reached'] for f in found) and (name not in table or median(found, 'seconds') < median(table[name][1], 'seconds')):
                table[name] = (lr, found)
    return table


def show(args, table):
    print(f'Until {100 * args.accuracy:g} % of MNIST, MLP of 235,146 parameters, {WORKERS} workers, batch {WORKERS} x {BATCH}, links of '
          f'{args.link}; medians of {args.seeds} seeds, least .. most, each method at its best of '
          f'{len(ROWS["signpost"][1])} rates, which fall linearly over {args.rounds} rounds.\n')
    print('| | rate | rounds | seconds | ms a round | MB sent by all | time beside Signpost |')
    print('|---|---|---|---|---|---|---|')
    for name in args.rows:
        if name not in table:
            print(f'| {ROWS[name][0]} | | not reached within {args.rounds} rounds | | | | |')
            continue
        lr, found = table[name]
        times = sorted(f['seconds'] for f in found)
        beside = f'{median(found, "seconds") / median(table["signpost"][1], "seconds"):.1f}' if 'signpost' in table else ''
        print(f'| {ROWS[name][0]} | {lr:g} | {median(found, "rounds"):.0f} | '
              f'{median(found, "seconds"):.2f} ({times[0]:.2f} .. {times[-1]:.2f}) | '
              f'{1e3 * statistics.median(f["seconds"] / f["rounds"] for f in found):.1f} | {median(found, "bytes") / 1e6:.1f} | {beside} |')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', required=True)
    parser.add_argument('--python', required=True)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--link', default='100mbit')
    parser.add_argument('--accuracy', type=float, default=0.97)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--rounds', type=int, default=480)
    parser.add_argument('--rows', type=lambda text: text.split(','), default=list(ROWS))
    parser.add_argument('--lr', type=float)
    parser.add_argument('--set', action='append', default=[])
    args = parser.parse_args()
    args.data = args.data.resolve()
    why = hosts.missing()
    if why is not None:
        sys.exit(f'to_accuracy: {why}')
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
        with contextlib.closing(bench.lab):
            show(args, measure(args, bench))


if __name__ == '__main__':
    main()
