/** The button of a step, and while it runs its progress and the notebook's own stop. */

import * as React from 'react';
import { Step } from '../host';
import { usePanel } from './context';
import { duration } from './words';

interface IRunBar {
  step: Step;
  model: string;
  label: string;
  /** Why it cannot run yet, or null. */
  hindrance: string | null;
  code: string;
  fields?: { [key: string]: unknown };
  secondary?: boolean;
}

export function RunBar({ step, model, label, hindrance, code, fields, secondary }: IRunBar): JSX.Element {
  const { host, hostState, trans } = usePanel();
  const { run, situation } = hostState;
  const busy = run !== null;
  const why =
    hindrance ??
    (situation.kind === 'ready' || situation.kind === 'busy' ? null : trans.__('The kernel is not there.'));
  const hint = React.useId();
  return (
    <div className="jlc-Run">
      <button
        type="button"
        className={secondary ? 'jlc-Button' : 'jlc-Button jlc-mod-primary'}
        disabled={busy || why !== null}
        aria-describedby={why === null ? undefined : hint}
        onClick={() => host.run({ step, model, code, fields: fields ?? {} })}
      >
        {label}
      </button>
      {why !== null && !busy && (
        <span id={hint} className="jlc-Hint">
          {why}
        </span>
      )}
    </div>
  );
}

/** Progress of whatever this panel or this kernel runs now. */
export function Progress(): JSX.Element | null {
  const { host, hostState, trans, announce } = usePanel();
  const { run, progress } = hostState;
  const [now, setNow] = React.useState(() => Date.now());
  const running = run !== null || progress !== null;
  React.useEffect(() => {
    if (running) {
      const timer = setInterval(() => setNow(Date.now()), 500);
      return () => clearInterval(timer);
    }
  }, [running]);
  const label = progress?.label ?? (run === null ? '' : stepWords(run.step, trans.__.bind(trans)));
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
        <progress aria-label={label} max={1} value={share ?? undefined} />
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

function stepWords(step: Step, __: (text: string) => string): string {
  return {
    find: __('Finding blocks'),
    compress: __('Compressing'),
    forecast: __('Predicting errors'),
    validate: __('Validating'),
    export: __('Exporting')
  }[step];
}
