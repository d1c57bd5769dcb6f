"""One rank of an exchange by torch.distributed over Gloo, for compare.py, which starts one process a rank.

    exchange_torch.py METHOD --rank R --workers M --params D --master HOST:PORT [--rounds N] [--warm N]
                      [--compute on|off] [--interface eth0]

Compute off: only the exchange is timed, each round of it after a barrier. On: everything from this rank's gradient to
its new weights (SGD with momentum 0.9, or the sign of the momentum), rounds without a pause. The gradient itself is
random numbers that are there already. One thread. Prints a line of JSON: seconds of each round, CPU seconds a round,
bytes a round up and down as they follow from the algorithm ('bytes'), and, where an interface of its own is named, as
that interface counted them ('counted').
"""
import argparse
import datetime
import json
import os
import time
from pathlib import Path

import numpy
import torch
import torch.distributed as dist

import exchange_ddp

RATE, MOMENTUM = 1e-3, 0.9


class Float32:
    """All-reduce of the whole gradient in float32, then SGD."""

    def __init__(self, params, workers):
        self.workers = workers
        self.gradient = torch.randn(params)
        self.buffer = self.gradient.clone()
        self.momentum = torch.zeros(params)
        self.weights = torch.zeros(params)

    def prepare(self):
        """Undoes what the round before left in the buffer: sums of sums would grow without bounds."""
        self.buffer.copy_(self.gradient)

    def exchange(self):
        dist.all_reduce(self.buffer)

    def step(self):
        # The mean of equal gradients is the gradient: nothing grows from round to round.
        dist.all_reduce(self.gradient)
        self.descend(self.gradient)

    def descend(self, total):
        self.momentum.mul_(MOMENTUM).add_(total.div_(self.workers))
        self.weights.add_(self.momentum, alpha=-RATE)

    def payload(self):
        return ring(self.buffer.numel() * self.buffer.element_size(), self.workers)


class Float16(Float32):
    """The same in float16: half the bytes, two conversions more."""

    def __init__(self, params, workers):
        super().__init__(params, workers)
        self.buffer = self.gradient.half()
        self.mean = torch.zeros(params)

    def step(self):
        self.buffer.copy_(self.gradient)
        dist.all_reduce(self.buffer)
        self.mean.copy_(self.buffer)
        self.descend(self.mean)


class Int8Signs(Float32):
    """Majority vote by an all-reduce of signs as int8: the sum of up to 127 of them fits."""

    def __init__(self, params, workers):
        super().__init__(params, workers)
        if workers > 127:
            raise SystemExit(f'exchange_torch: the signs of {workers} workers do not add up in int8, which takes 127')
        self.signs = torch.sign(self.gradient)
        self.source = self.signs.to(torch.int8)
        self.buffer = self.source.clone()

    def prepare(self):
        self.buffer.copy_(self.source)

    def step(self):
        self.momentum.mul_(MOMENTUM).add_(self.gradient, alpha=1 - MOMENTUM)
        self.buffer.copy_(torch.sign(self.momentum, out=self.signs))
        dist.all_reduce(self.buffer)
        self.weights.add_(self.buffer.sign_(), alpha=-RATE)


class PackedSigns(Float32):
    """Majority vote without a server: everybody gathers the packed signs of all, and counts for itself."""

    def __init__(self, params, workers):
        super().__init__(params, workers)
        self.params = params
        self.mine = torch.from_numpy(numpy.packbits(self.gradient.numpy() > 0))
        self.all = [torch.empty_like(self.mine) for _ in range(workers)]

    def prepare(self):
        pass

    def exchange(self):
        dist.all_gather(self.all, self.mine)

    def step(self):
        self.momentum.mul_(MOMENTUM).add_(self.gradient, alpha=1 - MOMENTUM)
        self.mine = torch.from_numpy(numpy.packbits(self.momentum.numpy() > 0))
        self.exchange()
        ones = numpy.zeros(self.params, dtype=numpy.uint8)
        for bits in self.all:
            ones += numpy.unpackbits(bits.numpy(), count=self.params)
        self.weights.sub_(torch.from_numpy(numpy.where(ones > self.workers // 2, RATE, -RATE).astype(numpy.float32)))

    def payload(self):
        return (self.workers - 1) * self.mine.numel()


def ring(size, workers):
    """Bytes that a rank sends, and gets, in a ring all-reduce of so many: each part goes round twice."""
    return 2 * (workers - 1) * size // workers


METHODS = {'gloo-f32': Float32, 'gloo-f16': Float16, 'gloo-i8': Int8Signs, 'gloo-1bit': PackedSigns,
           'ddp-f32': exchange_ddp.Float32, 'ddp-powersgd': exchange_ddp.PowerSGD}


def interface_bytes(name):
    """(sent, received) of a network interface of this host, which only this rank uses."""
    folder = Path('/sys/class/net') / name / 'statistics'
    return [int((folder / f'{way}_bytes').read_text()) for way in ('tx', 'rx')]


def time_exchange(method, rounds):
    """Seconds of each exchange, and CPU seconds in all of them (of this process, Gloo's threads and system calls included)."""
    seconds, cpu = [], 0.0
    for _ in range(rounds):
        method.prepare()
        dist.barrier()
        start, cpu_start = time.perf_counter(), time.process_time()
        passed = method.exchange()
        seconds.append(passed or time.perf_counter() - start)
        cpu += time.process_time() - cpu_start
    return seconds, cpu


def time_steps(method, rounds):
    """Seconds from the end of one round to the end of the next, and CPU seconds in all of them."""
    dist.barrier()
    seconds, cpu_start, last = [], time.process_time(), time.perf_counter()
    for _ in range(rounds):
        method.step()
        now = time.perf_counter()
        seconds.append(now - last)
        last = now
    return seconds, time.process_time() - cpu_start


def measure(options):
    method = METHODS[options.method](options.params, options.workers)
    timed = time_steps if options.compute == 'on' else time_exchange
    timed(method, max(options.warm, exchange_ddp.WARM if options.method.startswith('ddp') else 1))
    before = interface_bytes(options.interface) if options.interface else None
    seconds, cpu = timed(method, options.rounds)
    counted = None
    if before:
        counted = [(b - a) / options.rounds for a, b in zip(before, interface_bytes(options.interface))]
    return {'seconds': seconds, 'cpu': cpu / options.rounds, 'bytes': [method.payload()] * 2, 'counted': counted}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('method', choices=METHODS)
    for name in ('--rank', '--workers', '--params'):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument('--master', required=True)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--warm', type=int, default=2)
    parser.add_argument('--compute', choices=('on', 'off'), default='off')
    parser.add_argument('--interface', default='')
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(1 + options.rank)
    dist.init_process_group('gloo', init_method=f'tcp://{options.master}', rank=options.rank, world_size=options.workers,
                            timeout=datetime.timedelta(minutes=10))
    print(json.dumps(measure(options)), flush=True)
    dist.barrier()
    os._exit(0)  # in an ordinary exit, Gloo's threads now and then abort the process


if __name__ == '__main__':
    main()
