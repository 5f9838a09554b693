/**
 * What a notebook can ask for, as Python lists it: functions, fields, choices with their words, defaults.
 *
 * `actions.json` is written by `jlab_compress/notebook/actions.py`; a new aim, target or argument there is in
 * the panel without a word here.
 */

import table from './actions.json';

export type ActionName = Exclude<keyof typeof table.actions, 'panel'>;

export interface IField {
  /** The parameter of the public function. */
  name: string;
  kind: string;
  required: boolean;
  default: string | number | boolean | null;
  help: string;
  choices: IChoice[];
  /** Whether a call may give it without its name. */
  positional: boolean;
}

export interface IChoice {
  value: string;
  label: string;
}

export interface IAction {
  /** The public function that does it. */
  function: string;
  /** What it makes of a model `net` is called `net_` and this. */
  makes: string;
  fields: IField[];
}

/** A file, or a folder that servers start on, as which a model leaves the notebook. */
export interface ITarget {
  name: string;
  label: string;
  function: string;
  /** The file or folder to propose, with `{model}` for the model's name. */
  usual: string;
  /** Which of the further arguments its function takes. */
  options: string[];
  folder: boolean;
}

export const ACTIONS: { [name in ActionName]: IAction } = table.actions;
export const TARGETS: ITarget[] = table.targets;
/** Rows that a cell cuts from a named tensor: for each batch, and for an example input. */
export const ROWS = table.rows;

export function fieldOf(action: ActionName, name: string): IField {
  const field = ACTIONS[action].fields.find(candidate => candidate.name === name);
  if (field === undefined) {
    throw new Error(`${ACTIONS[action].function} has no ${name}`);
  }
  return field;
}

/** Values of a choice and their words. */
export function choicesOf(action: ActionName, name: string): [string, string][] {
  return fieldOf(action, name).choices.map(({ value, label }) => [value, label]);
}

/** Losses of torch.nn.functional; any other one is a value of the notebook. */
export const LOSSES = choicesOf('validate', 'loss_fn').map(([value]) => value);

export function targetOf(name: string): ITarget {
  const target = TARGETS.find(candidate => candidate.name === name);
  if (target === undefined) {
    throw new Error(`nothing is written as ${name}`);
  }
  return target;
}

/** Where a model is usually written. */
export function usualPath(target: ITarget, model: string): string {
  return target.usual.replace('{model}', model);
}
