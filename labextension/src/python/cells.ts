/** The cells that the panel writes: readable, and as safe as the pieces of `literals.ts` that they are made of. */

import { Widths } from '../model/plan';
import { call, data, identifier, literal, numeral } from './literals';

export function widthsLiteral(widths: Widths): string {
  const entries = Object.entries(widths).map(
    ([block, width]) => `${literal(block)}: ${width === 'polylog' ? '"polylog"' : numeral(width)}`
  );
  const line = `{${entries.join(', ')}}`;
  return line.length <= 60 ? line : `{\n        ${entries.join(',\n        ')},\n    }`;
}

export type Preserve = 'dynamics' | 'function' | 'moments';

export interface ICompressForm {
  model: string;
  widths: Widths;
  calibration: string;
  preserve: Preserve;
}

const MADE = ['compression', 'slim', 'sweep', 'widths', 'validation', 'export', 'served'] as const;

/** Names of what the steps make of a model `net`: `net_slim` and so on. */
export function names(model: string): { [made in (typeof MADE)[number]]: string } {
  return Object.fromEntries(MADE.map(made => [made, `${model}_${made}`])) as ReturnType<typeof names>;
}

/** A cell that gives what a call returns a name, and shows it. */
function cell(name: string, callee: string, args: string[], more: string[] = []): string {
  const made = `${name} = ${call(`jlab_compress.${callee}`, args)}`;
  return ['import jlab_compress', '', made, ...more, name].join('\n');
}

export function compressCode(form: ICompressForm): string {
  const made = names(identifier(form.model));
  const args = [
    form.model,
    widthsLiteral(form.widths),
    `calibration=${identifier(form.calibration)}`,
    ...(form.preserve === 'dynamics' ? [] : [`preserve=${literal(form.preserve)}`])
  ];
  return cell(made.compression, 'compress', args, [`${made.slim} = ${made.compression}.model`]);
}

export function findCode(form: { model: string; example: string }): string {
  const name = `${identifier(form.model)}_blocks`;
  const args = [form.model, ...(form.example === '' ? [] : [`${identifier(form.example)}[:8]`])];
  return `import jlab_compress\n\n${name} = jlab_compress.find_blocks(${args.join(', ')})\n${name}`;
}

export function sweepCode(form: { model: string; blocks: string[]; calibration: string }): string {
  const made = names(identifier(form.model));
  const args = [
    form.model,
    `[${form.blocks.map(literal).join(', ')}]`,
    `calibration=${identifier(form.calibration)}`
  ];
  return cell(made.sweep, 'sweep', args);
}

export interface IShareForm {
  model: string;
  calibration: string;
  /** Share of the model's parameters that may remain. */
  parameters: number;
  blocks: string[];
}

export function shareCode(form: IShareForm): string {
  return cell(names(identifier(form.model)).widths, 'allocate_widths', [
    form.model,
    `calibration=${identifier(form.calibration)}`,
    `parameters=${numeral(form.parameters)}`,
    `blocks=[${form.blocks.map(literal).join(', ')}]`
  ]);
}

const BATCH = 64;
export const LOSSES = ['cross_entropy', 'mse_loss', 'l1_loss', 'binary_cross_entropy_with_logits'] as const;
export const OPTIMIZERS = ['SGD', 'Adam', 'AdamW'] as const;

export interface IValidateForm {
  model: string;
  slim: string;
  batches: string;
  loss: string;
  optimizer: (typeof OPTIMIZERS)[number];
  rate: number;
  steps: number;
  heldOut: string;
}

export function validateCode(form: IValidateForm): string {
  const made = names(identifier(form.model));
  const stock = (LOSSES as readonly string[]).includes(form.loss);
  const args = [
    form.model,
    identifier(form.slim),
    data(form.batches, BATCH),
    stock ? `torch.nn.functional.${form.loss}` : identifier(form.loss),
    `optimizer=lambda parameters: torch.optim.${identifier(form.optimizer)}(parameters, lr=${numeral(form.rate)})`,
    `steps=${numeral(Math.round(form.steps))}`,
    ...(form.heldOut === '' ? [] : [`held_out=${data(form.heldOut)}`])
  ];
  const lines = cell(made.validation, 'validate', args);
  return lines.replace('\n', '\nimport torch\n');
}

/** What Export writes: a file, or a folder that a server starts on. */
export const FILES = ['onnx', 'pt2'] as const;
export const LAYOUTS = ['triton', 'kserve', 'openvino', 'mlflow'] as const;
export const TARGETS = [...FILES, ...LAYOUTS] as const;
export const PRECISIONS = ['float32', 'float16', 'int8', 'int8 calibrated'] as const;
export type Target = (typeof TARGETS)[number];
export type Precision = (typeof PRECISIONS)[number];

export function isLayout(target: Target): target is (typeof LAYOUTS)[number] {
  return (LAYOUTS as readonly Target[]).includes(target);
}

export interface IExportForm {
  model: string;
  slim: string;
  example: string;
  target: Target;
  precision: Precision;
  path: string;
  replace: boolean;
}

export function exportCode(form: IExportForm): string {
  const { target } = form;
  const example = `${identifier(form.example)}[:8]`;
  const start = [identifier(form.slim), literal(form.path)];
  const replace = form.replace ? ['overwrite=True'] : [];
  const name = names(identifier(form.model)).export;
  if (target === 'pt2') {
    return cell(name, 'export_program', [...start, example, ...replace]);
  }
  if (target === 'onnx') {
    return cell(name, 'export_onnx', [...start, example, ...measured(form), ...replace]);
  }
  const args = [literal(form.model), example, `layout=${literal(target)}`, 'version="next"'];
  return cell(name, 'export_repository', [...start, ...args, ...measured(form)]);
}

/** Write a repository, start a server on it, ask it, compare, stop it. */
export function serveCode(form: IExportForm): string {
  const { target } = form;
  return cell(names(identifier(form.model)).served, 'serve_and_compare', [
    identifier(form.slim),
    `${identifier(form.example)}[:8]`,
    `directory=${literal(form.path)}`,
    `name=${literal(form.model)}`,
    ...(isLayout(target) && target !== 'triton' ? [`layout=${literal(target)}`] : []),
    ...measured(form)
  ]);
}

/** The arguments that say how precise, and what to measure beside it. */
function measured(form: IExportForm): string[] {
  const [precision, calibrated] = form.precision.split(' ');
  return [
    ...(form.slim === form.model ? [] : [`original=${form.model}`]),
    ...(precision === 'float32' ? [] : [`precision=${literal(precision)}`]),
    ...(calibrated === undefined ? [] : [`calibration=${identifier(form.example)}`])
  ];
}
