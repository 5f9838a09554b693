/**
 * The cells that the panel writes. Every text from a kernel or a form goes in as a checked identifier or
 * as a literal; nothing else of it can reach a cell.
 */

import { Widths } from './plan';

const IDENTIFIER = /^[\p{ID_Start}_][\p{ID_Continue}]*$/u;
const KEYWORDS = new Set(
  (
    'False None True and as assert async await break class continue def del elif else except finally for ' +
    'from global if import in is lambda nonlocal not or pass raise return try while with yield'
  ).split(' ')
);

export function isIdentifier(text: string): boolean {
  return text.length <= 200 && IDENTIFIER.test(text) && !KEYWORDS.has(text);
}

/** A name that may stand in a cell, or an error: never anything else. */
export function identifier(text: string): string {
  if (!isIdentifier(text)) {
    throw new Error(`${literal(text.slice(0, 80))} is not a Python name`);
  }
  return text;
}

/** A Python string literal of one line in which nothing is hidden: only printable ASCII and letters. */
export function literal(text: string): string {
  let out = '"';
  for (const character of text) {
    const code = character.codePointAt(0) as number;
    if (character === '"' || character === '\\') {
      out += `\\${character}`;
    } else if (character === '\n') {
      out += '\\n';
    } else if (code >= 0x20 && code < 0x7f) {
      out += character;
    } else if (/[\p{L}\p{N}]/u.test(character)) {
      out += character;
    } else {
      out += code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`;
    }
  }
  return out + '"';
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}

/** A plain number as Python reads it. */
export function numeral(value: number): string {
  if (!Number.isFinite(value)) {
    throw new Error('a number in a cell must be finite');
  }
  return String(value);
}

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

/** Names of what the steps make of a model `net`. */
export function names(model: string): { compression: string; slim: string; validation: string } & {
  export: string;
  sweep: string;
} {
  return {
    compression: `${model}_compression`,
    slim: `${model}_slim`,
    validation: `${model}_validation`,
    export: `${model}_export`,
    sweep: `${model}_sweep`
  };
}

/**
 * Data of a form: the name of one value, or the names of inputs and targets with a comma between them.
 * A pair of whole tensors is cut into batches where a loop wants them.
 */
export function data(text: string, batch: number | null = null): string {
  const parts = text.split(',').map(part => identifier(part.trim()));
  if (parts.length === 1) {
    return parts[0];
  }
  if (parts.length > 2) {
    throw new Error('data is one name or a pair of names');
  }
  const [inputs, targets] = parts;
  return batch === null
    ? `(${inputs}, ${targets})`
    : `list(zip(${inputs}.split(${numeral(batch)}), ${targets}.split(${numeral(batch)})))`;
}

export function isData(text: string): boolean {
  const parts = text.split(',');
  return parts.length <= 2 && parts.every(part => isIdentifier(part.trim()));
}

function call(name: string, args: string[]): string {
  return `${name}(\n${args.map(arg => `    ${arg},`).join('\n')}\n)`;
}

export function compressCode(form: ICompressForm): string {
  const made = names(identifier(form.model));
  const args = [
    form.model,
    widthsLiteral(form.widths),
    `calibration=${identifier(form.calibration)}`,
    ...(form.preserve === 'dynamics' ? [] : [`preserve=${literal(form.preserve)}`])
  ];
  return [
    'import jlab_compress',
    '',
    `${made.compression} = ${call('jlab_compress.compress', args)}`,
    `${made.slim} = ${made.compression}.model`,
    made.compression
  ].join('\n');
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
  return [
    'import jlab_compress',
    '',
    `${made.sweep} = ${call('jlab_compress.sweep', args)}`,
    made.sweep
  ].join('\n');
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
  return [
    'import jlab_compress',
    'import torch',
    '',
    `${made.validation} = ${call('jlab_compress.validate', args)}`,
    made.validation
  ].join('\n');
}

export interface IExportForm {
  model: string;
  slim: string;
  example: string;
  target: 'onnx' | 'triton';
  path: string;
  replace: boolean;
}

export function exportCode(form: IExportForm): string {
  const made = names(identifier(form.model));
  const own = form.slim === form.model ? [] : [`original=${form.model}`];
  const args = [
    identifier(form.slim),
    literal(form.path),
    ...(form.target === 'onnx' ? [] : [literal(form.model)]),
    `${identifier(form.example)}[:8]`,
    ...(form.target === 'onnx' ? own : [`layout=${literal(form.target)}`]),
    ...(form.replace ? ['overwrite=True'] : [])
  ];
  const name = form.target === 'onnx' ? 'export_onnx' : 'export_repository';
  return [
    'import jlab_compress',
    '',
    `${made.export} = ${call(`jlab_compress.${name}`, args)}`,
    made.export
  ].join('\n');
}
