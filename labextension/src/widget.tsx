/** The in-cell host: the shared view on an anywidget model; requests go to its Python object. */

import * as React from 'react';
import { createRoot } from 'react-dom/client';
import { DEFAULTS, IDefaults, IHost, IHostState, plainTrans } from './host';
import { IProgress, readMessage } from './kernel/messages';
import { IPlan, readPlans } from './model/plan';
import { ActionName } from './python/actions';
import { IRequest } from './python/cells';
import { App } from './view/App';

/** What anywidget gives; only what is used here. */
interface IWidgetModel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown): void;
  on(event: string, callback: (content: unknown) => void): void;
  off(event: string, callback: (content: unknown) => void): void;
}

const TRAITS = ['state', 'running', 'failure', 'plans', 'defaults'];

export class WidgetHost implements IHost {
  constructor(model: IWidgetModel) {
    this._model = model;
    TRAITS.forEach(trait => model.on(`change:${trait}`, this._changed));
    model.on('msg:custom', this._told);
  }

  readonly trans = plainTrans;
  readonly cells = false;
  readonly stop = null;

  getState(): IHostState {
    if (this._snapshot === null) {
      const state = readMessage(this._model.get('state'));
      const running = String(this._model.get('running') ?? '');
      this._since = running === '' ? 0 : this._since || Date.now();
      this._snapshot = {
        situation: { kind: 'ready' },
        notebook: '',
        shared: [],
        state: state?.type === 'state' ? state : null,
        progress: running === '' ? null : this._progress,
        run: running === '' ? null : { action: running as ActionName, model: '', since: this._since },
        failure: String(this._model.get('failure') || '') || null,
        plans: readPlans(this._model.get('plans')),
        defaults: { ...DEFAULTS, ...(this._model.get('defaults') as Partial<IDefaults> | undefined) }
      };
    }
    return this._snapshot;
  }

  subscribe(listener: () => void): () => void {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }

  run({ action, model, fields }: IRequest): void {
    this._progress = null;
    this._model.send({ op: action, model, fields });
  }

  refresh(): void {
    this._model.send({ op: 'state' });
  }

  loadBlocks(model: string): void {
    this._model.send({ op: 'blocks', model });
  }

  shows(): void {
    // nobody looks at a widget from outside
  }

  copy(text: string): void {
    void navigator.clipboard?.writeText(text);
  }

  savePlans(plans: IPlan[]): void {
    this._model.set('plans', plans);
    this._model.save_changes();
    this._changed();
  }

  act(): void {
    this.refresh();
  }

  recall(): unknown {
    return null;
  }

  remember(): void {
    // a widget lives as long as its cell's output
  }

  dispose(): void {
    TRAITS.forEach(trait => this._model.off(`change:${trait}`, this._changed));
    this._model.off('msg:custom', this._told);
  }

  private readonly _changed = (): void => {
    this._snapshot = null;
    this._listeners.forEach(listener => listener());
  };

  private readonly _told = (content: unknown): void => {
    const message = readMessage(content);
    if (message?.type === 'progress') {
      this._progress = { ...message, seconds: (Date.now() - this._since) / 1000 };
      this._changed();
    }
  };

  private readonly _model: IWidgetModel;
  private readonly _listeners = new Set<() => void>();
  private _progress: IProgress | null = null;
  private _since = 0;
  private _snapshot: IHostState | null = null;
}

export default {
  render({ model, el }: { model: IWidgetModel; el: HTMLElement }): () => void {
    const host = new WidgetHost(model);
    const root = createRoot(el);
    el.classList.add('jlc-Widget');
    root.render(<App host={host} />);
    return () => {
      root.unmount();
      host.dispose();
    };
  }
};
