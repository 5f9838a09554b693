/** Compress, validate, export: one flow, one cell each. */

import * as React from 'react';
import { IModel } from '../../kernel/messages';
import { StepName } from '../state/choices';
import { useChoices, usePanel, useResults } from '../state/context';
import { CompressStep } from './CompressStep';
import { ExportStep } from './ExportStep';
import { ValidateStep } from './ValidateStep';

export function Steps({ model }: { model: IModel }): JSX.Element {
  const { change, trans } = usePanel();
  const results = useResults();
  const now = useChoices(({ flow }) => flow.step);
  const steps: [StepName, string, string][] = [
    ['compress', trans.__('Compress'), 'compression'],
    ['validate', trans.__('Validate'), 'validation'],
    ['export', trans.__('Export'), 'export']
  ];
  const at = steps.findIndex(([step]) => step === now);
  const tabs = React.useRef<(HTMLButtonElement | null)[]>([]);
  const go = (index: number): void => {
    const next = (index + steps.length) % steps.length;
    change('flow', { step: steps[next][0] });
    tabs.current[next]?.focus();
  };
  return (
    <div className="jlc-Steps">
      <div
        role="tablist"
        aria-label={trans.__('Steps')}
        className="jlc-Tabs"
        onKeyDown={event => {
          if (event.key === 'ArrowRight' || event.key === 'ArrowLeft') {
            event.preventDefault();
            go(at + (event.key === 'ArrowRight' ? 1 : -1));
          }
        }}
      >
        {steps.map(([step, label, kind], index) => {
          const done = results.some(
            result => result.kind === kind && result.name.startsWith(`${model.name}_`)
          );
          return (
            <button
              key={step}
              ref={element => (tabs.current[index] = element)}
              type="button"
              role="tab"
              id={`jlc-tab-${step}`}
              aria-selected={index === at}
              aria-controls="jlc-step"
              tabIndex={index === at ? 0 : -1}
              className="jlc-Tab"
              onClick={() => go(index)}
            >
              <span className="jlc-Tab-mark" aria-hidden="true">
                {done ? '✓' : index + 1}
              </span>
              {label}
              {done && <span className="jlc-live">{trans.__('done')}</span>}
            </button>
          );
        })}
      </div>
      <div role="tabpanel" id="jlc-step" aria-labelledby={`jlc-tab-${now}`} className="jlc-Step">
        {now === 'compress' && <CompressStep model={model} />}
        {now === 'validate' && <ValidateStep model={model} />}
        {now === 'export' && <ExportStep model={model} />}
      </div>
    </div>
  );
}
