/** The width of the block at hand, and one rule for all chosen blocks. */

import * as React from 'react';
import { IBlock, IModel } from '../messages';
import { Rule, Width, ladder, neurons, stopOf, widthsByRule } from '../plan';
import { usePanel } from './context';
import { curvesOf } from './curves';
import { fitting } from './store';
import { count, shown } from './words';

export function WidthEditor({ model }: { model: IModel }): JSX.Element {
  const { choices, trans } = usePanel();
  const widths = fitting(model, choices.widths[model.name]);
  const chosen = (model.blocks ?? []).filter(block => widths[block.name] !== undefined);
  const active = (model.blocks ?? []).find(block => block.name === choices.active);
  if (active?.locked) {
    return (
      <p className="jlc-Notice">
        {trans.__('%1 is locked: %2', shown(active.name), shown(active.locked, 400))}
      </p>
    );
  }
  if (chosen.length === 0) {
    return <p className="jlc-Hint">{trans.__('Tick the blocks that should become slim.')}</p>;
  }
  const block = active !== undefined && widths[active.name] !== undefined ? active : chosen[0];
  return (
    <div className="jlc-Width">
      <OneWidth model={model.name} block={block} width={widths[block.name]} />
      <AllWidths model={model} chosen={chosen} />
    </div>
  );
}

function OneWidth({ model, block, width }: { model: string; block: IBlock; width: Width }): JSX.Element {
  const { change, trans } = usePanel();
  const now = neurons(block, width);
  const stops = React.useMemo(() => ladder(block.width), [block.width]);
  const label = trans.__('Width of %1', shown(block.name, 40));
  const set = (to: Width): void =>
    change({
      type: 'width',
      model,
      block: block.name,
      width: to === 'polylog' ? to : neurons(block, to)
    });
  return (
    <fieldset className="jlc-OneWidth">
      <legend>{label}</legend>
      <input
        type="range"
        min={0}
        max={stops.length - 1}
        value={stopOf(now, stops)}
        aria-label={label}
        aria-valuetext={trans.__('%1 of %2 neurons', count(now), count(block.width))}
        onChange={event => set(stops[Number(event.target.value)])}
      />
      <NumberField label={trans.__('Neurons')} value={now} least={1} most={block.width} onValue={set} />
      <button
        type="button"
        className="jlc-Button"
        aria-pressed={width === 'polylog'}
        disabled={block.polylog === null}
        title={trans.__('A width that grows with the logarithm of the present one')}
        onClick={() => set(width === 'polylog' ? now : 'polylog')}
      >
        polylog
      </button>
    </fieldset>
  );
}

function AllWidths({ model, chosen }: { model: IModel; chosen: IBlock[] }): JSX.Element {
  const { hostState, choices, change, announce, trans } = usePanel();
  const curves = curvesOf(hostState.state, model);
  const { rule } = choices;
  const apply = (next: Rule): void => {
    const widths = widthsByRule(model, chosen, next, curves);
    change({ type: 'set', fields: { rule: next } });
    if (widths !== null) {
      change({ type: 'widths', model: model.name, widths });
      announce(trans.__('Widths of %1 blocks set.', chosen.length));
    }
  };
  const first: { [kind: string]: Rule } = {
    hand: { kind: 'hand' },
    polylog: { kind: 'polylog' },
    smaller: { kind: 'smaller', factor: 4 },
    error: { kind: 'error', percent: hostState.defaults.tolerance }
  };
  const unknown = rule.kind === 'error' && widthsByRule(model, chosen, rule, curves) === null;
  return (
    <div className="jlc-AllWidths">
      <label>
        {trans.__('All chosen')}{' '}
        <select className="jlc-Select" value={rule.kind} onChange={event => apply(first[event.target.value])}>
          <option value="hand">{trans.__('by hand')}</option>
          <option value="polylog">polylog</option>
          <option value="smaller">{trans.__('model smaller by')}</option>
          <option value="error">{trans.__('error under')}</option>
        </select>
      </label>
      {rule.kind === 'smaller' && (
        <NumberField
          label={trans.__('times')}
          value={rule.factor}
          least={1}
          most={1000}
          fraction
          onValue={factor => apply({ kind: 'smaller', factor })}
        />
      )}
      {rule.kind === 'error' && (
        <NumberField
          label={trans.__('percent')}
          value={rule.percent}
          least={0.001}
          most={100}
          fraction
          onValue={percent => apply({ kind: 'error', percent })}
        />
      )}
      {unknown && <p className="jlc-Hint">{trans.__('Predict the errors first (below).')}</p>}
    </div>
  );
}

interface INumberField {
  label: string;
  value: number;
  least: number;
  most: number;
  fraction?: boolean;
  onValue: (value: number) => void;
}

/** A number that may be half typed: it counts once it is one and within bounds. */
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
