/** What the person chose in the panel: one plain value for each form, and the functions that change them. */

import { IDefaults } from '../../host';
import { IBlock, IModel, isRecord } from '../../kernel/messages';
import { Rule } from '../../model/budget';
import { own } from '../../model/lookup';
import { Width, Widths, neurons } from '../../model/plan';
import { Column, ISort } from '../../model/tree';
import { LOSSES, choicesOf, fieldOf } from '../../python/actions';

export type StepName = 'compress' | 'validate' | 'export';

/** What is shown of which model. */
export interface ILook {
  model: string;
  /** The row that the keyboard and the width editor are at. */
  active: string;
  filter: string;
  sort: ISort;
  collapsed: string[];
}

export interface IPlanned {
  widths: { [model: string]: Widths };
  rule: Rule;
}

export interface IChoices {
  look: ILook;
  plan: IPlanned;
  flow: { step: StepName; slim: string };
  compress: { calibration: string; preserve: string };
  validate: {
    batches: string;
    heldOut: string;
    loss: string;
    optimizer: string;
    rate: number;
    steps: number | null;
  };
  export: { example: string; target: string | null; precision: string; path: string; overwrite: boolean };
}

const [[FIRST_OPTIMIZER]] = choicesOf('validate', 'optimizer');

export const FIRST: IChoices = {
  look: { model: '', active: '', filter: '', sort: { column: 'order', descending: false }, collapsed: [] },
  plan: { widths: {}, rule: { kind: 'hand' } },
  flow: { step: 'compress', slim: '' },
  compress: { calibration: '', preserve: String(fieldOf('run', 'preserve').default) },
  validate: {
    batches: '',
    heldOut: '',
    loss: LOSSES[0],
    optimizer: FIRST_OPTIMIZER,
    rate: 0.05,
    steps: null
  },
  export: {
    example: '',
    target: null,
    precision: String(fieldOf('export', 'precision').default),
    path: '',
    overwrite: false
  }
};

/** Sort by a column, then the other way, then by the model's own order again. */
export function sortedBy(look: ILook, column: Column): ILook {
  const first = firstDescending(column);
  if (look.sort.column !== column) {
    return { ...look, sort: { column, descending: first } };
  }
  const sort: ISort =
    look.sort.descending === first ? { column, descending: !first } : { column: 'order', descending: false };
  return { ...look, sort };
}

/** Names sort from A, sizes from the greatest. */
function firstDescending(column: Column): boolean {
  return column !== 'order' && column !== 'name' && column !== 'kind';
}

/** Fold a group of rows that is open, open one that is folded. */
export function toggled(look: ILook, group: string): ILook {
  const others = look.collapsed.filter(key => key !== group);
  return { ...look, collapsed: others.length < look.collapsed.length ? others : [...others, group] };
}

/** Take blocks into the plan, each at a first width unless it has one. */
export function withBlocks(plan: IPlanned, model: string, blocks: IBlock[], first: Width): IPlanned {
  const before = own(plan.widths, model);
  const taken = blocks.map(
    block => [block.name, own(before, block.name) ?? firstWidth(block, first)] as const
  );
  return withWidths(plan, model, { ...before, ...Object.fromEntries(taken) });
}

export function withoutBlocks(plan: IPlanned, model: string, blocks: IBlock[]): IPlanned {
  const gone = new Set(blocks.map(block => block.name));
  const kept = Object.entries(own(plan.widths, model) ?? {}).filter(([name]) => !gone.has(name));
  return withWidths(plan, model, Object.fromEntries(kept));
}

/** Set one width by hand: no rule holds for all blocks any more. */
export function withWidth(plan: IPlanned, model: string, block: string, width: Width): IPlanned {
  const widths = { ...own(plan.widths, model), [block]: width };
  return { ...withWidths(plan, model, widths), rule: { kind: 'hand' } };
}

export function withWidths(plan: IPlanned, model: string, widths: Widths): IPlanned {
  return { ...plan, widths: { ...plan.widths, [model]: widths } };
}

function firstWidth(block: IBlock, rule: IDefaults['width']): Width {
  if (rule === 'polylog' && block.polylog !== null) {
    return rule;
  }
  const width = rule === 'polylog' ? 1 / 4 : rule;
  return neurons(block, width < 1 ? Math.ceil(block.width * width) : width);
}

/** The chosen widths that still fit the model: a plan outlives the cell that changes the model. */
export function fitting(model: IModel, widths: Widths | undefined): Widths {
  const open = new Map(
    (model.blocks ?? []).filter(block => block.locked === null).map(block => [block.name, block])
  );
  return Object.fromEntries(
    Object.entries(widths ?? {}).flatMap(([name, width]) => {
      const block = open.get(name);
      return block === undefined
        ? []
        : [[name, width === 'polylog' ? width : neurons(block, width)] as const];
    })
  );
}

/** Keep of a remembered value what has the right type. */
export function recalled(value: unknown): IChoices {
  const given = isRecord(value) ? value : {};
  return {
    look: kept(FIRST.look, given.look),
    plan: kept(FIRST.plan, given.plan),
    flow: kept(FIRST.flow, given.flow),
    compress: kept(FIRST.compress, given.compress),
    validate: kept(FIRST.validate, given.validate),
    export: kept(FIRST.export, given.export)
  };
}

function kept<T extends object>(first: T, given: unknown): T {
  if (!isRecord(given)) {
    return first;
  }
  const same = Object.entries(first).filter(
    ([key, value]) => key in given && (value === null || typeof given[key] === typeof value)
  );
  return { ...first, ...Object.fromEntries(same.map(([key]) => [key, given[key]])) };
}
