/** How one rule or one budget becomes the widths of several blocks. */

import { IBlock, IModel } from '../kernel/messages';
import { own } from './lookup';
import { Curves, Widths, errorAt, ladder, neurons } from './plan';

export type Rule =
  | { kind: 'hand' }
  | { kind: 'polylog' }
  | { kind: 'smaller'; factor: number }
  | { kind: 'error'; percent: number };

/**
 * Widths of the chosen blocks under a rule; `null` if the rule needs what is not known, and as near as
 * the chosen blocks allow if they cannot reach it.
 */
export function widthsByRule(model: IModel, chosen: IBlock[], rule: Rule, curves: Curves): Widths | null {
  switch (rule.kind) {
    case 'hand':
      return null;
    case 'polylog':
      return Object.fromEntries(
        chosen.filter(block => block.polylog !== null).map(block => [block.name, 'polylog' as const])
      );
    case 'smaller':
      return smaller(model, chosen, rule.factor, curves);
    case 'error':
      return within(chosen, rule.percent / 100, curves);
  }
}

/** As many parameters fewer: by the predicted errors where all are known, else the same share of each block. */
function smaller(model: IModel, chosen: IBlock[], factor: number, curves: Curves): Widths {
  const movable = chosen.reduce((sum, block) => sum + block.width * block.dimension, 0);
  const budget = Math.max(0, movable - model.parameters * (1 - 1 / Math.max(1, factor)));
  const ladders = laddersOf(chosen, curves);
  if (ladders !== null) {
    return shared(ladders, ({ cost }) => cost <= budget, false);
  }
  const keep = movable > 0 ? budget / movable : 1;
  return Object.fromEntries(
    chosen.map(block => [block.name, neurons(block, Math.floor(block.width * keep))])
  );
}

/** As few parameters as the sum of the predicted errors allows. */
function within(chosen: IBlock[], error: number, curves: Curves): Widths | null {
  const ladders = laddersOf(chosen, curves);
  return ladders === null ? null : shared(ladders, sums => sums.error <= error, true);
}

/** A block's stops by rising width: what each costs and what is lost at it, from there on at most. */
interface ILadder {
  block: IBlock;
  stops: number[];
  costs: number[];
  errors: number[];
}

function laddersOf(chosen: IBlock[], curves: Curves): ILadder[] | null {
  if (chosen.length === 0 || chosen.some(({ name }) => (own(curves, name) ?? []).length === 0)) {
    return null;
  }
  return chosen.map(block => {
    const stops = ladder(block.width);
    const errors = stops.map(width => errorAt(block, width, own(curves, block.name)) ?? 1);
    for (let at = errors.length - 2; at >= 0; at--) {
      errors[at] = Math.max(errors[at], errors[at + 1]);
    }
    return { block, stops, costs: stops.map(width => width * block.dimension), errors };
  });
}

interface ISums {
  cost: number;
  error: number;
}

/** Whether so much cost and so much error is allowed. */
type Limit = (sums: ISums) => boolean;

/**
 * The stops that make `error + price * cost` least, at the price that just keeps the limit: for convex curves
 * no choice of the same cost has less error. What the limit still allows goes to one block after another.
 */
function shared(ladders: ILadder[], fits: Limit, cheaper: boolean): Widths {
  let [low, high] = [-40, 10];
  for (let round = 0; round < 50; round++) {
    const middle = (low + high) / 2;
    if (fits(sumsOf(ladders, atPrice(ladders, 10 ** middle))) === cheaper) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const chosen = filled(ladders, atPrice(ladders, 10 ** (cheaper ? low : high)), fits, cheaper ? -1 : 1);
  return Object.fromEntries(ladders.map(({ block, stops }, index) => [block.name, stops[chosen[index]]]));
}

function atPrice(ladders: ILadder[], price: number): number[] {
  return ladders.map(({ costs, errors }) => {
    let best = 0;
    for (let stop = 1; stop < costs.length; stop++) {
      if (errors[stop] + price * costs[stop] < errors[best] + price * costs[best]) {
        best = stop;
      }
    }
    return best;
  });
}

/** Move each block on, narrower or wider, as long as the limit is kept. */
function filled(ladders: ILadder[], start: number[], fits: Limit, step: 1 | -1): number[] {
  const sums = sumsOf(ladders, start);
  return ladders.map(({ costs, errors }, index) => {
    let stop = start[index];
    for (let next = stop + step; next >= 0 && next < costs.length; next += step) {
      const moved = {
        cost: sums.cost + costs[next] - costs[stop],
        error: sums.error + errors[next] - errors[stop]
      };
      if (!fits(moved)) {
        break;
      }
      Object.assign(sums, moved);
      stop = next;
    }
    return stop;
  });
}

function sumsOf(ladders: ILadder[], chosen: number[]): ISums {
  return ladders.reduce(
    (sums, { costs, errors }, index) => ({
      cost: sums.cost + costs[chosen[index]],
      error: sums.error + errors[chosen[index]]
    }),
    { cost: 0, error: 0 }
  );
}
