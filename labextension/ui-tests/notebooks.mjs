/** The notebooks that the tests open. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './server.mjs';

/** The first demo notebook up to where its story leaves the network trained. */
export function digits() {
  const path = join(ROOT, 'demo_notebooks', '01-compress-a-network.ipynb');
  const { cells } = JSON.parse(readFileSync(path, 'utf8'));
  const code = cells.filter(cell => cell.cell_type === 'code').map(cell => [cell.source].flat().join(''));
  const end = code.findIndex(source => source.includes('find_blocks'));
  if (end < 1) {
    throw new Error(`${path} does not tell its story as it did; adapt this test`);
  }
  return code.slice(0, end);
}

export const SMALL = [
  `import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(16, 256), nn.ReLU(), nn.Linear(256, 4))
x_train, x_test = (torch.randn(400, 2) @ torch.randn(2, 16)).split([300, 100])
y_train, y_test = torch.randint(0, 4, (300,)), torch.randint(0, 4, (100,))`
];

/** Two blocks of unlike difficulty, for plans and budgets. */
export const TWO = [
  `import torch
from torch import nn
torch.manual_seed(0)
pair = nn.Sequential(nn.Linear(16, 256), nn.ReLU(), nn.Linear(256, 8), nn.Tanh(), nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 4))
x_train = torch.randn(600, 2) @ torch.randn(2, 16)`
];

export const ATTENTION = [
  `import torch
from torch import nn
torch.manual_seed(0)
encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 1)
x_train = torch.randn(200, 5, 32)`
];

export const DEEP = [
  `import torch
from torch import nn
torch.manual_seed(0)
class Stage(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Linear(4, 16), nn.Linear(16, 4)
    def forward(self, x):
        return x + self.narrow(torch.relu(self.wide(x)))
deep = nn.Sequential(*(Stage() for _ in range(1000)))
x = torch.randn(64, 4)`,
  `from jlab_compress.inspection.block import Block, Blocks
deep_blocks = Blocks(
    Block(f'{i}.wide', 'mlp', (), 16, 9, 144, None, macs=128) for i in range(1000)
)`
];

export const HOSTILE = [
  `import torch
from torch import nn
names = ['<img src=x onerror="hit=1">', '"); hit=1; ("', 'line\\nbreak', '\\u202eevil', '模型 Größe', 'x' * 10000]
net = nn.Sequential()
for name in names:
    net.add_module(name, nn.Linear(4, 16))
    net.add_module(name + '!', nn.ReLU())
    net.add_module(name + '?', nn.Linear(16, 4))
net.__class__ = type('<script>hit=1</script>', (nn.Sequential,), {})
x = torch.randn(64, 4)`
];

/** A kernel in which the package was never installed. */
export const HIDDEN_PACKAGE = `import sys
class Hidden:
    @staticmethod
    def find_spec(name, *_):
        if name.split('.')[0] == 'jlab_compress':
            raise ModuleNotFoundError(f"No module named {name!r}")
for name in [name for name in sys.modules if name.startswith('jlab_compress')]:
    del sys.modules[name]
sys.meta_path.insert(0, Hidden)`;
