import { IValue } from '../../kernel/messages';
import { DATA, INPUT_HINTS, pairs, pick } from '../../model/values';

const value = (name: string, shape: number[], kind = 'tensor'): IValue => ({
  name,
  kind,
  shape,
  dtype: 'float32'
});

it('inputs and targets are paired by their names where both have as many rows', () => {
  const values = [
    value('x_train', [600, 64]),
    value('y_train', [600]),
    value('x_test', [100, 64]),
    value('y_test', [99]),
    value('images', [5, 3]),
    value('labels', [5])
  ];
  expect(pairs(values).map(({ name, shape }) => [name, shape])).toEqual([
    ['x_train, y_train', [600]],
    ['images, labels', [5]]
  ]);
});

it('what was chosen is taken while it lives, then what is named for it, then anything with rows and columns', () => {
  const values = [value('scale', [3]), value('w', [3, 4]), value('x_train', [5, 4]), value('calib', [5, 4])];
  expect(pick(values, DATA, 'w', INPUT_HINTS)).toBe('w');
  expect(pick(values, DATA, 'gone', INPUT_HINTS)).toBe('calib');
  expect(pick(values.slice(0, 3), DATA, '', INPUT_HINTS)).toBe('x_train');
  expect(pick(values.slice(0, 2), DATA, '', INPUT_HINTS)).toBe('w');
  expect(pick(values.slice(0, 1), DATA, '', INPUT_HINTS)).toBe('');
  expect(pick(values, ['batches'], 'w', INPUT_HINTS)).toBe('');
});
