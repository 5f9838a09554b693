/** The width of the block at hand, and one rule for all chosen blocks. */

import * as React from 'react';
import { IBlock, IModel } from '../../kernel/messages';
import { own } from '../../model/lookup';
import { Width, ladder, neurons, stopOf } from '../../model/plan';
import { count, shown } from '../parts/format';
import { NumberField } from '../parts/NumberField';
import { withWidth } from '../state/choices';
import { useChoices, usePanel } from '../state/context';
import { useWidths } from '../state/planned';
import { AllWidths } from './AllWidths';

export function WidthEditor({ model }: { model: IModel }): JSX.Element {
  const { trans } = usePanel();
  const at = useChoices(({ look }) => look.active);
  const widths = useWidths(model);
  const chosen = (model.blocks ?? []).filter(block => own(widths, block.name) !== undefined);
  const active = (model.blocks ?? []).find(block => block.name === at);
  if (active?.locked) {
    return (
      <p className="jlc-Notice">
        {trans.__('%1 is locked: %2', shown(active.name), shown(active.locked, 400))}
      </p>
    );
  }
  if (chosen.length === 0) {
    return <p className="jlc-Hint">{trans.__('Select the blocks to compress.')}</p>;
  }
  const block = active !== undefined && own(widths, active.name) !== undefined ? active : chosen[0];
  return (
    <div className="jlc-Width">
      <OneWidth model={model.name} block={block} width={own(widths, block.name) ?? block.width} />
      <AllWidths model={model} chosen={chosen} />
    </div>
  );
}

function OneWidth({ model, block, width }: { model: string; block: IBlock; width: Width }): JSX.Element {
  const { change, trans } = usePanel();
  const unit = trans.__(shown(block.unit, 20));
  const now = neurons(block, width);
  const stops = React.useMemo(() => ladder(block.width), [block.width]);
  const label = trans.__('Width of %1', shown(block.name, 40));
  const set = (to: Width): void =>
    change('plan', plan => withWidth(plan, model, block.name, to === 'polylog' ? to : neurons(block, to)));
  return (
    <fieldset className="jlc-OneWidth">
      <legend>{label}</legend>
      <input
        type="range"
        min={0}
        max={stops.length - 1}
        value={stopOf(now, stops)}
        aria-label={label}
        aria-valuetext={trans.__('%1 of %2 %3', count(now), count(block.width), unit)}
        onChange={event => set(stops[Number(event.target.value)])}
      />
      <NumberField
        label={unit.charAt(0).toUpperCase() + unit.slice(1)}
        value={now}
        least={1}
        most={block.width}
        onValue={set}
      />
      <button
        type="button"
        className="jlc-Button"
        aria-pressed={width === 'polylog'}
        disabled={block.polylog === null}
        title={trans.__('A width that grows with a power of the logarithm of the present one')}
        onClick={() => set(width === 'polylog' ? now : 'polylog')}
      >
        {trans.__('polylog')}
      </button>
    </fieldset>
  );
}
