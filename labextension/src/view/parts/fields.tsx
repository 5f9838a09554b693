/** Form parts that the steps share. */

import * as React from 'react';
import { IValue } from '../../kernel/messages';
import { usePanel } from '../state/context';
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
