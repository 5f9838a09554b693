import { widthsByRule } from '../../model/budget';
import { Curves, errorAt, totals } from '../../model/plan';
import { block, modelOf as model } from '../fakes';

it('a budget of parameters is met by one common factor, or as near as the chosen blocks allow', () => {
  const blocks = [block('a', 1000), block('b', 500)];
  const whole = model(blocks);
  const widths = widthsByRule(whole, blocks, { kind: 'smaller', factor: 4 }, {});
  expect(widths).not.toBeNull();
  expect(totals(whole, widths ?? {}, {}).parametersAfter).toBeLessThanOrEqual(whole.parameters / 4);
  expect(Number(widths?.a) / Number(widths?.b)).toBeCloseTo(2, 1);
  expect(widthsByRule(whole, [blocks[1]], { kind: 'smaller', factor: 100 }, {})).toEqual({ b: 1 });
});

it('a budget of error takes the smallest widths that keep it, and needs the curves', () => {
  const blocks = [block('a', 100)];
  const curves: Curves = {
    a: [
      [10, 0.1],
      [40, 0.001]
    ]
  };
  const rule = { kind: 'error', percent: 1.001 } as const;
  expect(widthsByRule(model(blocks), blocks, rule, {})).toBeNull();
  const widths = widthsByRule(model(blocks), blocks, rule, curves);
  expect(widths).toEqual({ a: 20 });
  expect(errorAt(blocks[0], 19, curves.a)).toBeGreaterThan(0.01);
});

const power = (factor: number): [number, number][] =>
  [1, 10, 100, 1000].map(width => [width, factor / width]);

it('with the curves known, a budget leaves more neurons where more would be lost', () => {
  const blocks = [block('a', 1000), block('b', 1000), block('c', 500)];
  const curves: Curves = { a: power(1), b: power(9), c: power(4) };
  const whole = model(blocks);
  const widths = widthsByRule(whole, blocks, { kind: 'smaller', factor: 4 }, curves) ?? {};
  const even = widthsByRule(whole, blocks, { kind: 'smaller', factor: 4 }, {}) ?? {};
  const [sums, flat] = [totals(whole, widths, curves), totals(whole, even, curves)];
  expect(sums.parametersAfter).toBeLessThanOrEqual(whole.parameters / 4);
  expect(sums.parametersAfter).toBeGreaterThan(0.95 * (whole.parameters / 4));
  expect(sums.error).toBeLessThan(0.9 * (flat.error ?? 0));
  expect(Number(widths.b)).toBeGreaterThan(2 * Number(widths.a));
});

it('a budget of error over several blocks keeps their sum, with fewer neurons than equal shares', () => {
  const blocks = [block('a', 1000), block('b', 1000)];
  const curves: Curves = { a: power(1), b: power(9) };
  const widths = widthsByRule(model(blocks), blocks, { kind: 'error', percent: 5 }, curves) ?? {};
  const errors = blocks.map(entry => errorAt(entry, widths[entry.name], curves[entry.name]) ?? 1);
  expect(errors[0] + errors[1]).toBeLessThanOrEqual(0.05);
  expect(errors[0] + errors[1]).toBeGreaterThan(0.045);
  expect(Number(widths.a) + Number(widths.b)).toBeLessThan(1 / 0.025 + 9 / 0.025);
});

it('a thousand blocks are shared out within a frame or two', () => {
  const blocks = Array.from({ length: 1000 }, (_, index) => block(`b${index}`, 512));
  const curves: Curves = Object.fromEntries(blocks.map(({ name }, index) => [name, power(1 + (index % 7))]));
  const widths = widthsByRule(model(blocks), blocks, { kind: 'smaller', factor: 8 }, curves);
  expect(Object.keys(widths ?? {})).toHaveLength(1000);
});
