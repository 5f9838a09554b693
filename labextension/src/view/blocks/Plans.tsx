/** Plans under a name: kept, taken up again, laid side by side, copied as code. */

import * as React from 'react';
import { IModel } from '../../kernel/messages';
import { IPlan, compare, totals } from '../../model/plan';
import { widthsLiteral } from '../../python/cells';
import { CopyButton } from '../parts/fields';
import { count, percent, shown } from '../parts/format';
import { fitting, withWidths } from '../state/choices';
import { useHostState, usePanel } from '../state/context';
import { useCurves, useWidths } from '../state/planned';

export function Plans({ model }: { model: IModel }): JSX.Element {
  const { host, change, announce, trans } = usePanel();
  const all = useHostState(state => state.plans);
  // A plan of another model would set nothing here.
  const plans = all.filter(plan => Object.keys(fitting(model, plan.widths)).length > 0);
  const widths = useWidths(model);
  const empty = Object.keys(widths).length === 0;
  const [name, setName] = React.useState('');
  const [marked, setMarked] = React.useState<string[]>([]);
  const usual = trans.__('Plan %1', all.length + 1);
  const keep = (): void => {
    const plan: IPlan = { name: name.trim() || usual, model: model.name, widths };
    const replaced = plans.find(other => other.name === plan.name);
    host.savePlans([...all.filter(other => other !== replaced), plan]);
    setName('');
    announce(trans.__('%1 is saved in the notebook.', plan.name));
  };
  const side = plans.filter(plan => marked.includes(plan.name));
  return (
    <details className="jlc-Plans">
      <summary>
        {trans.__('Plans')} {plans.length > 0 && <span className="jlc-quiet">{plans.length}</span>}
      </summary>
      <div className="jlc-Plans-new">
        <input
          type="text"
          className="jlc-Input"
          aria-label={trans.__('Name of the plan')}
          placeholder={usual}
          value={name}
          maxLength={80}
          onChange={event => setName(event.target.value)}
        />
        <button type="button" className="jlc-Button" disabled={empty} onClick={keep}>
          {trans.__('Save')}
        </button>
      </div>
      <ul className="jlc-Plans-list">
        {plans.map(plan => (
          <li key={plan.name}>
            <label>
              <input
                type="checkbox"
                checked={marked.includes(plan.name)}
                aria-label={trans.__('Compare %1', shown(plan.name))}
                onChange={event =>
                  setMarked(
                    event.target.checked
                      ? [...marked, plan.name]
                      : marked.filter(other => other !== plan.name)
                  )
                }
              />
              {shown(plan.name)}
            </label>
            <button
              type="button"
              className="jlc-Button"
              aria-label={trans.__('Load %1', shown(plan.name))}
              onClick={() => change('plan', now => withWidths(now, model.name, plan.widths))}
            >
              {trans.__('Load')}
            </button>
            <CopyButton
              text={widthsLiteral(plan.widths)}
              name={trans.__('Copy %1 as code', shown(plan.name))}
            />
            <button
              type="button"
              className="jlc-Button"
              aria-label={trans.__('Delete %1', shown(plan.name))}
              onClick={() => host.savePlans(all.filter(other => other !== plan))}
            >
              {trans.__('Delete')}
            </button>
          </li>
        ))}
      </ul>
      {side.length > 1 && <Comparison plans={side} model={model} />}
    </details>
  );
}

function Comparison({ plans, model }: { plans: IPlan[]; model: IModel }): JSX.Element {
  const { trans } = usePanel();
  const curves = useCurves(model);
  const sums = plans.map(plan => totals(model, fitting(model, plan.widths), curves));
  return (
    <div className="jlc-Scroll" tabIndex={0} role="group" aria-label={trans.__('Plans side by side')}>
      <table className="jlc-Table">
        <thead>
          <tr>
            <th scope="col">{trans.__('Block')}</th>
            {plans.map(plan => (
              <th key={plan.name} scope="col" className="jlc-mod-number">
                {shown(plan.name)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {compare(plans).map(({ block, widths }) => (
            <Line key={block} label={shown(block)} values={widths.map(width => width ?? '–')} />
          ))}
          <Line label={trans.__('Parameters')} values={sums.map(sum => count(sum.parametersAfter))} />
          <Line
            label={trans.__('Predicted error')}
            values={sums.map(({ error }) => (error === null ? '–' : percent(error)))}
          />
        </tbody>
      </table>
    </div>
  );
}

function Line({ label, values }: { label: string; values: (string | number)[] }): JSX.Element {
  return (
    <tr>
      <th scope="row">{label}</th>
      {values.map((value, index) => (
        <td key={index} className="jlc-mod-number">
          {value}
        </td>
      ))}
    </tr>
  );
}
