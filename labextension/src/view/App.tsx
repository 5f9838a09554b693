/** The whole panel, the same in the side bar and in a cell. */

import * as React from 'react';
import { IHost, ITrans } from '../host';
import { IModel } from '../kernel/messages';
import { BlockTable } from './blocks/BlockTable';
import { PanelContext } from './context';
import { FindBlocks } from './blocks/FindBlocks';
import { ModelPicker } from './ModelPicker';
import { Plans } from './blocks/Plans';
import { Progress } from './steps/RunBar';
import { SituationCard } from './SituationCard';
import { Steps } from './steps/Steps';
import { Change, FIRST, IChoices, change, recalled } from './choices';
import { Totals } from './blocks/Totals';
import { WidthEditor } from './blocks/WidthEditor';

export function App({ host }: { host: IHost }): JSX.Element {
  const hostState = React.useSyncExternalStore(
    React.useCallback(listener => host.subscribe(listener), [host]),
    () => host.getState()
  );
  const [choices, dispatch] = React.useReducer(reduce, FIRST);
  const [said, announce] = React.useState('');
  const { notebook, situation, state, failure, run } = hostState;

  React.useEffect(() => dispatch({ type: 'recall', value: host.recall(notebook) }), [host, notebook]);
  const remembered = React.useRef(notebook);
  React.useEffect(() => {
    if (remembered.current === notebook) {
      host.remember(notebook, choices);
    }
    remembered.current = notebook;
  }, [host, notebook, choices]);

  const models = state?.models ?? [];
  const model = models.find(entry => entry.name === choices.model) ?? firstModel(models);
  const missing = model !== undefined && model.blocks === null && !model.heavy ? model.name : null;
  React.useEffect(() => {
    if (missing !== null && run === null) {
      host.loadBlocks(missing);
    }
  }, [host, missing, run]);

  useFoundWidths(model, dispatch, announce, host.trans);

  const context = React.useMemo(
    () => ({ host, hostState, choices, change: dispatch, announce }),
    [host, hostState, choices]
  );
  const { trans } = host;
  return (
    <PanelContext value={context}>
      <section className="jlc-App" aria-label={trans.__('Compress')}>
        {state === null || model === undefined ? (
          <SituationCard />
        ) : (
          <>
            {situation.kind !== 'ready' && <SituationCard />}
            <ModelPicker models={models} model={model} />
            <BlockTable key={`${notebook}/${model.name}`} model={model} />
            <FindBlocks model={model} />
            <WidthEditor model={model} />
            <Totals model={model} />
            <Steps model={model} />
            <Plans model={model} />
          </>
        )}
        <Progress />
        {failure !== null && (
          <p className="jlc-Notice jlc-mod-warning" role="alert">
            {failure}
          </p>
        )}
        <div className="jlc-live" role="status" aria-live="polite">
          {said}
        </div>
      </section>
    </PanelContext>
  );
}

/** Widths that a cell finds while the panel is open become the plan. */
function useFoundWidths(
  model: IModel | undefined,
  dispatch: (by: Change) => void,
  announce: (sentence: string) => void,
  trans: ITrans
): void {
  const found = model?.widths ? JSON.stringify([model.name, model.widths]) : '';
  const last = React.useRef<{ [model: string]: string }>({});
  React.useEffect(() => {
    if (model === undefined) {
      return;
    }
    const before = last.current[model.name];
    last.current[model.name] = found;
    if (before !== undefined && before !== found && model.widths) {
      dispatch({ type: 'widths', model: model.name, widths: model.widths });
      const count = Object.keys(model.widths).length;
      announce(trans._n('The width of %1 block is set.', 'The widths of %1 blocks are set.', count));
    }
  }, [model, found, dispatch, announce, trans]);
}

/** A slim model is what became of another one: look at the other one first. */
function firstModel(models: IModel[]): IModel | undefined {
  return models.find(model => model.slim === null) ?? models[0];
}

function reduce(choices: IChoices, by: Change | { type: 'recall'; value: unknown }): IChoices {
  return by.type === 'recall' ? recalled(by.value) : change(choices, by);
}
