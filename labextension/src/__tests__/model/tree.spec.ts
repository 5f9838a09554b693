import { IBlock } from '../../kernel/messages';
import { ISort, rowsOf } from '../../model/tree';
import { BLOCK } from '../fakes';

const block = (name: string, fields: Partial<IBlock> = {}): IBlock => ({ ...BLOCK, name, ...fields });
const BLOCKS = [
  block('encoder.layer.0.fc', { width: 10 }),
  block('encoder.layer.1.fc', { width: 30, locked: 'a mean over the units' }),
  block('head', { width: 20, kind: 'gated-mlp' })
];
const ORDER: ISort = { column: 'order', descending: false };
const view = (fields = {}): Parameters<typeof rowsOf>[1] => ({
  filter: '',
  sort: ORDER,
  collapsed: new Set<string>(),
  ...fields
});

it('groups along dotted paths and shortens chains of one', () => {
  const rows = rowsOf(BLOCKS, view(), {}, {});
  expect(rows.map(row => [row.label, row.level, row.position, row.siblings])).toEqual([
    ['encoder.layer', 1, 1, 2],
    ['0.fc', 2, 1, 2],
    ['1.fc', 2, 2, 2],
    ['head', 1, 2, 2]
  ]);
  expect(rows[0].open.map(entry => entry.name)).toEqual(['encoder.layer.0.fc']);
  expect(rows[1].parent).toBe(rows[0].key);
});

it('folds a group and keeps what it holds choosable', () => {
  const [group] = rowsOf(BLOCKS, view(), {}, {});
  const rows = rowsOf(BLOCKS, view({ collapsed: new Set([group.key]) }), {}, {});
  expect(rows.map(row => row.label)).toEqual(['encoder.layer', 'head']);
  expect(rows[0].expanded).toBe(false);
  expect(rows[0].open).toHaveLength(1);
});

it('filters by all words in name, kind and lock', () => {
  const names = (filter: string): string[] => rowsOf(BLOCKS, view({ filter }), {}, {}).map(row => row.key);
  expect(names('gated')).toEqual(['head']);
  expect(names('locked')).toEqual(['encoder.layer.1.fc']);
  expect(names('LAYER 0')).toEqual(['encoder.layer.0.fc']);
  expect(names('nothing')).toEqual([]);
});

it('sorts by number, and by name with numbers in them', () => {
  const by = (sort: ISort): number[] =>
    rowsOf(BLOCKS, view({ sort }), {}, {}).map(row => row.block?.width ?? 0);
  expect(by({ column: 'width', descending: true })).toEqual([30, 20, 10]);
  expect(by({ column: 'width', descending: false })).toEqual([10, 20, 30]);
  const many = [10, 9, 1].map(index => block(`l${index}`));
  const sort: ISort = { column: 'name', descending: false };
  expect(rowsOf(many, view({ sort }), {}, {}).map(row => row.key)).toEqual(['l1', 'l9', 'l10']);
});

it('gives every row a key of its own, also where a block is a group too', () => {
  const rows = rowsOf([block('a'), block('a.b'), block('a.b.c'), block('a.'), block('')], view(), {}, {});
  expect(new Set(rows.map(row => row.key)).size).toBe(rows.length);
});

it('makes rows of 5,000 blocks in a blink', () => {
  const many = Array.from({ length: 5000 }, (_, index) => block(`stage.${index % 50}.layer.${index}`));
  expect(rowsOf(many, view(), {}, {}).filter(row => row.block !== null)).toHaveLength(5000);
});
