"""Some steps of plain gradient descent in float32, each on its own batch, beside the same in PyTorch."""
import unittest

import need_torch  # noqa: F401
import reference

STEPS = 5

# What a step leaves of rounding the next ones multiply, by the curvature of the loss.
TOLERANCE = 1e-3


def moved(result, start):
    """The result with how far each tensor has come in place of where it is, for what stayed must not hide it."""
    losses, gradient, after, logits = result
    return losses, gradient, {name: values.astype('f8') - start[name] for name, values in after.items()}, logits


class Training(unittest.TestCase):
    def compare(self, kind, key, shape, examples, rate):
        case = reference.Case(kind, key, shape, examples, batches=STEPS, rate=rate)
        ours, single, double = (moved(result, case.state) for result in case.results(rate))
        far, torch_far = reference.distances(ours, double), reference.distances(single, double)
        print(f'  {case.name}, {STEPS} steps: loss {", ".join(f"{loss:.3f}" for loss in ours[0])}', flush=True)
        print('    within {:.1e} ({})'.format(*reference.worst(far)), flush=True)
        print('    torch float32 {:.1e} ({})'.format(*reference.worst(torch_far)), flush=True)
        wrong = {name: d for name, d in far.items() if not d <= TOLERANCE}
        self.assertEqual(wrong, {}, f'{case.name}: farther than {TOLERANCE} from torch in float64 after {STEPS} steps')

    def test_dense(self):
        self.compare('softmax', '', (1, 8, 8), 16, 0.1)
        self.compare('mlp', 'hidden=[64, 32]', (1, 8, 8), 16, 0.1)

    def test_lenet(self):
        self.compare('lenet', '', (1, 28, 28), 4, 0.05)

    def test_resnet18(self):
        self.compare('resnet18', 'width=8', (3, 11, 8), 8, 0.02)


if __name__ == '__main__':
    reference.main()
