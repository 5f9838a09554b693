/** Values before and after, one under the other. */

import * as React from 'react';
import { usePanel } from '../state/context';

export interface IChange {
  label: string;
  before: React.ReactNode;
  after: React.ReactNode;
  /** How many times smaller, where that is known. */
  ratio: number | null;
  meter?: boolean;
}

export function BeforeAfter({ caption, rows }: { caption?: string; rows: IChange[] }): JSX.Element {
  const { trans } = usePanel();
  return (
    <table className="jlc-Totals">
      {caption !== undefined && <caption>{caption}</caption>}
      <thead>
        <tr>
          <td />
          <th scope="col">{trans.__('before')}</th>
          <th scope="col">{trans.__('after')}</th>
          <th scope="col">{trans.__('ratio')}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(({ label, before, after, ratio, meter }) => (
          <tr key={label}>
            <th scope="row">{label}</th>
            <td>{before}</td>
            <td>
              <strong>{after}</strong>
              {meter && ratio !== null && (
                <span className="jlc-Meter" aria-hidden="true">
                  <span style={{ width: `${Math.min(100, 100 / ratio)}%` }} />
                </span>
              )}
            </td>
            <td>{ratio !== null && `${Number(ratio.toPrecision(3))}×`}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
