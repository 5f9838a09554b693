/** A number that may be half typed. */

import * as React from 'react';

interface INumberField {
  label: string;
  value: number;
  least: number;
  most: number;
  fraction?: boolean;
  onValue: (value: number) => void;
}

/** What is typed counts once it is a number within bounds; until then the last one holds. */
export function NumberField({ label, value, least, most, fraction, onValue }: INumberField): JSX.Element {
  const [typed, setTyped] = React.useState<string | null>(null);
  const take = (text: string): void => {
    setTyped(text);
    const number = Number(text);
    if (text.trim() !== '' && number >= least && number <= most && (fraction || Number.isInteger(number))) {
      onValue(number);
    }
  };
  const wrong = typed !== null && !(Number(typed) >= least && Number(typed) <= most);
  return (
    <label className="jlc-Number">
      <input
        type="number"
        className="jlc-Input"
        min={least}
        max={most}
        step={fraction ? 'any' : 1}
        value={typed ?? value}
        aria-invalid={wrong || undefined}
        onChange={event => take(event.target.value)}
        onBlur={() => setTyped(null)}
      />
      <span>{label}</span>
    </label>
  );
}
