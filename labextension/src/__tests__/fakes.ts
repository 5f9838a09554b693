/** A kernel and a host that do what the test says. */

import { Signal } from '@lumino/signaling';
import fixture from '../../fixtures/messages.json';
import { DEFAULTS, IHost, IHostState, plainTrans } from '../host';
import { KernelLike } from '../kernel/client';
import { IBlock, IModel, IState, readMessage } from '../kernel/messages';
import { IPlan } from '../model/plan';
import { IRequest, codeOf } from '../python/cells';

export const STATE = readMessage(fixture.state) as IState;
export const NET = STATE.models[0];
export const BLOCK = (NET.blocks as IBlock[])[0];

export const block = (name: string, width: number, fields: Partial<IBlock> = {}): IBlock => ({
  name,
  kind: 'mlp',
  unit: 'neurons',
  width,
  dimension: 10,
  parameters: 10 * width,
  macs: 9 * width,
  polylog: 40,
  locked: null,
  needs_input: false,
  ...fields
});
export const modelOf = (blocks: IBlock[]): IModel => ({
  ...NET,
  blocks,
  parameters: 1000 + blocks.reduce((sum, entry) => sum + entry.parameters, 0),
  bytes: 4 * (1000 + blocks.reduce((sum, entry) => sum + entry.parameters, 0))
});

export type Reply = { status: string; user_expressions?: { r: unknown } };

export const GREETING: Reply = {
  status: 'ok',
  user_expressions: {
    r: { status: 'ok', data: { 'application/json': { protocol: 1, version: '0.1.0' } }, metadata: {} }
  }
};

export function failing(ename: string, evalue: string): Reply {
  return { status: 'ok', user_expressions: { r: { status: 'error', ename, evalue } } };
}

interface ISent {
  header: { msg_type: string };
  content: { comm_id: string; target_name?: string; data: { [key: string]: unknown } };
}

export class FakeKernel {
  readonly id: string;
  readonly clientId = 'client';
  readonly username = '';
  status = 'idle';
  readonly iopubMessage = new Signal<this, unknown>(this);
  readonly statusChanged = new Signal<this, string>(this);
  readonly connectionStatusChanged = new Signal<this, string>(this);
  readonly sent: ISent[] = [];
  readonly asked: unknown[] = [];
  /** Replies to come; the last one is given for ever. */
  replies: (Reply | Promise<Reply>)[] = [GREETING];

  constructor(id = 'kernel') {
    this.id = id;
  }

  requestExecute(content: unknown): { done: Promise<unknown> } {
    this.asked.push(content);
    const reply = this.replies.length > 1 ? this.replies.shift() : this.replies[0];
    return { done: Promise.resolve(reply).then(answer => ({ content: answer })) };
  }

  sendShellMessage(message: unknown): void {
    this.sent.push(message as ISent);
  }

  /** The kernel pushes to a comm. */
  push(commId: string, data: unknown): void {
    this.iopubMessage.emit({ header: { msg_type: 'comm_msg' }, content: { comm_id: commId, data } });
  }

  get like(): KernelLike {
    return this as unknown as KernelLike;
  }
}

export class FakeHost implements IHost {
  readonly trans = plainTrans;
  cells = true;
  stopped = 0;
  /** What was run, with the cell that it is. */
  readonly ran: (IRequest & { code: string })[] = [];
  readonly copied: string[] = [];
  readonly loaded: string[] = [];
  readonly acted: string[] = [];
  readonly shown: (string | null)[] = [];
  readonly stop = (): void => {
    this.stopped++;
  };
  private _listeners = new Set<() => void>();
  private _state: IHostState = {
    situation: { kind: 'ready' },
    notebook: 'a.ipynb',
    shared: [],
    state: STATE,
    progress: null,
    run: null,
    failure: null,
    plans: [],
    defaults: { ...DEFAULTS, width: 1 / 16 }
  };

  constructor(fields: Partial<IHostState> = {}) {
    this._state = { ...this._state, ...fields };
  }

  getState(): IHostState {
    return this._state;
  }

  become(fields: Partial<IHostState>): void {
    this._state = { ...this._state, ...fields };
    this._listeners.forEach(listener => listener());
  }

  subscribe(listener: () => void): () => void {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }

  run(request: IRequest): void {
    this.ran.push({ ...request, code: codeOf(request) });
  }

  refresh(): void {
    this.acted.push('refresh');
  }

  loadBlocks(model: string): void {
    this.loaded.push(model);
  }

  shows(model: string | null): void {
    this.shown.push(model);
  }

  copy(text: string): void {
    this.copied.push(text);
  }

  savePlans(plans: IPlan[]): void {
    this.become({ plans });
  }

  act(action: string): void {
    this.acted.push(action);
  }

  recall(): unknown {
    return null;
  }

  remember(): void {
    // nothing outlives a test
  }
}
