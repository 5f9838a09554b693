/**
 * Follows the active notebook: which kernel it has, how that kernel is, which cells run.
 *
 * One `KernelClient` lives at a time, and only while the panel can be seen.
 */

import { INotebookTracker, NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import { ISignal, Signal } from '@lumino/signaling';
import { Situation } from '../host';
import { KernelClient } from '../kernel/client';
import { IState } from '../kernel/messages';

export class ActiveSession {
  constructor(tracker: INotebookTracker, page: string) {
    this._tracker = tracker;
    this._page = page;
    tracker.currentChanged.connect(this._follow, this);
    NotebookActions.executionScheduled.connect(this._onScheduled, this);
    NotebookActions.executed.connect(this._onExecuted, this);
    this._follow();
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get notebook(): NotebookPanel | null {
    return this._notebook;
  }

  get client(): KernelClient | null {
    return this._client;
  }

  /** What the kernel said; a panel that is shown again has what it said last until it speaks anew. */
  get state(): IState | null {
    const waiting = ['connecting', 'busy'].includes(this._client?.link.kind ?? 'connecting');
    const same = this._last !== null && this._last.id === this._notebook?.sessionContext.session?.kernel?.id;
    return this._client?.state ?? (waiting && same ? (this._last?.state ?? null) : null);
  }

  /** Whether cells of this page are queued or running in the active notebook. */
  get busy(): boolean {
    return this._notebook !== null && (this._running.get(this._notebook.content.id) ?? 0) > 0;
  }

  get visible(): boolean {
    return this._visible;
  }

  /** A panel that cannot be seen listens to nothing. */
  set visible(visible: boolean) {
    if (visible !== this._visible) {
      this._visible = visible;
      this._attach();
    }
  }

  set scan(scan: boolean) {
    if (scan !== this._scan) {
      this._scan = scan;
      this._attach();
    }
  }

  get situation(): Situation {
    const context = this._notebook?.sessionContext;
    if (context === undefined) {
      return { kind: 'no-notebook' };
    }
    if (!this._scan) {
      return { kind: 'scan-off' };
    }
    const kernel = context.session?.kernel;
    if (!kernel) {
      return { kind: context.hasNoKernel || context.isReady ? 'no-kernel' : 'starting' };
    }
    if (this._language !== '' && !this._language.toLowerCase().includes('python')) {
      return { kind: 'other-language', language: this._language };
    }
    const link = this._client?.link ?? { kind: 'connecting' };
    if (link.kind === 'connecting') {
      return { kind: this.busy ? 'busy' : 'starting' };
    }
    return link;
  }

  /** File names of other open notebooks on the same kernel. */
  get shared(): string[] {
    const id = this._notebook?.sessionContext.session?.kernel?.id;
    const names: string[] = [];
    this._tracker.forEach(panel => {
      if (panel !== this._notebook && id && panel.sessionContext.session?.kernel?.id === id) {
        names.push(panel.context.path.split('/').pop() ?? panel.context.path);
      }
    });
    return names;
  }

  private _follow(): void {
    const next = this._tracker.currentWidget;
    if (next === this._notebook) {
      return;
    }
    const old = this._notebook;
    if (old !== null && !old.isDisposed) {
      old.sessionContext.kernelChanged.disconnect(this._attach, this);
      old.sessionContext.statusChanged.disconnect(this._onStatus, this);
    }
    this._notebook = next;
    if (next !== null) {
      next.sessionContext.kernelChanged.connect(this._attach, this);
      next.sessionContext.statusChanged.connect(this._onStatus, this);
      next.disposed.connect(() => this._follow());
    }
    this._attach();
  }

  private _attach(): void {
    if (this._client?.state) {
      this._last = { id: this._client.kernel, state: this._client.state };
    }
    this._client?.dispose();
    this._client = null;
    this._language = '';
    const kernel = this._notebook?.sessionContext.session?.kernel;
    if (kernel && this._visible && this._scan) {
      void this._listen(kernel.id);
    }
    this._changed.emit();
  }

  private async _listen(id: string): Promise<void> {
    const context = this._notebook?.sessionContext;
    const spec = await context?.specsManager.ready.then(
      () => context.specsManager.specs?.kernelspecs[context.session?.kernel?.name ?? '']
    );
    const kernel = context?.session?.kernel;
    if (!kernel || kernel.id !== id || this._client !== null || !this._visible || !this._scan) {
      return;
    }
    this._language = spec?.language ?? 'python';
    if (this._language.toLowerCase().includes('python')) {
      this._client = new KernelClient(kernel, this._page);
      this._client.changed.connect(() => this._changed.emit());
    }
    this._changed.emit();
  }

  private _onStatus(): void {
    this._changed.emit();
  }

  private _onScheduled(_: unknown, args: { notebook: { id: string } }): void {
    this._count(args.notebook.id, 1);
  }

  private _onExecuted(_: unknown, args: { notebook: { id: string } }): void {
    this._count(args.notebook.id, -1);
  }

  private _count(id: string, step: 1 | -1): void {
    this._running.set(id, Math.max(0, (this._running.get(id) ?? 0) + step));
    this._changed.emit();
  }

  private readonly _tracker: INotebookTracker;
  private readonly _page: string;
  private readonly _changed = new Signal<this, void>(this);
  private readonly _running = new Map<string, number>();
  private _notebook: NotebookPanel | null = null;
  private _client: KernelClient | null = null;
  private _last: { id: string; state: IState } | null = null;
  private _language = '';
  private _visible = false;
  private _scan = true;
}
