import {
  Curves,
  IPlan,
  compare,
  errorAt,
  ladder,
  neurons,
  parametersAt,
  readPlans,
  stopOf,
  totals
} from '../../model/plan';
import { block, modelOf as model } from '../fakes';

it('a width is a whole number from 1 to the present one', () => {
  const wide = block('a', 100);
  expect([0, 1, 12.4, 100, 500].map(width => neurons(wide, width))).toEqual([1, 1, 12, 100, 100]);
  expect(neurons(wide, 'polylog')).toBe(40);
  expect(neurons(block('b', 30), 'polylog')).toBe(30);
});

it('each neuron that goes takes its numbers with it, a bias behind it stays', () => {
  expect(parametersAt(block('a', 100, { parameters: 1003 }), 40)).toBe(403);
});

it('errors follow the curve on logarithmic axes and vanish at the full width', () => {
  const curve = [
    [10, 0.1],
    [40, 0.001]
  ] as const;
  expect(errorAt(block('a', 100), 20, curve)).toBeCloseTo(0.01, 12);
  expect(errorAt(block('a', 100), 5, curve)).toBe(0.1);
  expect(errorAt(block('a', 100), 80, curve)).toBe(0.001);
  expect(errorAt(block('a', 100), 100, curve)).toBe(0);
  expect(errorAt(block('a', 100), 20, undefined)).toBeNull();
});

it('totals add what is saved, and the errors', () => {
  const curves: Curves = { a: [[10, 0.03]], b: [[10, 0.04]] };
  const sums = totals(model([block('a', 100), block('b', 100)]), { a: 10, b: 10 }, curves);
  expect(sums.parametersBefore - sums.parametersAfter).toBe(1800);
  expect(sums.bytesBefore - sums.bytesAfter).toBe(7200);
  expect(sums.macsAfter).toBe(180);
  expect(sums.error).toBeCloseTo(0.07, 12);
  expect(totals(model([block('a', 100)]), { a: 10 }, {}).error).toBeNull();
});

it('a slider stops at every small width and within 2 percent of any other', () => {
  const stops = ladder(4096);
  expect(stops.slice(0, 20)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  expect(stops[stops.length - 1]).toBe(4096);
  stops.forEach((width, index) => expect(stopOf(width, stops)).toBe(index));
  for (let width = 1; width <= 4096; width++) {
    expect(Math.abs(stops[stopOf(width, stops)] - width)).toBeLessThanOrEqual(width * 0.02 + 0.5);
  }
  expect(ladder(1)).toEqual([1]);
});

it('plans are laid side by side, and only plans are read from a notebook', () => {
  const plans: IPlan[] = [
    { name: 'one', model: 'net', widths: { a: 8 } },
    { name: 'two', model: 'net', widths: { b: 'polylog' } }
  ];
  expect(compare(plans)).toEqual([
    { block: 'a', widths: [8, null] },
    { block: 'b', widths: [null, 'polylog'] }
  ]);
  expect(readPlans([...plans, { name: 'x', model: 'net', widths: { a: 'rm' } }, null, 5])).toEqual(plans);
  expect(readPlans('none')).toEqual([]);
});
