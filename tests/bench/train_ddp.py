"""One rank of PyTorch DDP that trains the MLP of configs/mnist-mlp.yaml until a test accuracy; see to_accuracy.sh.

Prints, on rank 0, a line of JSON: seconds of training (evaluations are not counted), rounds, accuracy.
"""
import argparse
import datetime
import gzip
import json
import math
import struct
import time
from pathlib import Path

import numpy
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel


def read_idx(path):
    with gzip.open(path) as file:
        data = file.read()
    dims = data[3]
    shape = struct.unpack(f'>{dims}I', data[4:4 + 4 * dims])
    return numpy.frombuffer(data, numpy.uint8, offset=4 + 4 * dims).reshape(shape)


def load(folder, what):
    images = torch.from_numpy(read_idx(folder / f'{what}-images-idx3-ubyte.gz').copy()).reshape(-1, 784).float()
    labels = torch.from_numpy(read_idx(folder / f'{what}-labels-idx1-ubyte.gz').copy()).long()
    return (images / 255 - 0.1307) / 0.3081, labels


def make_model(hook):
    layers, inputs = [], 784
    for outputs in (256, 128, 10):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        inputs = outputs
    bare = torch.nn.Sequential(*layers[:-1])
    if hook == 'powersgd':  # one bucket: its waits inside Gloo's threads hang with two under way
        dist._DEFAULT_FIRST_BUCKET_BYTES = 4 * sum(p.numel() for p in bare.parameters()) + 2**20
    model = DistributedDataParallel(bare, gradient_as_bucket_view=True)
    if hook == 'f16':
        model.register_comm_hook(None, default_hooks.fp16_compress_hook)
    elif hook == 'powersgd':
        model.register_comm_hook(powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=1, start_powerSGD_iter=2),
                                 powerSGD_hook.powerSGD_hook)
    return bare, model


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


def train(args, rank):
    images, labels = load(args.data, 'train')
    test = load(args.data, 't10k') if rank == 0 else None
    torch.manual_seed(args.seed)
    bare, model = make_model(args.hook)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(args.seed))
    rounds_an_epoch = math.ceil(len(images) / (args.batch * args.workers))
    seconds, done, reached = 0.0, 0, torch.zeros(1)
    while done < args.rounds and not reached.item():
        dist.barrier()
        began = time.perf_counter()
        for _ in range(args.every):
            at = done % rounds_an_epoch
            if at == 0 and done > 0:
                order = torch.randperm(len(images), generator=torch.Generator().manual_seed(args.seed + done))
            mine = order[(at * args.workers + rank) * args.batch:(at * args.workers + rank + 1) * args.batch]
            optimizer.param_groups[0]['lr'] = args.lr * (1 - done / args.rounds)
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(images[mine]), labels[mine]).backward()
            optimizer.step()
            done += 1
        dist.barrier()
        seconds += time.perf_counter() - began
        if rank == 0:
            found = accuracy(bare, *test)
            reached[0] = found >= args.accuracy
        dist.broadcast(reached, 0)
    if rank == 0:
        print(json.dumps({'seconds': seconds, 'rounds': done, 'accuracy': found, 'reached': bool(reached.item())}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--hook', choices=('f32', 'f16', 'powersgd'), required=True)
    parser.add_argument('--rank', type=int, required=True)
    parser.add_argument('--master', required=True)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--workers', type=int, required=True)
    parser.add_argument('--batch', type=int, required=True)
    parser.add_argument('--lr', type=float, required=True)
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--accuracy', type=float, required=True)
    parser.add_argument('--every', type=int, required=True)
    parser.add_argument('--rounds', type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'tcp://{args.master}', rank=args.rank, world_size=args.workers,
                            timeout=datetime.timedelta(seconds=120))
    train(args, args.rank)
    dist.destroy_process_group()


if __name__ == '__main__':
    main()
