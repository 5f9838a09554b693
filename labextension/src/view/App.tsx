/** The whole panel, the same in the side bar and in a cell. */

import * as React from 'react';
import { IHost } from '../host';
import { IModel } from '../kernel/messages';
import { BlockTable } from './blocks/BlockTable';
import { FindBlocks } from './blocks/FindBlocks';
import { Plans } from './blocks/Plans';
import { Totals } from './blocks/Totals';
import { WidthEditor } from './blocks/WidthEditor';
import { ModelPicker } from './ModelPicker';
import { SituationCard } from './SituationCard';
import { recalled, withWidths } from './state/choices';
import { PanelContext, panelOf, useChoices, useHostState, usePanel } from './state/context';
import { Progress } from './steps/RunBar';
import { Steps } from './steps/Steps';

const NO_MODELS: IModel[] = [];

export function App({ host }: { host: IHost }): JSX.Element {
  const panel = React.useMemo(() => panelOf(host), [host]);
  return (
    <PanelContext value={panel}>
      <Page />
    </PanelContext>
  );
}

function Page(): JSX.Element {
  const { trans } = usePanel();
  const notebook = useHostState(state => state.notebook);
  const ready = useHostState(({ situation }) => situation.kind === 'ready');
  const models = useHostState(({ state }) => state?.models ?? NO_MODELS);
  const chosen = useChoices(({ look }) => look.model);
  const model = models.find(entry => entry.name === chosen) ?? firstModel(models);
  useMemory(notebook);
  useShown(model?.name ?? null);
  useBlocks(model);
  useFoundWidths(model);
  return (
    <section className="jlc-App" aria-label={trans.__('Compress')}>
      {model === undefined ? (
        <SituationCard />
      ) : (
        <>
          {!ready && <SituationCard />}
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
      <Failure />
      <Announcement />
    </section>
  );
}

/** What was chosen in a notebook is there again when the notebook is. */
function useMemory(notebook: string): void {
  const { host, choices } = usePanel();
  React.useEffect(() => {
    choices.set(recalled(host.recall(notebook)));
    return choices.subscribe(() => host.remember(notebook, choices.getState()));
  }, [host, notebook, choices]);
}

function useShown(model: string | null): void {
  const { host } = usePanel();
  React.useEffect(() => host.shows(model), [host, model]);
}

/** Ask for blocks that are quickly found, but not while a cell runs. */
function useBlocks(model: IModel | undefined): void {
  const { host } = usePanel();
  const idle = useHostState(({ run }) => run === null);
  const missing = model !== undefined && model.blocks === null && !model.heavy ? model.name : null;
  React.useEffect(() => {
    if (missing !== null && idle) {
      host.loadBlocks(missing);
    }
  }, [host, missing, idle]);
}

/** Widths that a cell finds while the panel is open become the plan. */
function useFoundWidths(model: IModel | undefined): void {
  const { change, announce, trans } = usePanel();
  const found = model?.widths ? JSON.stringify([model.name, model.widths]) : '';
  const last = React.useRef(new Map<string, string>());
  React.useEffect(() => {
    if (model === undefined) {
      return;
    }
    const { name, widths } = model;
    const before = last.current.get(name);
    last.current.set(name, found);
    if (before !== undefined && before !== found && widths) {
      change('plan', plan => withWidths(plan, name, widths));
      const count = Object.keys(widths).length;
      announce(trans._n('The width of %1 block is set.', 'The widths of %1 blocks are set.', count));
    }
  }, [model, found, change, announce, trans]);
}

function Failure(): JSX.Element | null {
  const failure = useHostState(state => state.failure);
  return failure === null ? null : (
    <p className="jlc-Notice jlc-mod-warning" role="alert">
      {failure}
    </p>
  );
}

function Announcement(): JSX.Element {
  const { announced } = usePanel();
  const sentence = React.useSyncExternalStore(announced.subscribe, announced.getState);
  return (
    <div className="jlc-live" role="status" aria-live="polite">
      {sentence}
    </div>
  );
}

/** A slim model is what became of another one: look at the other one first. */
function firstModel(models: IModel[]): IModel | undefined {
  return models.find(model => model.slim === null) ?? models[0];
}
