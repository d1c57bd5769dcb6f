#!/usr/bin/env python3
"""What checkpoints hold up: a job whose model is copied and written every few rounds, and what status says of it.

checkpoint.py [--hidden 3000,3000] [--rounds 60] [--every 5]

Prints the longest time that the loop copied weights between two looks at its sockets, the most bytes that were left to be copied
when a round was committed, the longest write (by the thread), and the time of a round with and without. Programs are those of
build/, or of $BUILD.
"""
import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get('BUILD', ROOT / 'build')).resolve()


def ask(run, line):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(10)
        s.connect(str(run / 'signpostd.sock'))
        s.sendall(line.encode() + b'\n')
        answer = b''
        while piece := s.recv(65536):
            answer += piece
    return json.loads(answer)


def job(folder, options, *sets):
    """Seconds of a round, and the last status."""
    run = Path(folder) / 'run'
    model = f'model.hidden=[{options.hidden}]'
    keys = [word for item in (model, 'workers=2', f'train.rounds={options.rounds}', 'train.evaluate=0', *sets)
            for word in ('--set', item)]
    config = ['--config', ROOT / 'configs/digits.yaml']
    server = subprocess.Popen([BUILD / 'server/signpostd', *config, '--listen', '127.0.0.1:0', '--out', run, '--fresh', *keys],
                              stderr=subprocess.DEVNULL)
    while not (run / 'address').exists():
        time.sleep(0.01)
        if server.poll() is not None:
            sys.exit('checkpoint: the server did not start')
    address = (run / 'address').read_text()
    workers = [subprocess.Popen([BUILD / 'worker/train/signpost-worker', *config, '--server', address, '--out', run, '--set', model,
                                 '--set', 'worker.momentum.every=0'], stderr=subprocess.DEVNULL) for _ in range(2)]
    status = None
    while server.poll() is None:
        try:
            status = ask(run, 'status')
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    for process in (server, *workers):
        if process.wait(60) != 0:
            sys.exit('checkpoint: a program failed')
    summary = json.loads((run / 'summary.json').read_text())
    return summary['train_seconds'] / summary['rounds'], status, summary['params']


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--hidden', default='3000,3000')
    parser.add_argument('--rounds', type=int, default=60)
    parser.add_argument('--every', type=int, default=5)
    options = parser.parse_args()
    off = ('server.journal.enabled=false', 'server.checkpoint.enabled=false')
    with tempfile.TemporaryDirectory(prefix='sp-') as folder:
        without, _, params = job(folder, options, *off)
        kept, status, _ = job(folder, options, f'server.checkpoint.every={options.every}')
    keep = status['keep']['checkpoint']
    print(f'{params} parameters, a checkpoint of {keep["bytes"] / 1e6:.1f} MB every {options.every} rounds\n\n'
          '| | |\n|---|---|\n'
          f'| a round without checkpoints and journal | {1e3 * without:.1f} ms |\n'
          f'| with both | {1e3 * kept:.1f} ms |\n'
          f'| longest copy between two looks at the sockets | {keep["copy_ms_longest"]:.2f} ms |\n'
          f'| most bytes left to copy when a round was committed | {keep["copy_bytes_at_once"]} |\n'
          f'| longest write, by its thread | {keep["write_ms_longest"]} ms |')


if __name__ == '__main__':
    main()
