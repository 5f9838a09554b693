import {
  FIRST,
  fitting,
  recalled,
  sortedBy,
  toggled,
  withBlocks,
  withWidth,
  withWidths,
  withoutBlocks
} from '../../../view/state/choices';
import { BLOCK, NET } from '../../fakes';

const { look, plan } = FIRST;

it('a chosen block starts at the width of the settings and keeps the one that it has', () => {
  const chosen = withBlocks(plan, 'net', [BLOCK], 1 / 16);
  expect(chosen.widths.net).toEqual({ '0': 64 });
  const set = withWidth(chosen, 'net', '0', 7);
  expect(withBlocks(set, 'net', [BLOCK], 1 / 16).widths.net).toEqual({ '0': 7 });
  expect(withoutBlocks(set, 'net', [BLOCK]).widths.net).toEqual({});
  expect(withBlocks(plan, 'net', [BLOCK], 'polylog').widths.net).toEqual({ '0': 'polylog' });
  expect(withBlocks(plan, 'net', [BLOCK], 5000).widths.net).toEqual({ '0': 1024 });
});

it('a block has no first width by the logarithm where it has none at all', () => {
  expect(withBlocks(plan, 'net', [{ ...BLOCK, polylog: null }], 'polylog').widths.net).toEqual({ '0': 256 });
});

it('a width that is set by hand ends the rule for all; the widths of other models stay', () => {
  const ruled = { widths: { net: { a: 1 }, other: { b: 2 } }, rule: { kind: 'polylog' } as const };
  expect(withWidth(ruled, 'net', 'a', 5)).toEqual({
    widths: { net: { a: 5 }, other: { b: 2 } },
    rule: { kind: 'hand' }
  });
  expect(withWidths(ruled, 'net', { c: 3 })).toEqual({
    widths: { net: { c: 3 }, other: { b: 2 } },
    rule: { kind: 'polylog' }
  });
});

it('a column sorts one way, the other way, and not at all', () => {
  const once = sortedBy(look, 'width');
  const twice = sortedBy(once, 'width');
  const thrice = sortedBy(twice, 'width');
  expect([once, twice, thrice].map(({ sort }) => [sort.column, sort.descending])).toEqual([
    ['width', true],
    ['width', false],
    ['order', false]
  ]);
  expect(sortedBy(once, 'name').sort).toEqual({ column: 'name', descending: false });
});

it('a group folds and opens again', () => {
  const folded = toggled(toggled(look, 'a'), 'b');
  expect(folded.collapsed).toEqual(['a', 'b']);
  expect(toggled(folded, 'a').collapsed).toEqual(['b']);
});

it('widths that no longer fit the model are left out', () => {
  expect(fitting(NET, { '0': 5000, gone: 3 })).toEqual({ '0': 1024 });
  expect(fitting({ ...NET, blocks: [{ ...BLOCK, locked: 'why' }] }, { '0': 5 })).toEqual({});
});

it('takes from memory only what has the right type', () => {
  const given = { flow: { step: 'export', slim: 5 }, look: { filter: 5, unknown: 1 }, plan: 'x', step: 'x' };
  expect(recalled(given)).toEqual({ ...FIRST, flow: { step: 'export', slim: '' } });
  expect(recalled('x')).toEqual(FIRST);
  expect(recalled(JSON.parse(JSON.stringify(FIRST)))).toEqual(FIRST);
});
