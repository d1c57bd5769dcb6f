"""Loss, every tensor's gradient, running statistics and the logits of an evaluation, beside PyTorch's."""
import os
import unittest

import need_torch  # noqa: F401
import reference

SLOW = os.environ.get('SP_TEST_SLOW') == '1'  # under sanitizers: the smaller cases


class Gradients(unittest.TestCase):
    def compare(self, *case, **options):
        """Signpost's float32 is held to torch's float64; torch's own float32 is shown beside it."""
        case = reference.Case(*case, **options)
        ours, single, double = case.results()
        ours, single = reference.distances(ours, double), reference.distances(single, double)
        (far, where), (torch_far, torch_where) = reference.worst(ours), reference.worst(single)
        print(f'  {case.name}: within {far:.1e} ({where}); torch float32 {torch_far:.1e} ({torch_where})', flush=True)
        wrong = {name: far for name, far in ours.items() if not far <= reference.TOLERANCE}
        self.assertEqual(wrong, {}, f'{case.name}: farther than {reference.TOLERANCE} from torch in float64')

    def test_softmax(self):
        self.compare('softmax', '', (1, 28, 28), 7)
        self.compare('softmax', '', (3, 5, 7), 32, classes=100, room=64)

    def test_mlp(self):
        self.compare('mlp', 'hidden=[256, 128]', (1, 28, 28), 32)
        self.compare('mlp', 'hidden=[256, 128]', (3, 32, 32), 7, classes=100, room=9)
        self.compare('mlp', 'hidden=[5]', (1, 8, 8), 1)

    def test_lenet(self):
        for shape in ((1, 28, 28), (3, 32, 32), (1, 29, 31)):
            for examples in (1, 2, 7):
                self.compare('lenet', '', shape, examples, room=7)
        self.compare('lenet', '', (1, 28, 28), 32, classes=100)

    def test_resnet18(self):
        """Odd sizes, where a stride of two leaves an edge over; one example, whose pixels alone make the statistics."""
        self.compare('resnet18', 'width=8', (3, 32, 32), 1)
        self.compare('resnet18', 'width=8', (3, 32, 32), 2, classes=100, room=3)
        self.compare('resnet18', 'width=8', (1, 28, 28), 7)
        self.compare('resnet18', 'width=8', (3, 13, 9), 2, room=7)
        self.compare('resnet18', 'width=16', (2, 9, 17), 7)
        self.compare('resnet18', 'width=8', (3, 16, 16), 32)

    @unittest.skipIf(SLOW, 'under sanitizers')
    def test_resnet18_large(self):
        self.compare('resnet18', 'width=8', (3, 32, 32), 32)
        self.compare('resnet18', 'width=16', (3, 32, 32), 7, classes=100)
        self.compare('resnet18', 'width=64', (3, 16, 16), 4)
        self.compare('resnet18', 'width=64', (1, 12, 12), 8)


if __name__ == '__main__':
    reference.main()
