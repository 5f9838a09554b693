/** What the plan makes of the whole model, before and after. */

import * as React from 'react';
import { IModel } from '../../kernel/messages';
import { totals } from '../../model/plan';
import { bytes, count, percent, short } from '../parts/format';
import { BeforeAfter, IChange } from '../results/BeforeAfter';
import { usePanel } from '../state/context';
import { useCurves, useWidths } from '../state/planned';

export function Totals({ model }: { model: IModel }): JSX.Element | null {
  const { trans } = usePanel();
  const curves = useCurves(model);
  const widths = useWidths(model);
  if (Object.keys(widths).length === 0) {
    return null;
  }
  const sums = totals(model, widths, curves);
  const line = (
    label: string,
    before: number | null,
    after: number | null,
    words: (value: number) => string
  ): IChange[] =>
    before === null || after === null
      ? []
      : [
          {
            label,
            before: words(before),
            after: words(after),
            ratio: before / Math.max(1, after),
            meter: true
          }
        ];
  return (
    <BeforeAfter
      caption={trans.__('The whole model')}
      rows={[
        ...line(trans.__('Parameters'), sums.parametersBefore, sums.parametersAfter, count),
        ...line(trans.__('Size'), sums.bytesBefore, sums.bytesAfter, bytes),
        ...line(trans.__('MACs of blocks'), sums.macsBefore, sums.macsAfter, short),
        {
          label: trans.__('Predicted error'),
          before: '–',
          after: sums.error === null ? trans.__('unknown') : percent(sums.error),
          ratio: null
        }
      ]}
    />
  );
}
