/** The buttons of a step with the cell that they write, and while one runs its progress and the notebook's own stop. */

import * as React from 'react';
import { ITrans, Step } from '../../host';
import { useHostState, usePanel } from '../state/context';
import { Code } from '../parts/fields';
import { duration } from '../parts/format';

interface ICommandButton {
  step: Step;
  label: string;
  code: () => string;
  fields?: { [key: string]: unknown };
  secondary?: boolean;
}

interface IRunBar {
  model: string;
  /** Why nothing of it can run yet, or null. */
  hindrance: string | null;
  commands: ICommandButton[];
}

export function RunBar({ model, hindrance, commands }: IRunBar): JSX.Element {
  const { host, trans } = usePanel();
  const run = useHostState(state => state.run);
  const here = useHostState(({ situation }) => situation.kind === 'ready' || situation.kind === 'busy');
  const why = hindrance ?? (here ? null : trans.__('The kernel is not connected.'));
  const hint = React.useId();
  return (
    <>
      <div className="jlc-Run">
        {commands.map(({ step, label, code, fields, secondary }) => (
          <button
            key={step}
            type="button"
            className={secondary ? 'jlc-Button' : 'jlc-Button jlc-mod-primary'}
            disabled={run !== null || why !== null}
            aria-describedby={why === null ? undefined : hint}
            onClick={() => host.run({ step, model, code: code(), fields: fields ?? {} })}
          >
            {label}
          </button>
        ))}
        {why !== null && run === null && (
          <span id={hint} className="jlc-Hint">
            {why}
          </span>
        )}
      </div>
      {hindrance === null && !commands[0].secondary && <Code code={commands[0].code()} />}
    </>
  );
}

/** Progress of whatever this panel or this kernel runs now. */
export function Progress(): JSX.Element | null {
  const { host, trans, announce } = usePanel();
  const run = useHostState(state => state.run);
  const progress = useHostState(state => state.progress);
  const [now, setNow] = React.useState(() => Date.now());
  const running = run !== null || progress !== null;
  React.useEffect(() => {
    if (running) {
      const timer = setInterval(() => setNow(Date.now()), 500);
      return () => clearInterval(timer);
    }
  }, [running]);
  const label = progress?.label || (run === null ? '' : stepWords(run.step, trans));
  const share = progress !== null && progress.total ? progress.done / progress.total : null;
  const quarter = share === null ? -1 : Math.floor(4 * share);
  React.useEffect(() => {
    if (quarter > 0) {
      announce(trans.__('%1: %2 percent', label, 25 * quarter));
    }
  }, [quarter, label, announce, trans]);
  if (!running) {
    return null;
  }
  const elapsed = progress?.seconds ?? (run === null ? 0 : (now - run.since) / 1000);
  const left = share !== null && share > 0.02 ? elapsed / share - elapsed : null;
  return (
    <div className="jlc-Progress">
      <div className="jlc-Progress-words">
        <span>{label}</span>
        <span>
          {left === null
            ? trans.__('%1 so far', duration(elapsed))
            : trans.__('%1 %, about %2 left', Math.round(100 * (share ?? 0)), duration(left))}
        </span>
      </div>
      <div className="jlc-Progress-row">
        <progress aria-label={label || trans.__('Running')} max={1} value={share ?? undefined} />
        {host.stop !== null && (
          <button type="button" className="jlc-Button" onClick={host.stop}>
            {trans.__('Stop')}
          </button>
        )}
      </div>
      {host.stop === null && <p className="jlc-Hint">{trans.__('To stop it, interrupt the kernel.')}</p>}
    </div>
  );
}

function stepWords(step: Step, trans: ITrans): string {
  return {
    find: trans.__('Finding blocks'),
    compress: trans.__('Compressing'),
    forecast: trans.__('Predicting errors'),
    share: trans.__('Allocating widths'),
    validate: trans.__('Validating'),
    export: trans.__('Exporting'),
    serve: trans.__('Serving and comparing')
  }[step];
}
