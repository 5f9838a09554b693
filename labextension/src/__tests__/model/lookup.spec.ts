import { IModel } from '../../kernel/messages';
import { widthsByRule } from '../../model/budget';
import { own } from '../../model/lookup';
import { Curve, compare, totals } from '../../model/plan';
import { rowsOf } from '../../model/tree';
import { FIRST, fitting, withBlocks, withWidth, withoutBlocks } from '../../view/state/choices';
import { block, modelOf } from '../fakes';

/** Names that every object of JavaScript knows, or that are no plain keys of one. */
const NAMES = ['constructor', 'hasOwnProperty', '__proto__', 'toString', 'valueOf'];
const SMALL = [
  [1, 0.5],
  [100, 0.001]
] as const as Curve;

it('finds what was put there and nothing else', () => {
  expect(own({ a: 1 }, 'a')).toBe(1);
  expect(own(undefined, 'a')).toBeUndefined();
  NAMES.forEach(name => {
    expect(own({}, name)).toBeUndefined();
    expect(own({ [name]: 1 }, name)).toBe(1);
  });
});

describe.each(NAMES)('a block called %s', name => {
  const [here, plain] = [block(name, 100), block('a', 100)];
  const model: IModel = modelOf([here, plain]);

  it('costs what another one costs', () => {
    expect(totals(model, {}, {})).toEqual(totals(modelOf([plain, block('b', 100)]), {}, {}));
    const [chosen, same] = [totals(model, { [name]: 10 }, {}), totals(model, { a: 10 }, {})];
    expect(chosen).toEqual(same);
    expect(chosen.parametersAfter).toBeLessThan(chosen.parametersBefore);
    expect(totals(model, { [name]: 10 }, { [name]: SMALL }).error).toBeGreaterThan(0.001);
  });

  it('is chosen, set and left out, also in a model of that name', () => {
    const plan = withBlocks(FIRST.plan, name, [here], 1 / 4);
    expect(Object.entries(own(plan.widths, name) ?? {})).toEqual([[name, 25]]);
    const set = withWidth(plan, name, name, 7);
    expect(Object.entries(fitting(model, own(set.widths, name)))).toEqual([[name, 7]]);
    expect(Object.entries(own(withBlocks(set, name, [here], 1 / 4).widths, name) ?? {})).toEqual([[name, 7]]);
    expect(Object.keys(own(withoutBlocks(set, name, [here]).widths, name) ?? { left: 1 })).toEqual([]);
  });

  it('is compared, sorted and given a width by a rule', () => {
    expect(compare([{ name: 'p', model: 'net', widths: { a: 3 } }])).toEqual([{ block: 'a', widths: [3] }]);
    expect(compare([{ name: 'p', model: 'net', widths: { [name]: 3 } }])[0].widths).toEqual([3]);
    const view = {
      filter: '',
      sort: { column: 'error' as const, descending: false },
      collapsed: new Set('')
    };
    const curves = { a: SMALL, [name]: SMALL };
    expect(rowsOf([here, plain], view, { [name]: 1, a: 50 }, curves).map(row => row.label)).toEqual([
      'a',
      name
    ]);
    const found = widthsByRule(model, [here, plain], { kind: 'error', percent: 50 }, curves) ?? {};
    expect(own(found, name)).toBe(found.a);
    expect(widthsByRule(model, [here, plain], { kind: 'error', percent: 50 }, { a: SMALL })).toBeNull();
  });
});
