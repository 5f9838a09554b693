import { FIRST, change, fitting, recalled } from '../../view/choices';
import { BLOCK, NET } from '../fakes';

const choose = {
  type: 'choose' as const,
  model: 'net',
  blocks: [BLOCK],
  width: 1 / 16
};

it('a chosen block starts at the width of the settings and keeps the one that it has', () => {
  const chosen = change(FIRST, { ...choose, chosen: true });
  expect(chosen.widths.net).toEqual({ '0': 64 });
  const set = change(chosen, { type: 'width', model: 'net', block: '0', width: 7 });
  expect(change(set, { ...choose, chosen: true }).widths.net).toEqual({ '0': 7 });
  expect(change(set, { ...choose, chosen: false }).widths.net).toEqual({});
  expect(change(FIRST, { ...choose, chosen: true, width: 'polylog' }).widths.net).toEqual({ '0': 'polylog' });
  expect(change(FIRST, { ...choose, chosen: true, width: 5000 }).widths.net).toEqual({ '0': 1024 });
});

it('a column sorts one way, the other way, and not at all', () => {
  const once = change(FIRST, { type: 'sort', column: 'width' });
  const twice = change(once, { type: 'sort', column: 'width' });
  const thrice = change(twice, { type: 'sort', column: 'width' });
  expect([once, twice, thrice].map(({ sort }) => [sort.column, sort.descending])).toEqual([
    ['width', true],
    ['width', false],
    ['order', false]
  ]);
});

it('widths that no longer fit the model are left out', () => {
  expect(fitting(NET, { '0': 5000, gone: 3 })).toEqual({ '0': 1024 });
  expect(fitting({ ...NET, blocks: [{ ...BLOCK, locked: 'why' }] }, { '0': 5 })).toEqual({});
});

it('takes from memory only what has the right type', () => {
  expect(recalled({ step: 'export', filter: 5, unknown: 1 })).toEqual({ ...FIRST, step: 'export' });
  expect(recalled('x')).toEqual(FIRST);
});
