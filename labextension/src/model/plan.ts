/** Widths of a plan: what they cost, what they are forecast to lose, and how a budget becomes widths. */

import { IBlock, IModel } from '../kernel/messages';
import { own } from './lookup';

export type Width = number | 'polylog';
export type Widths = { [block: string]: Width };

/** Width and predicted relative error, by rising width. */
export type Curve = readonly (readonly [number, number])[];
export type Curves = { [block: string]: Curve };

export interface ITotals {
  parametersBefore: number;
  parametersAfter: number;
  bytesBefore: number;
  bytesAfter: number;
  macsBefore: number | null;
  macsAfter: number | null;
  error: number | null;
}

/** The number of neurons that a width stands for, never above the present one. */
export function neurons(block: IBlock, width: Width): number {
  const count = width === 'polylog' ? (block.polylog ?? block.width) : width;
  return Math.max(1, Math.min(block.width, Math.round(count)));
}

/** A neuron carries `dimension` parameters; what is left does not depend on the width. */
export function parametersAt(block: IBlock, width: Width): number {
  return block.parameters - (block.width - neurons(block, width)) * block.dimension;
}

/** Predicted relative error at a width: straight between known points, on logarithmic axes. */
export function errorAt(block: IBlock, width: Width, curve: Curve | undefined): number | null {
  const count = neurons(block, width);
  if (count >= block.width) {
    return 0;
  }
  if (curve === undefined || curve.length === 0) {
    return null;
  }
  const after = curve.findIndex(([known]) => known >= count);
  if (after === 0 || after === -1) {
    return curve[after === 0 ? 0 : curve.length - 1][1];
  }
  const [low, lowError] = curve[after - 1];
  const [high, highError] = curve[after];
  const share = Math.log(count / low) / Math.log(high / low);
  if (lowError <= 0 || highError <= 0) {
    return lowError + share * (highError - lowError);
  }
  return Math.exp((1 - share) * Math.log(lowError) + share * Math.log(highError));
}

/** Sums over a model; the errors of several blocks add up, at the worst. */
export function totals(model: IModel, widths: Widths, curves: Curves): ITotals {
  const blocks = model.blocks ?? [];
  const chosen = blocks.flatMap(block => {
    const width = block.locked === null ? own(widths, block.name) : undefined;
    return width === undefined ? [] : [{ block, width }];
  });
  const saved = chosen.reduce(
    (sum, { block, width }) => sum + block.parameters - parametersAt(block, width),
    0
  );
  const perParameter = model.parameters > 0 ? model.bytes / model.parameters : 4;
  const known = blocks.length > 0 && blocks.every(block => block.macs !== null);
  const macsBefore = known ? blocks.reduce((sum, block) => sum + (block.macs ?? 0), 0) : null;
  const macsSaved = chosen.reduce(
    (sum, { block, width }) => sum + (block.macs ?? 0) * (1 - neurons(block, width) / block.width),
    0
  );
  const errors = chosen.map(({ block, width }) => errorAt(block, width, own(curves, block.name)));
  const predicted = errors.every(error => error !== null);
  return {
    parametersBefore: model.parameters,
    parametersAfter: model.parameters - saved,
    bytesBefore: model.bytes,
    bytesAfter: Math.round(model.bytes - saved * perParameter),
    macsBefore,
    macsAfter: macsBefore === null ? null : Math.round(macsBefore - macsSaved),
    error:
      chosen.length > 0 && predicted ? errors.reduce<number>((sum, error) => sum + (error ?? 0), 0) : null
  };
}

/** The widths that a slider stops at: every small one, then steps of about 4 percent. */
export function ladder(full: number): number[] {
  const widths: number[] = [];
  for (let width = 1; width < full; width = Math.max(width + 1, Math.round(width * 1.04))) {
    widths.push(width);
  }
  return [...widths, full];
}

/** The stop that is nearest to a width. */
export function stopOf(width: number, stops: number[]): number {
  const above = stops.findIndex(stop => stop >= width);
  return above > 0 && width - stops[above - 1] < stops[above] - width ? above - 1 : Math.max(0, above);
}

export interface IPlan {
  name: string;
  model: string;
  widths: Widths;
}

/** Rows of blocks against plans, for plans laid side by side. */
export function compare(plans: IPlan[]): { block: string; widths: (Width | null)[] }[] {
  const names = [...new Set(plans.flatMap(plan => Object.keys(plan.widths)))];
  return names.map(block => ({ block, widths: plans.map(plan => own(plan.widths, block) ?? null) }));
}

/** Keep what is a plan; notebooks are written by others too. */
export function readPlans(value: unknown): IPlan[] {
  if (!Array.isArray(value)) {
    return [];
  }
  return value.filter((plan: unknown): plan is IPlan => {
    const { name, model, widths } = (plan ?? {}) as Partial<IPlan>;
    return (
      typeof name === 'string' &&
      typeof model === 'string' &&
      typeof widths === 'object' &&
      widths !== null &&
      Object.values(widths).every(
        width => width === 'polylog' || (Number.isInteger(width) && (width as number) > 0)
      )
    );
  });
}
