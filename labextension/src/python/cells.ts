/**
 * The cells that the panel writes, each the call of one public function.
 *
 * A cell and what the in-cell panel sends to Python are made of the same request, by the table of actions;
 * texts reach a cell only through the pieces of `literals.ts`.
 */

import { Width, Widths } from '../model/plan';
import { ACTIONS, ActionName, LOSSES, ROWS, fieldOf, targetOf } from './actions';
import { call, data, identifier, literal, numeral } from './literals';

/** A value of a form: a name or word, a number, a flag, names of blocks, or widths by block. */
export type Value = string | number | boolean | string[] | Widths;

/** By parameter of the public function. */
export interface IFields {
  [parameter: string]: Value;
}

/** One action on a model, after which what it makes is called. */
export interface IRequest {
  action: ActionName;
  model: string;
  fields: IFields;
}

/** What an action makes of a model, such as `net_sweep` or `net_slim`. */
export function nameOf(model: string, action: ActionName | 'slim'): string {
  return `${model}_${action === 'slim' ? action : ACTIONS[action].makes}`;
}

/** The request without what is not given or is the default anyway. */
export function requestOf(
  action: ActionName,
  model: string,
  fields: { [parameter: string]: Value | null }
): IRequest {
  const given = Object.entries(fields).filter(
    (entry): entry is [string, Value] => entry[1] !== null && entry[1] !== fieldOf(action, entry[0]).default
  );
  return { action, model, fields: Object.fromEntries(given) };
}

/** The cell that carries out a request, gives the result its name and shows it. */
export function codeOf(request: IRequest): string {
  const { action, model } = request;
  const name = nameOf(identifier(model), action);
  const [callee, args] = action === 'export' ? exportOf(request) : [ACTIONS[action].function, given(request)];
  return [
    'import jlab_compress',
    ...(action === 'validate' ? ['import torch'] : []),
    '',
    `${name} = ${call(`jlab_compress.${callee}`, args)}`,
    ...(action === 'run' ? [`${nameOf(model, 'slim')} = ${name}.model`] : []),
    name
  ].join('\n');
}

/** Parameters that a cell says in other words than the table: a rate goes into the optimizer, and so on. */
const ELSEWHERE: { [action in ActionName]?: string[] } = {
  validate: ['rate'],
  export: ['path', 'target', 'name']
};

/** The arguments of a request in the order of the table; without its name where a person would leave it out. */
function given({ action, model, fields }: IRequest): string[] {
  let named = false;
  return ACTIONS[action].fields
    .filter(({ name }) => !ELSEWHERE[action]?.includes(name))
    .flatMap(({ name, kind, positional }) => {
      const value = name === 'name' ? model : fields[name];
      named ||= !positional || value === undefined;
      const text = value === undefined ? null : textOf(kind, value, fields);
      return text === null ? [] : [named ? `${name}=${text}` : text];
    });
}

/** An export calls the function of its target; to a folder it adds the next version of the model. */
function exportOf(request: IRequest): [string, string[]] {
  const target = targetOf(String(request.fields.target ?? fieldOf('export', 'target').default));
  const path = literal(String(request.fields.path));
  const [slim, example, ...options] = given(request);
  const folder = [`layout=${literal(target.name)}`, 'version="next"'];
  const args = target.folder
    ? [slim, path, literal(request.model), example, ...folder, ...options]
    : [slim, path, example, ...options];
  return [target.function, args];
}

function textOf(kind: string, value: Value, { rate }: IFields): string {
  switch (kind) {
    case 'model':
      return identifier(String(value));
    case 'calibration':
    case 'data':
      return data(String(value));
    case 'example':
      return `${identifier(String(value))}[:${ROWS.example}]`;
    case 'batches':
      return data(String(value), ROWS.batch);
    case 'loss':
      return LOSSES.includes(String(value)) ? `torch.nn.functional.${value}` : identifier(String(value));
    case 'optimizer':
      return `lambda parameters: torch.optim.${identifier(String(value))}(parameters, lr=${numeral(Number(rate))})`;
    case 'widths':
      return widthsLiteral(value as Widths);
    case 'grid':
    case 'names':
      return `[${(value as string[]).map(literal).join(', ')}]`;
    case 'number':
      return numeral(Number(value));
    case 'count':
      return numeral(Math.round(Number(value)));
    case 'flag':
      return value === true ? 'True' : 'False';
    default:
      return literal(String(value));
  }
}

export function widthsLiteral(widths: Widths): string {
  const text = (width: Width): string => (width === 'polylog' ? literal(width) : numeral(width));
  const entries = Object.entries(widths).map(([block, width]) => `${literal(block)}: ${text(width)}`);
  const line = `{${entries.join(', ')}}`;
  return line.length <= 60 ? line : `{\n        ${entries.join(',\n        ')},\n    }`;
}
