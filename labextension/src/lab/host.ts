/** The side panel's host: requests become cells of the active notebook, plans live in its metadata. */

import { CommandRegistry } from '@lumino/commands';
import { DEFAULTS, HostAction, IDefaults, IHost, IHostState, IRun, ITrans } from '../host';
import { IPlan, readPlans } from '../model/plan';
import { IRequest, codeOf } from '../python/cells';
import { insertAndRun } from './cells';
import { ActiveSession } from './session';

const PLANS = 'jlab-compress';
const MEMORY = 'jlab-compress:';

export class LabHost implements IHost {
  constructor(session: ActiveSession, commands: CommandRegistry, trans: ITrans) {
    this.trans = trans;
    this._session = session;
    this._commands = commands;
    session.changed.connect(this._changed, this);
  }

  readonly trans: ITrans;
  readonly cells = true;
  readonly stop = (): void => {
    void this._session.notebook?.sessionContext.session?.kernel?.interrupt();
  };

  set defaults(defaults: Partial<IDefaults>) {
    this._defaults = { ...this._defaults, ...defaults };
    this._changed();
  }

  /** Told when the person asks for the scan to be switched on again. */
  onScan: () => void = () => undefined;

  getState(): IHostState {
    if (this._snapshot === null) {
      const { notebook, client, situation, shared } = this._session;
      const path = notebook?.context.path ?? '';
      this._snapshot = {
        situation,
        notebook: path,
        shared,
        state: this._session.state,
        progress: client?.progress ?? null,
        run: this._runs.get(path) ?? null,
        failure: this._failures.get(path) ?? null,
        plans: readPlans((notebook?.model?.getMetadata(PLANS) as { plans?: unknown })?.plans),
        defaults: this._defaults
      };
    }
    return this._snapshot;
  }

  subscribe(listener: () => void): () => void {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }

  run(request: IRequest): void {
    const notebook = this._session.notebook;
    if (notebook === null) {
      return;
    }
    const path = notebook.context.path;
    this._runs.set(path, { action: request.action, model: request.model, since: Date.now() });
    this._failures.delete(path);
    this._changed();
    const sentences = {
      failed: this.trans.__('The cell ended with an error; it says why.'),
      'read-only': this.trans.__('This notebook cannot be edited, so no cell could be written.')
    };
    insertAndRun(notebook, codeOf(request))
      .then(outcome => outcome === 'done' || this._failures.set(path, sentences[outcome]))
      .catch((reason: unknown) => this._failures.set(path, String(reason)))
      .finally(() => {
        this._runs.delete(path);
        this._changed();
      });
  }

  refresh(): void {
    const client = this._session.client;
    if (client?.link.kind === 'ready') {
      client.refresh();
    } else {
      void client?.connect();
    }
  }

  loadBlocks(model: string): void {
    this._session.client?.request('blocks', { model }).catch(() => this.refresh());
  }

  /** The model that the view shows. */
  get model(): string | null {
    return this._model;
  }

  shows(model: string | null): void {
    if (model !== this._model) {
      this._model = model;
      this._changed();
    }
  }

  copy(text: string): void {
    void navigator.clipboard?.writeText(text);
  }

  savePlans(plans: IPlan[]): void {
    this._session.notebook?.model?.setMetadata(PLANS, { plans });
    this._changed();
  }

  act(action: HostAction): void {
    switch (action) {
      case 'open-notebook':
        void this._commands.execute('notebook:create-new', { activate: true });
        break;
      case 'choose-kernel':
        void this._commands.execute('notebook:change-kernel');
        break;
      case 'restart-kernel':
        void this._session.notebook?.sessionContext.restartKernel();
        break;
      case 'connect':
        void this._session.client?.connect();
        break;
      case 'switch-scan-on':
        this.onScan();
        break;
    }
  }

  recall(key: string): unknown {
    try {
      return JSON.parse(sessionStorage.getItem(MEMORY + key) ?? 'null');
    } catch {
      return null;
    }
  }

  remember(key: string, value: unknown): void {
    try {
      sessionStorage.setItem(MEMORY + key, JSON.stringify(value));
    } catch {
      // a full or forbidden store costs the memory of a reload, nothing else
    }
  }

  private _changed(): void {
    this._snapshot = null;
    this._listeners.forEach(listener => listener());
  }

  private readonly _session: ActiveSession;
  private readonly _commands: CommandRegistry;
  private readonly _listeners = new Set<() => void>();
  private readonly _runs = new Map<string, IRun>();
  private readonly _failures = new Map<string, string>();
  private _model: string | null = null;
  private _defaults: IDefaults = DEFAULTS;
  private _snapshot: IHostState | null = null;
}
