/** Which of the live models is looked at, and what it is. */

import * as React from 'react';
import { IModel } from '../kernel/messages';
import { bytes, count, shown } from './parts/format';
import { useHostState, usePanel } from './state/context';

export function ModelPicker({ models, model }: { models: IModel[]; model: IModel }): JSX.Element {
  const { host, change, trans } = usePanel();
  const shared = useHostState(state => state.shared);
  const complete = useHostState(({ state }) => state?.complete !== false);
  const facts = [
    shown(model.class, 40),
    trans.__('%1 parameters', count(model.parameters)),
    bytes(model.bytes),
    model.dtypes.join(', '),
    model.devices.join(', '),
    model.training ? trans.__('train mode') : trans.__('eval mode')
  ];
  return (
    <header className="jlc-Model">
      <div className="jlc-Model-row">
        <select
          className="jlc-Select jlc-Model-select"
          aria-label={trans.__('Model')}
          value={model.name}
          onChange={event => change('look', { model: event.target.value, active: '' })}
        >
          {models.map(({ name, slim }) => (
            <option key={name} value={name}>
              {slim === null ? shown(name) : trans.__('%1 (slim)', shown(name))}
            </option>
          ))}
        </select>
        <button
          type="button"
          className="jlc-Button jlc-mod-icon"
          title={trans.__('Refresh')}
          aria-label={trans.__('Refresh')}
          onClick={() => host.refresh()}
        >
          <svg viewBox="0 0 24 24" width="16" height="16" aria-hidden="true">
            <path d="M17.65 6.35A8 8 0 1 0 19.73 14h-2.08A6 6 0 1 1 12 6c1.66 0 3.14.69 4.22 1.78L13 11h7V4z" />
          </svg>
        </button>
      </div>
      <ul className="jlc-Facts" aria-label={trans.__('About this model')}>
        {facts.filter(Boolean).map(fact => (
          <li key={fact}>{fact}</li>
        ))}
      </ul>
      {model.lazy && (
        <p className="jlc-Notice">
          {trans.__('Some layers are lazy: they get their size at the first forward pass.')}
        </p>
      )}
      {shared.length > 0 && (
        <p className="jlc-Notice">{trans.__('This kernel is shared with %1.', shown(shared.join(', ')))}</p>
      )}
      {!complete && (
        <p className="jlc-Notice">{trans.__('The kernel holds more objects than are listed here.')}</p>
      )}
    </header>
  );
}
