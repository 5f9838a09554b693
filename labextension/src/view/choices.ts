/** What the person chose in the panel: one plain value and the one function that changes it. */

import { Rule } from '../model/budget';
import { Precision, Preserve, Target } from '../python/cells';
import { IDefaults } from '../host';
import { IBlock, IModel } from '../kernel/messages';
import { Width, Widths, neurons } from '../model/plan';
import { Column, ISort } from '../model/tree';

export type StepName = 'compress' | 'validate' | 'export';

export interface IChoices {
  model: string;
  widths: { [model: string]: Widths };
  rule: Rule;
  filter: string;
  sort: ISort;
  collapsed: string[];
  /** The row that the keyboard and the width editor are at. */
  active: string;
  step: StepName;
  calibration: string;
  preserve: Preserve;
  batches: string;
  loss: string;
  optimizer: 'SGD' | 'Adam' | 'AdamW';
  rate: number;
  steps: number | null;
  heldOut: string;
  slim: string;
  example: string;
  target: Target | null;
  precision: Precision;
  path: string;
  replace: boolean;
}

export const FIRST: IChoices = {
  model: '',
  widths: {},
  rule: { kind: 'hand' },
  filter: '',
  sort: { column: 'order', descending: false },
  collapsed: [],
  active: '',
  step: 'compress',
  calibration: '',
  preserve: 'dynamics',
  batches: '',
  loss: 'cross_entropy',
  optimizer: 'SGD',
  rate: 0.05,
  steps: null,
  heldOut: '',
  slim: '',
  example: '',
  target: null,
  precision: 'float32',
  path: '',
  replace: false
};

export type Change =
  | { type: 'set'; fields: Partial<IChoices> }
  | { type: 'sort'; column: Column }
  | { type: 'toggle-group'; key: string }
  | { type: 'choose'; model: string; blocks: IBlock[]; chosen: boolean; width: IDefaults['width'] }
  | { type: 'width'; model: string; block: string; width: Width }
  | { type: 'widths'; model: string; widths: Widths };

export function change(choices: IChoices, by: Change): IChoices {
  switch (by.type) {
    case 'set':
      return { ...choices, ...by.fields };
    case 'sort': {
      const same = choices.sort.column === by.column;
      if (same && choices.sort.descending === firstDescending(by.column)) {
        return { ...choices, sort: { column: by.column, descending: !choices.sort.descending } };
      }
      const column = same ? 'order' : by.column;
      return { ...choices, sort: { column, descending: !same && firstDescending(by.column) } };
    }
    case 'toggle-group': {
      const collapsed = choices.collapsed.filter(key => key !== by.key);
      return {
        ...choices,
        collapsed: collapsed.length < choices.collapsed.length ? collapsed : [...collapsed, by.key]
      };
    }
    case 'choose': {
      const widths = { ...choices.widths[by.model] };
      for (const block of by.blocks) {
        if (!by.chosen) {
          delete widths[block.name];
        } else if (widths[block.name] === undefined) {
          widths[block.name] = firstWidth(block, by.width);
        }
      }
      return { ...choices, widths: { ...choices.widths, [by.model]: widths } };
    }
    case 'width': {
      const widths = { ...choices.widths[by.model], [by.block]: by.width };
      return { ...choices, rule: { kind: 'hand' }, widths: { ...choices.widths, [by.model]: widths } };
    }
    case 'widths':
      return { ...choices, widths: { ...choices.widths, [by.model]: by.widths } };
  }
}

/** Names sort from A, sizes from the greatest. */
function firstDescending(column: Column): boolean {
  return column !== 'order' && column !== 'name' && column !== 'kind';
}

function firstWidth(block: IBlock, rule: Width): Width {
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
  if (typeof value !== 'object' || value === null) {
    return FIRST;
  }
  const given = value as { [key: string]: unknown };
  const same = Object.entries(FIRST).filter(
    ([key, first]) => key in given && (first === null || typeof given[key] === typeof first)
  );
  return { ...FIRST, ...Object.fromEntries(same.map(([key]) => [key, given[key]])) };
}
