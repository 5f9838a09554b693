/** What the plan makes of the whole model, before and after. */

import * as React from 'react';
import { IModel } from '../messages';
import { totals } from '../plan';
import { usePanel } from './context';
import { curvesOf } from './curves';
import { fitting } from './store';
import { bytes, count, percent, short } from './words';

export function Totals({ model }: { model: IModel }): JSX.Element | null {
  const { hostState, choices, trans } = usePanel();
  const widths = fitting(model, choices.widths[model.name]);
  if (Object.keys(widths).length === 0) {
    return null;
  }
  const sums = totals(model, widths, curvesOf(hostState.state, model));
  const lines: [string, number, number, (value: number) => string][] = [
    [trans.__('Parameters'), sums.parametersBefore, sums.parametersAfter, count],
    [trans.__('Size'), sums.bytesBefore, sums.bytesAfter, bytes]
  ];
  if (sums.macsBefore !== null && sums.macsAfter !== null) {
    lines.push([trans.__('MACs of blocks'), sums.macsBefore, sums.macsAfter, short]);
  }
  return (
    <table className="jlc-Totals">
      <caption>{trans.__('The whole model')}</caption>
      <thead>
        <tr>
          <td />
          <th scope="col">{trans.__('before')}</th>
          <th scope="col">{trans.__('after')}</th>
          <th scope="col">{trans.__('smaller')}</th>
        </tr>
      </thead>
      <tbody>
        {lines.map(([label, before, after, words]) => (
          <tr key={label}>
            <th scope="row">{label}</th>
            <td>{words(before)}</td>
            <td>
              <strong>{words(after)}</strong>
              <span className="jlc-Meter" aria-hidden="true">
                <span style={{ width: `${Math.min(100, (100 * after) / Math.max(1, before))}%` }} />
              </span>
            </td>
            <td>{`${Number((before / Math.max(1, after)).toPrecision(3))}×`}</td>
          </tr>
        ))}
        <tr>
          <th scope="row">{trans.__('Predicted error')}</th>
          <td>0 %</td>
          <td>
            <strong>{sums.error === null ? trans.__('not known yet') : percent(sums.error)}</strong>
          </td>
          <td />
        </tr>
      </tbody>
    </table>
  );
}
