/**
 * What the kernel says, and nothing else: the types of its messages and the door that lets them in.
 *
 * The twin on the kernel's side is `jlab_compress/notebook/kernel/messages.py`; `fixtures/messages.json` is read
 * by the tests of both.
 */

export const PROTOCOL = 1;
export const TARGET = 'jlab-compress';

export interface IBlock {
  name: string;
  kind: string;
  /** What its width counts: neurons, heads. */
  unit: string;
  width: number;
  dimension: number;
  parameters: number;
  macs: number | null;
  polylog: number | null;
  locked: string | null;
  /** Whether it is locked only because the model has not run on real inputs. */
  needs_input: boolean;
}

export interface ISlimBlock {
  name: string;
  width_before: number;
  width_after: number;
  method: string | null;
}

export interface IModel {
  name: string;
  class: string;
  id: string;
  parameters: number;
  bytes: number;
  modules: number;
  devices: string[];
  dtypes: string[];
  training: boolean;
  lazy: boolean;
  /** Finding its blocks takes long enough to be a cell of its own. */
  heavy: boolean;
  slim: ISlimBlock[] | null;
  /** `null` while the kernel has not looked for them yet. */
  blocks: IBlock[] | null;
  /** Widths that a cell has found for it, under the name `<model>_widths`. */
  widths?: { [block: string]: number } | null;
}

export interface IValue {
  name: string;
  kind: string;
  shape: number[];
  dtype: string;
}

export type Scalar = string | number | boolean | null;

/** Which columns of a table are drawn as lines. */
export interface IChart {
  x: string;
  y: string[];
  /** The column that names the line of a row; `null` where each column of `y` is a line of its own. */
  by: string | null;
  /** Whether `x` is on a logarithmic axis. */
  log: boolean;
}

export interface ITable {
  title: string;
  columns: string[];
  rows: Scalar[][];
  chart?: IChart | null;
  /** Whether the facts say the same, so that a view that shows them can leave the table out. */
  repeats?: boolean;
}

export interface IReport {
  title: string;
  summary: string;
  facts: { [key: string]: Scalar };
  /** Facts that are of interest when something is wrong, not before. */
  details?: string[];
  tables: ITable[];
  warnings: string[];
  notes: string[];
}

export interface IResult {
  name: string;
  kind: string;
  id: string;
  model: string | null;
  report: IReport;
}

export interface IState {
  type: 'state';
  request?: number | null;
  protocol: number;
  version: string;
  hash: string;
  torch: boolean;
  complete: boolean;
  models: IModel[];
  values: IValue[];
  results: IResult[];
}

export interface IBlocks {
  type: 'blocks';
  request: number | null;
  model: string;
  blocks: IBlock[];
}

export interface IProgress {
  type: 'progress';
  label: string;
  done: number;
  total: number | null;
  seconds: number;
}

export interface IFault {
  type: 'error';
  request: number | null;
  message: string;
}

export type Message = IState | IBlocks | IProgress | IFault;

type Shape = { [key: string]: Check };
type Check = (value: unknown) => boolean;

const text: Check = value => typeof value === 'string';
const number: Check = value => typeof value === 'number' && isFinite(value);
const flag: Check = value => typeof value === 'boolean';
const maybe =
  (check: Check): Check =>
  value =>
    value === null || value === undefined || check(value);
const list =
  (check: Check): Check =>
  value =>
    Array.isArray(value) && value.every(check);
const shape =
  (fields: Shape): Check =>
  value =>
    isRecord(value) && Object.keys(fields).every(key => fields[key](value[key]));
const scalar: Check = value => value === null || text(value) || number(value) || flag(value);
const counts: Check = value => isRecord(value) && Object.values(value).every(number);
const facts: Check = value => isRecord(value) && Object.values(value).every(scalar);

const block = shape({
  name: text,
  kind: text,
  unit: text,
  width: number,
  dimension: number,
  parameters: number,
  macs: maybe(number),
  polylog: maybe(number),
  locked: maybe(text),
  needs_input: flag
});
const chart = shape({ x: text, y: list(text), by: maybe(text), log: flag });
const table = shape({
  title: text,
  columns: list(text),
  rows: list(list(scalar)),
  chart: maybe(chart),
  repeats: maybe(flag)
});
const report = shape({
  title: text,
  summary: text,
  facts,
  details: maybe(list(text)),
  tables: list(table),
  warnings: list(text),
  notes: list(text)
});
const slimBlock = shape({ name: text, width_before: number, width_after: number, method: maybe(text) });

const SHAPES: { [type: string]: Check } = {
  state: shape({
    protocol: number,
    version: text,
    hash: text,
    torch: flag,
    complete: flag,
    models: list(
      shape({
        name: text,
        class: text,
        id: text,
        parameters: number,
        bytes: number,
        modules: number,
        devices: list(text),
        dtypes: list(text),
        training: flag,
        lazy: flag,
        heavy: flag,
        slim: maybe(list(slimBlock)),
        blocks: maybe(list(block)),
        widths: maybe(counts)
      })
    ),
    values: list(shape({ name: text, kind: text, shape: list(number), dtype: text })),
    results: list(shape({ name: text, kind: text, id: text, model: maybe(text), report }))
  }),
  blocks: shape({ request: maybe(number), model: text, blocks: list(block) }),
  progress: shape({ label: text, done: number, total: maybe(number), seconds: number }),
  error: shape({ request: maybe(number), message: text })
};

/** Return the message if it is one, `null` for anything else; a newer kernel may say more. */
export function readMessage(value: unknown): Message | null {
  if (!isRecord(value) || typeof value.type !== 'string') {
    return null;
  }
  return Object.hasOwn(SHAPES, value.type) && SHAPES[value.type](value)
    ? (value as unknown as Message)
    : null;
}

export function isRecord(value: unknown): value is { [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
