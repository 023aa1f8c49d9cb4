"""smile, converted from Caffe (deploy.prototxt, smile.caffemodel).

Input data: (1, 3, 20, 20)
Output prob: (1, 4)

Images: resized to 20x20, channels bgr, values 0..255, minus 104, 117, 123, times 0.015625.

    from safetensors.torch import load_file

    net = Smile().eval()
    net.load_state_dict(load_file("model.safetensors"))
"""

from torch import nn


class Smile(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)

        self.conv2 = nn.Conv2d(4, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.drop = nn.Dropout()
        self.pool_last = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 4)
        self.prob = nn.Softmax(dim=1)

    def forward(self, data):
        x = self.conv1(data)
        x = self.bn1(x)
        x = self.relu1(x)
        x = self.pool1(x)

        x = self.conv2(x)
        x = self.bn2(x)
        x = self.relu2(x)
        x = self.pool2(x)
        x = self.drop(x)
        x = self.pool_last(x)
        x = self.fc(x.flatten(1))
        x = self.prob(x)
        return x
