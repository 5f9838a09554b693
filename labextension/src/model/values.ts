/** Values of the notebook that fit a form, and which of them is meant. */

import { IValue } from '../kernel/messages';

/** Kinds of values that can calibrate. */
export const DATA = ['tensor', 'batches', 'tuple', 'mapping'];
export const INPUT_HINTS = ['calib', 'x_train', 'train', 'inputs'];

const ROLES: [RegExp, string][] = [
  [/^x(?=_|$)/, 'y'],
  [/^X(?=_|$)/, 'y'],
  [/inputs?/, 'targets'],
  [/images?/, 'labels']
];

/** Inputs and targets by their names, `x_test` with `y_test`, where both have as many rows. */
export function pairs(values: IValue[]): IValue[] {
  const tensors = values.filter(value => value.kind === 'tensor' && value.shape.length > 0);
  return tensors.flatMap(inputs =>
    ROLES.flatMap(([role, word]) => {
      const name = inputs.name.replace(role, word);
      const targets = tensors.find(other => other.name === name && other.name !== inputs.name);
      return targets !== undefined && targets.shape[0] === inputs.shape[0]
        ? [{ name: `${inputs.name}, ${targets.name}`, kind: 'pair', shape: [inputs.shape[0]], dtype: '' }]
        : [];
    })
  );
}

/** The value that was chosen if it still lives, else the one whose name says what it is for. */
export function pick(values: IValue[], kinds: string[], chosen: string, hints: string[]): string {
  const fitting = values.filter(value => kinds.includes(value.kind));
  if (fitting.some(value => value.name === chosen)) {
    return chosen;
  }
  for (const hint of hints) {
    const named = fitting.find(value => value.name.toLowerCase().includes(hint));
    if (named !== undefined) {
      return named.name;
    }
  }
  return fitting.find(value => value.kind !== 'tensor' || value.shape.length > 1)?.name ?? '';
}
