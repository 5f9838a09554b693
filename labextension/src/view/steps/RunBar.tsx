/** The buttons of a step with the cell that they write, and while one runs its progress and the notebook's own stop. */

import * as React from 'react';
import { ITrans } from '../../host';
import { ActionName } from '../../python/actions';
import { IRequest, codeOf } from '../../python/cells';
import { Code } from '../parts/fields';
import { duration } from '../parts/format';
import { useHostState, usePanel } from '../state/context';

interface IRequestButton {
  label: string;
  /** Made when it is asked for: names that are no names yet are refused then. */
  request: () => IRequest;
  secondary?: boolean;
}

interface IRunBar {
  /** Why nothing of it can run yet, or null. */
  hindrance: string | null;
  buttons: IRequestButton[];
}

export function RunBar({ hindrance, buttons }: IRunBar): JSX.Element {
  const { host, trans } = usePanel();
  const run = useHostState(state => state.run);
  const here = useHostState(({ situation }) => situation.kind === 'ready' || situation.kind === 'busy');
  const why = hindrance ?? (here ? null : trans.__('The kernel is not connected.'));
  const hint = React.useId();
  return (
    <>
      <div className="jlc-Run">
        {buttons.map(({ label, request, secondary }) => (
          <button
            key={label}
            type="button"
            className={secondary ? 'jlc-Button' : 'jlc-Button jlc-mod-primary'}
            disabled={run !== null || why !== null}
            aria-describedby={why === null ? undefined : hint}
            onClick={() => host.run(request())}
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
      {hindrance === null && !buttons[0].secondary && <Code code={codeOf(buttons[0].request())} />}
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
  const label = progress?.label || (run === null ? '' : wordsFor(run.action, trans));
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

function wordsFor(action: ActionName, trans: ITrans): string {
  return {
    inspect: trans.__('Finding blocks'),
    run: trans.__('Compressing'),
    sweep: trans.__('Predicting errors'),
    allocate: trans.__('Allocating widths'),
    validate: trans.__('Validating'),
    export: trans.__('Exporting'),
    serve: trans.__('Serving and comparing')
  }[action];
}
