"""What both tests share: cases with random weights and data, the same steps in torch, and how two results are compared."""
import sys
import unittest

import numpy as np
import torch
from torch import nn

import models
import step

# Single precision against double: sums of some thousand terms err by 1e-6 relative, twenty layers of them by a few times
# that. A wrong index, sign, factor or epsilon shows as 1e-3 or more.
TOLERANCE = 1e-4

# Where ReLU or a maximum has a kink, rounding decides between two gradients that are both right, and no tolerance fits.
# So data are drawn until no value lies nearer to one, relative to its layer's root mean square.
KINK = 2e-6
DRAWS = 300


def random_state(tensors, generator):
    """Weights of the size that keeps activations in bounds; those of batch norm, and its statistics, far from trivial."""
    state = {}
    for name, _, shape in tensors:
        kind, values = name.rsplit('.', 1)[1], torch.randn(shape, generator=generator, dtype=torch.float64)
        if kind == 'weight' and len(shape) > 1:
            values *= (2.0 / np.prod(shape[1:])) ** 0.5
        elif kind == 'weight':
            values = torch.sign(values) * (0.5 + torch.rand(shape, generator=generator))
        elif kind == 'running_var':
            values = 0.5 + torch.rand(shape, generator=generator)
        else:
            values *= 0.3
        state[name] = values.float().numpy()
    return state


class Kinks:
    """While it is open, `nearest` is the least distance of any value from a kink of its layer."""

    def __init__(self, model):
        self.nearest = float('inf')
        self.hooks = [m.register_forward_hook(self.look) for m in model.modules() if isinstance(m, (nn.ReLU, nn.MaxPool2d))]

    def look(self, module, inputs, _):
        x = inputs[0].detach()
        size = x.square().mean().sqrt()
        if isinstance(module, nn.ReLU):
            gaps = x.abs()
        else:
            top = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2).topk(2).values
            gaps = (top[..., 0] - top[..., 1])[top[..., 0] > 0]  # of equal zeros ReLU passes nothing back
        if len(gaps) and size > 0:
            self.nearest = min(self.nearest, float(gaps.min() / size))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


class Torch:
    """A model in torch with a state of ours, which must have exactly the names and shapes that torch gives (but for the
    counters num_batches_tracked, which nothing reads, and which torch itself supplies where a file is older)."""

    def __init__(self, kind, tensors, state, dtype):
        self.tensors, self.dtype = tensors, dtype
        self.model = models.make(kind, tensors).to(dtype)
        self.model.load_state_dict({name: torch.tensor(values) for name, values in state.items()}, strict=True)

    def loss(self, x, labels):
        self.model.train()
        return nn.functional.cross_entropy(self.model(torch.tensor(x, dtype=self.dtype)), torch.tensor(labels))

    def step(self, x, labels, rate):
        self.model.zero_grad()
        loss = self.loss(x, labels)
        loss.backward()
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter -= rate * parameter.grad
        return float(loss.detach())

    def run(self, batches, rate=0.0):
        """As step.run()."""
        losses = np.array([self.step(x, labels, rate) for x, labels in batches])
        gradient = {name: p.grad.numpy() for name, p in self.model.named_parameters()}
        after = {name: self.model.state_dict()[name].numpy() for name, _, _ in self.tensors}
        self.model.eval()
        with torch.no_grad():
            logits = self.model(torch.tensor(batches[-1][0], dtype=self.dtype)).numpy()
        return losses, gradient, after, logits


class Case:
    """A model with random weights, and batches of random data that keep clear of kinks on the way of `rate`."""

    def __init__(self, kind, key, shape, examples, classes=10, room=0, batches=1, rate=0.0):
        self.name = f'{kind} {key} {"x".join(map(str, shape))}, batch {examples}'.replace('  ', ' ')
        self.kind, self.shape, self.examples, self.classes = kind, shape, examples, classes
        self.words = [f'model.type={kind}', f'shape={"x".join(map(str, shape))}', f'classes={classes}']
        self.words += [f'batch={examples}', f'room={room or examples}'] + ([f'model.{key}'] if key else [])
        self.tensors = step.layout(self.words)
        self.generator = torch.Generator().manual_seed(1)
        self.state = random_state(self.tensors, self.generator)
        self.batches = self.draw(batches, rate)

    def random_batch(self):
        x = torch.randn((self.examples, *self.shape), generator=self.generator)
        return x.numpy(), torch.randint(self.classes, (self.examples,), generator=self.generator).numpy()

    def draw(self, count, rate):
        for _ in range(DRAWS):
            batches = [self.random_batch() for _ in range(count)]
            double = Torch(self.kind, self.tensors, self.state, torch.float64)
            with Kinks(double.model) as kinks:
                if count == 1:
                    with torch.no_grad():
                        double.loss(*batches[0])
                else:
                    double.run(batches, rate)
            if kinks.nearest > KINK:
                return batches
        raise AssertionError(f'{self.name}: none of {DRAWS} draws keeps clear of kinks')

    def results(self, rate=0.0):
        """Of steps through the batches: Signpost's, and torch's in single and in double precision."""
        return [step.run(self.words, self.tensors, self.state, self.batches, rate)] + [
            Torch(self.kind, self.tensors, self.state, dtype).run(self.batches, rate) for dtype in (torch.float32, torch.float64)]


def distance(got, expected):
    """The larger of two: norm of the difference by the norm, and largest difference by the largest element."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if not np.isfinite(got).all() or got.shape != expected.shape:
        return float('inf')
    if not expected.any():
        return float('inf') if got.any() else 0.0
    return max(np.linalg.norm(got - expected) / np.linalg.norm(expected), np.abs(got - expected).max() / np.abs(expected).max())


def distances(got, expected):
    """{what: distance} of two results of run()."""
    out = {'loss': distance(got[0], expected[0]), 'logits': distance(got[3], expected[3])}
    out.update({f'gradient of {name}': distance(got[1][name], values) for name, values in expected[1].items()})
    out.update({name: distance(got[2][name], values) for name, values in expected[2].items()})
    return out


def worst(all_distances):
    """The largest distance, and of what it is."""
    name = max(all_distances, key=all_distances.get)
    return all_distances[name], name


def main():
    torch.set_num_threads(1)
    print(f'PyTorch {torch.__version__}, oneDNN {"on" if torch.backends.mkldnn.is_available() else "off"}', flush=True)
    unittest.main(module=sys.modules['__main__'], verbosity=2)
