"""The models of signpost-worker in plain torch.nn, by the names of worker/train/model.h. What is free in a model, such as
the sizes of layers, comes from the layout that model_step prints; the rest stands here once more, from the definitions."""
import torch
from torch import nn


class Dense(nn.Module):
    """softmax and mlp: dense1, dense2, ..., with ReLU between."""

    def __init__(self, shapes):
        super().__init__()
        self.count = len(shapes)
        self.relu = nn.ReLU()
        for i, (outputs, inputs) in enumerate(shapes, 1):
            self.add_module(f'dense{i}', nn.Linear(inputs, outputs))

    def forward(self, x):
        x = x.flatten(1)
        for i in range(1, self.count):
            x = self.relu(getattr(self, f'dense{i}')(x))
        return getattr(self, f'dense{self.count}')(x)


class Lenet(Dense):
    """Two convolutions with ReLU and max-pooling before the linear layers."""

    def __init__(self, convolutions, denses):
        super().__init__(denses)
        (out1, in1, *kernel1), (out2, in2, *kernel2) = convolutions
        self.conv1 = nn.Conv2d(in1, out1, kernel1)
        self.conv2 = nn.Conv2d(in2, out2, kernel2)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x = self.pool(self.relu(self.conv1(x)))
        return super().forward(self.pool(self.relu(self.conv2(x))))


class Block(nn.Module):
    """K. He et al., 'Deep residual learning for image recognition', CVPR 2016: two 3x3 convolutions and a way around."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Resnet18(nn.Module):
    """The same, with a 3x3 stem and no pooling after it; the names are torchvision's."""

    def __init__(self, channels, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        inputs = width
        for i, stride in enumerate((1, 2, 2, 2)):
            outputs = width << i
            self.add_module(f'layer{i + 1}', nn.Sequential(Block(inputs, outputs, stride), Block(outputs, outputs, 1)))
            inputs = outputs
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.pool(x).flatten(1))


def make(kind, layout):
    """`layout` is what step.layout() gives: (name, trained, shape) of each tensor."""
    shapes = {name: shape for name, _, shape in layout}
    denses = [shapes[f'dense{i}.weight'] for i in range(1, len(shapes) + 1) if f'dense{i}.weight' in shapes]
    if kind in ('softmax', 'mlp'):
        return Dense(denses)
    if kind == 'lenet':
        return Lenet([shapes['conv1.weight'], shapes['conv2.weight']], denses)
    width, channels, _, _ = shapes['conv1.weight']
    return Resnet18(channels, width, shapes['fc.weight'][0])
