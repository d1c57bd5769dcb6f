"""The methods of exchange_torch.py that are DistributedDataParallel's: its own all-reduce by buckets, and PowerSGD.

The module has its parameters in matrices of 1000 x 1000 (and what is left over), as large layers have them; its backward
pass hands over a gradient that is there already. 'Exchange' is the hook's time: from the first bucket that is ready (all
ranks wait for each other there) to the end of the backward pass, when the last one is.
"""
import math
import time

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

# DDP orders its buckets after the first round; PowerSGD begins in the third and makes its memory there.
WARM = 4
LARGEST_SIDE = 1000


def shapes(params):
    """Shapes of tensors with exactly so many elements: square matrices, a smaller one, a vector for the rest."""
    side = min(LARGEST_SIDE, math.isqrt(params))
    squares, rest = divmod(params, side * side)
    rows, last = divmod(rest, side)
    return [(side, side)] * squares + [(rows, side)] * (rows > 0) + [(last,)] * (last > 0)


class Given(torch.autograd.Function):
    """A loss of zero whose gradient is given."""

    @staticmethod
    def forward(ctx, parameter, gradient):
        ctx.gradient = gradient
        return parameter.new_zeros(())

    @staticmethod
    def backward(ctx, _):
        return ctx.gradient, None


class Layers(torch.nn.Module):
    def __init__(self, params):
        super().__init__()
        self.layers = torch.nn.ParameterList(torch.nn.Parameter(torch.zeros(shape)) for shape in shapes(params))
        self.gradients = [torch.randn(layer.shape) for layer in self.layers]

    def forward(self):
        return sum(Given.apply(layer, gradient) for layer, gradient in zip(self.layers, self.gradients))


class Float32:
    """DDP as it comes, by the hook that is the same as its own all-reduce."""

    bucket_mib = 25  # DDP's own choice

    def __init__(self, params, workers):
        self.workers, self.params, self.started = workers, params, None
        self.model = DistributedDataParallel(Layers(params), bucket_cap_mb=self.bucket_mib, gradient_as_bucket_view=True)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self.waits = False
        self.state, self.hook = self.make_hook()
        self.model.register_comm_hook(self.state, self.on_bucket)

    def make_hook(self):
        return None, default_hooks.allreduce_hook

    def on_bucket(self, state, bucket):
        if self.waits and self.started is None:
            dist.barrier()
            self.started = time.perf_counter()
        return self.hook(state, bucket)

    def prepare(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.started, self.waits = None, True

    def exchange(self):
        self.model().backward()
        return time.perf_counter() - self.started

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.model().backward()
        self.optimizer.step()

    def payload(self):
        return 2 * (self.workers - 1) * 4 * self.params // self.workers


class PowerSGD(Float32):
    """Rank 1 with error feedback and warm start, as torch has it by default.

    All tensors are one bucket: the hook waits inside Gloo's two threads, which hang with two buckets under way.
    """

    def __init__(self, params, workers):
        self.bucket_mib = 4 * params / 2**20 + 1
        dist._DEFAULT_FIRST_BUCKET_BYTES = 4 * params + 2**20
        super().__init__(params, workers)

    def make_hook(self):
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=1, start_powerSGD_iter=2)
        return state, powerSGD_hook.powerSGD_hook

    def payload(self):
        _, before, after = self.state.compression_stats()
        numbers = after * self.params // before
        return 2 * (self.workers - 1) * 4 * numbers // self.workers
