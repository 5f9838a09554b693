/** Form parts that the steps share. */

import * as React from 'react';
import { IValue } from '../kernel/messages';
import { usePanel } from './context';
import { shown } from './format';

interface IChoice {
  label: string;
  value: string;
  options: readonly (readonly [string, string])[];
  none?: string;
  onValue: (value: string) => void;
}

export function Choice({ label, value, options, none, onValue }: IChoice): JSX.Element {
  const { trans } = usePanel();
  return (
    <label className="jlc-Field">
      <span>{label}</span>
      <select className="jlc-Select" value={value} onChange={event => onValue(event.target.value)}>
        {(none !== undefined || options.length === 0) && (
          <option value="">{none ?? trans.__('nothing fits')}</option>
        )}
        {options.map(([key, words]) => (
          <option key={key} value={key}>
            {words}
          </option>
        ))}
      </select>
    </label>
  );
}

export function valueOptions(values: IValue[], kinds: string[]): [string, string][] {
  return values
    .filter(value => kinds.includes(value.kind))
    .map(value => [
      value.name,
      value.shape.length > 0
        ? `${shown(value.name, 40)}  (${value.shape.join(' × ')})`
        : shown(value.name, 40)
    ]);
}

const ROLES: [RegExp, string][] = [
  [/^x(?=_|$)/, 'y'],
  [/^X(?=_|$)/, 'y'],
  [/inputs?/, 'targets'],
  [/images?/, 'labels']
];

/** Kinds of values that can calibrate. */
export const DATA = ['tensor', 'batches', 'tuple', 'mapping'];
export const INPUT_HINTS = ['calib', 'x_train', 'train', 'inputs'];

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

/** Put a text on the clipboard and say so. */
export function CopyButton({ text, name }: { text: string; name?: string }): JSX.Element {
  const { host, trans, announce } = usePanel();
  return (
    <button
      type="button"
      className="jlc-Button"
      aria-label={name}
      onClick={() => {
        host.copy(text);
        announce(trans.__('Copied.'));
      }}
    >
      {trans.__('Copy')}
    </button>
  );
}

/** The cell that a button would write; copied or only read. */
export function Code({ code }: { code: string }): JSX.Element {
  const { host, trans } = usePanel();
  return (
    <details className="jlc-Code">
      <summary>{host.cells ? trans.__('The cell that this writes') : trans.__('The same in Python')}</summary>
      <pre tabIndex={0} aria-label={trans.__('Code')}>
        {code}
      </pre>
      <CopyButton text={code} />
    </details>
  );
}
