/** One rule or one budget for all chosen blocks. */

import * as React from 'react';
import { IBlock, IModel } from '../../kernel/messages';
import { Rule, widthsByRule } from '../../model/budget';
import { own } from '../../model/lookup';
import { DATA, INPUT_HINTS, pick } from '../../model/values';
import { requestOf } from '../../python/cells';
import { NumberField } from '../parts/NumberField';
import { withWidths } from '../state/choices';
import { useChoices, useHostState, usePanel, useValues } from '../state/context';
import { useCurves, useWidths } from '../state/planned';
import { RunBar } from '../steps/RunBar';

/** Budgets that a slider reaches: 1 to 64 times, 0.1 to 100 percent, in equal ratios. */
const STEPS = 60;
const SPANS = { smaller: [1, 64], error: [0.1, 100] } as const;

export function AllWidths({ model, chosen }: { model: IModel; chosen: IBlock[] }): JSX.Element {
  const { change, announce, trans } = usePanel();
  const rule = useChoices(({ plan }) => plan.rule);
  const tolerance = useHostState(({ defaults }) => defaults.tolerance);
  const before = useWidths(model);
  const curves = useCurves(model);
  const apply = (next: Rule): void => {
    const widths = widthsByRule(model, chosen, next, curves);
    change('plan', plan => ({
      ...(widths === null ? plan : withWidths(plan, model.name, { ...before, ...widths })),
      rule: next
    }));
    if (widths !== null) {
      announce(trans._n('The width of %1 block is set.', 'The widths of %1 blocks are set.', chosen.length));
    }
  };
  const first: { [kind: string]: Rule } = {
    hand: { kind: 'hand' },
    polylog: { kind: 'polylog' },
    smaller: { kind: 'smaller', factor: 4 },
    error: { kind: 'error', percent: tolerance }
  };
  const known = chosen.every(block => (own(curves, block.name) ?? []).length > 0);
  return (
    <div className="jlc-AllWidths">
      <label className="jlc-Field">
        <span>{trans.__('All chosen')}</span>
        <select className="jlc-Select" value={rule.kind} onChange={event => apply(first[event.target.value])}>
          <option value="hand">{trans.__('by hand')}</option>
          <option value="polylog">{trans.__('polylog')}</option>
          <option value="smaller">{trans.__('model smaller by')}</option>
          <option value="error">{trans.__('error under')}</option>
        </select>
      </label>
      {rule.kind === 'smaller' && (
        <Budget
          kind="smaller"
          label={trans.__('times')}
          value={rule.factor}
          onValue={factor => apply({ kind: 'smaller', factor })}
        />
      )}
      {rule.kind === 'error' && (
        <Budget
          kind="error"
          label={trans.__('percent')}
          value={rule.percent}
          onValue={percent => apply({ kind: 'error', percent })}
        />
      )}
      {rule.kind === 'polylog' && chosen.some(block => block.polylog === null) && (
        <p className="jlc-Hint">{trans.__('Blocks without a polylog width keep the chosen one.')}</p>
      )}
      {rule.kind === 'error' && !known && (
        <p className="jlc-Hint">{trans.__('Predict the errors first (below).')}</p>
      )}
      {rule.kind === 'smaller' && chosen.length > 1 && (
        <Allocate model={model} chosen={chosen} factor={rule.factor} known={known} />
      )}
    </div>
  );
}

interface IAllocate {
  model: IModel;
  chosen: IBlock[];
  factor: number;
  /** Whether the errors of all chosen blocks are predicted. */
  known: boolean;
}

/** While a budget is dragged it is allocated by what is known; a cell can measure how sensitive each block is. */
function Allocate({ model, chosen, factor, known }: IAllocate): JSX.Element {
  const { trans } = usePanel();
  const chosenData = useChoices(({ compress }) => compress.calibration);
  const calibration = pick(useValues(), DATA, chosenData, INPUT_HINTS);
  const fields = {
    model: model.name,
    calibration,
    parameters: Number((1 / factor).toPrecision(3)),
    blocks: chosen.filter(block => block.polylog !== null).map(block => block.name)
  };
  return (
    <div className="jlc-Allocate">
      <p className="jlc-Hint">
        {known
          ? trans.__('Allocated by the predicted error of each block on its own.')
          : trans.__('Allocated evenly.')}
      </p>
      <RunBar
        hindrance={
          factor <= 1
            ? trans.__('Choose a budget above 1.')
            : calibration === ''
              ? trans.__('Assign the calibration inputs to a variable in the notebook.')
              : null
        }
        buttons={[
          {
            label: trans.__('Allocate by sensitivity'),
            request: () => requestOf('allocate', model.name, fields),
            secondary: true
          }
        ]}
      />
    </div>
  );
}

interface IBudget {
  kind: keyof typeof SPANS;
  label: string;
  value: number;
  onValue: (value: number) => void;
}

function Budget({ kind, label, value, onValue }: IBudget): JSX.Element {
  const { trans } = usePanel();
  const [low, high] = SPANS[kind];
  const at = Math.round((STEPS * Math.log(value / low)) / Math.log(high / low));
  const drag = (step: number): void => onValue(Number((low * (high / low) ** (step / STEPS)).toPrecision(2)));
  return (
    <div className="jlc-Budget">
      <input
        type="range"
        min={0}
        max={STEPS}
        value={Math.max(0, Math.min(STEPS, at))}
        aria-label={trans.__('Budget')}
        aria-valuetext={`${value} ${label}`}
        onChange={event => drag(Number(event.target.value))}
      />
      <NumberField
        label={label}
        value={value}
        least={kind === 'smaller' ? 1 : 0.001}
        most={kind === 'smaller' ? 1000 : 100}
        fraction
        onValue={onValue}
      />
    </div>
  );
}
