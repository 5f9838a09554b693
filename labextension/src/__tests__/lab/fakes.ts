/** Notebooks and a tracker that do what the test says, around JupyterLab's own notebook model. */

import { INotebookTracker, NotebookActions, NotebookModel, NotebookPanel } from '@jupyterlab/notebook';
import { Signal } from '@lumino/signaling';
import { FakeKernel } from '../fakes';

export const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) {
    await Promise.resolve();
  }
};

class FakeContext {
  readonly kernelChanged = new Signal<this, unknown>(this);
  readonly statusChanged = new Signal<this, string>(this);
  session: { kernel: (FakeKernel & { name: string; interrupt: jest.Mock }) | null } | null;
  isReady = true;
  hasNoKernel = false;
  readonly restartKernel = jest.fn(async () => undefined);
  readonly specsManager: { ready: Promise<void>; specs: { kernelspecs: { [name: string]: unknown } } };

  private static count = 0;

  constructor(language: string) {
    this.session = {
      kernel: Object.assign(new FakeKernel(`kernel-${FakeContext.count++}`), {
        name: 'kernel',
        interrupt: jest.fn()
      })
    };
    this.specsManager = { ready: Promise.resolve(), specs: { kernelspecs: { kernel: { language } } } };
  }
}

export class FakeNotebook {
  readonly disposed = new Signal<this, void>(this);
  readonly isDisposed = false;
  readonly context: { path: string };
  readonly sessionContext: FakeContext;
  readonly model = new NotebookModel();
  readonly content = {
    id: `notebook-${FakeNotebook.count++}`,
    model: this.model as NotebookModel | null,
    activeCellIndex: 0,
    deselectAll: jest.fn(),
    scrollToItem: jest.fn(async () => undefined)
  };
  private static count = 0;

  constructor(path = 'a.ipynb', language = 'python') {
    this.context = { path };
    this.sessionContext = new FakeContext(language);
  }

  get kernel(): FakeKernel {
    return this.sessionContext.session?.kernel as FakeKernel;
  }

  get sources(): string[] {
    return this.model.sharedModel.cells.map(cell => cell.getSource());
  }

  get like(): NotebookPanel {
    return this as unknown as NotebookPanel;
  }

  /** The kernel of this notebook answers on the side panel's comm. */
  push(data: unknown): void {
    this.kernel.push(this.kernel.sent[0].content.comm_id, data);
  }
}

export class FakeTracker {
  readonly currentChanged = new Signal<this, unknown>(this);
  readonly all: FakeNotebook[];
  currentWidget: FakeNotebook | null;

  constructor(...notebooks: FakeNotebook[]) {
    this.all = notebooks;
    this.currentWidget = notebooks[0] ?? null;
  }

  forEach(callback: (notebook: FakeNotebook) => void): void {
    this.all.forEach(callback);
  }

  find(test: (notebook: FakeNotebook) => boolean): FakeNotebook | undefined {
    return this.all.find(test);
  }

  become(notebook: FakeNotebook | null): void {
    this.currentWidget = notebook;
    this.currentChanged.emit(notebook);
  }

  get like(): INotebookTracker {
    return this as unknown as INotebookTracker;
  }
}

/** A cell of a notebook is queued, or has run. */
export function cellOf(notebook: FakeNotebook, happens: 'executionScheduled' | 'executed'): void {
  const signal = NotebookActions[happens] as unknown as Signal<unknown, unknown>;
  signal.emit({ notebook: notebook.content });
}
