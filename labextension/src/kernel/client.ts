/**
 * One kernel, listened to.
 *
 * The kernel pushes over one comm that this class speaks by plain messages on the main shell: no
 * subshell is started, requests keep their order with the cells, and a page that is loaded again takes
 * up its old comm by its id, so that it hears a running cell before the kernel can answer.
 */

import { Kernel, KernelMessage } from '@jupyterlab/services';
import { ISignal, Signal } from '@lumino/signaling';
import { IProgress, IState, Message, PROTOCOL, TARGET, isRecord, readMessage } from './messages';

const PACKAGE = 'jlab_compress';
/** The module of the package that lets panels in, by a function that keeps its name. */
const DOOR = 'jlab_compress.notebook';
const BOOTSTRAP = `__import__('${DOOR}', fromlist=['connect']).connect()`;
const PATIENCE_MS = 600;
const RETRY_MS = 250;
const RETRIES = 40;

/** How a kernel is that was asked for its models. */
export type KernelSituation =
  | { kind: 'busy' }
  | { kind: 'restarting' }
  | { kind: 'dead' }
  | { kind: 'offline' }
  | { kind: 'missing' }
  | { kind: 'outdated'; version: string }
  | { kind: 'fault'; message: string }
  | { kind: 'ready' };

export type Link = KernelSituation | { kind: 'connecting' };

export type KernelLike = Pick<
  Kernel.IKernelConnection,
  | 'id'
  | 'clientId'
  | 'username'
  | 'status'
  | 'requestExecute'
  | 'sendShellMessage'
  | 'iopubMessage'
  | 'statusChanged'
  | 'connectionStatusChanged'
>;

interface IPending {
  resolve: (message: Message) => void;
  reject: (reason: Error) => void;
}

/** Why the door did not open: no package, a package without this door, or what it says itself. */
function refusal(name: string, message: string): KernelSituation {
  if (name === 'ModuleNotFoundError' && message === `No module named '${PACKAGE}'`) {
    return { kind: 'missing' };
  }
  if (name === 'AttributeError' || message === `No module named '${DOOR}'`) {
    return { kind: 'outdated', version: '' };
  }
  return { kind: 'fault', message: `${name}: ${message}` };
}

export class KernelClient {
  constructor(kernel: KernelLike, page: string) {
    this._kernel = kernel;
    this.commId = `${TARGET}-${page}-${kernel.id}`;
    kernel.iopubMessage.connect(this._onMessage, this);
    kernel.statusChanged.connect(this._onStatus, this);
    kernel.connectionStatusChanged.connect(this._onConnection, this);
    void this.connect();
  }

  readonly commId: string;

  get kernel(): string {
    return this._kernel.id;
  }

  get link(): Link {
    return this._link;
  }

  get state(): IState | null {
    return this._state;
  }

  get progress(): IProgress | null {
    return this._progress;
  }

  /** Emitted when `link`, `state` or `progress` changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Load the package's channel in the kernel and open the comm; safe to call again at any time. */
  async connect(): Promise<void> {
    const turn = ++this._turn;
    this._setLink({ kind: 'connecting' });
    const patience = setTimeout(() => {
      if (turn === this._turn && this._link.kind === 'connecting') {
        this._setLink({ kind: 'busy' });
      }
    }, PATIENCE_MS);
    try {
      for (let attempt = 0; attempt < RETRIES; attempt++) {
        const reply = await this._bootstrap();
        if (this._disposed || turn !== this._turn) {
          return;
        }
        if (reply !== null) {
          this._greet(reply);
          return;
        }
        await new Promise(resolve => setTimeout(resolve, RETRY_MS));
      }
      this._setLink({ kind: 'fault', message: '' });
    } catch {
      // the kernel went away: its status says what comes next
    } finally {
      clearTimeout(patience);
    }
  }

  /** Send one request and resolve with its reply; rejects with the kernel's sentence. */
  request(op: string, fields: { [key: string]: string } = {}): Promise<Message> {
    const request = ++this._requests;
    return new Promise((resolve, reject) => {
      this._pending.set(request, { resolve, reject });
      this._send('comm_msg', { comm_id: this.commId, data: { op, request, ...fields } });
    });
  }

  /** Ask for the whole state again. */
  refresh(): void {
    this.request('state').catch(() => void this.connect());
  }

  dispose(): void {
    if (this._disposed) {
      return;
    }
    this._disposed = true;
    if (this._opened) {
      this._send('comm_close', { comm_id: this.commId, data: {} });
    }
    this._rejectPending();
    Signal.clearData(this);
  }

  /** `null` if the request was thrown away because a cell before it failed. */
  private async _bootstrap(): Promise<unknown> {
    const future = this._kernel.requestExecute(
      {
        code: '',
        silent: true,
        store_history: false,
        allow_stdin: false,
        user_expressions: { r: BOOTSTRAP }
      },
      true
    );
    const { content } = await future.done;
    // An aborted reply is 'aborted' by protocol and 'error' without expressions in older kernels.
    return content.status === 'ok' ? content.user_expressions.r : null;
  }

  private _greet(reply: unknown): void {
    if (!isRecord(reply)) {
      return this._setLink({ kind: 'fault', message: '' });
    }
    if (reply.status === 'error') {
      return this._setLink(refusal(String(reply.ename), String(reply.evalue)));
    }
    const data = isRecord(reply.data) ? reply.data['application/json'] : undefined;
    if (!isRecord(data) || data.protocol !== PROTOCOL) {
      const version = isRecord(data) ? String(data.version) : '';
      return this._setLink({ kind: 'outdated', version });
    }
    this._opened = true;
    this._send('comm_open', { comm_id: this.commId, target_name: TARGET, data: {} });
  }

  private _send(
    msgType: 'comm_open' | 'comm_msg' | 'comm_close',
    content: { comm_id: string; target_name?: string; data: { [key: string]: string | number } }
  ): void {
    const message = KernelMessage.createMessage({
      msgType,
      channel: 'shell',
      username: this._kernel.username,
      session: this._kernel.clientId,
      content
    } as KernelMessage.IOptions<KernelMessage.ICommMsgMsg<'shell'>>);
    try {
      this._kernel.sendShellMessage(message, false, true);
    } catch {
      // the kernel connection is gone; its status tells the rest
    }
  }

  private _onMessage(_: unknown, message: KernelMessage.IIOPubMessage): void {
    if (this._disposed || message.header.msg_type !== 'comm_msg') {
      return;
    }
    const content = message.content as { comm_id?: unknown; data?: unknown };
    if (content.comm_id !== this.commId) {
      return;
    }
    const said = readMessage(content.data);
    if (said === null) {
      return this._setLink({ kind: 'outdated', version: '' });
    }
    if (said.type === 'state') {
      this._state = said;
      this._progress = null;
      this._link = { kind: 'ready' };
      this._settle(said);
    } else if (said.type === 'progress') {
      this._progress = said.total !== null && said.done >= said.total ? null : said;
    } else {
      this._settle(said);
      if (said.type === 'blocks' && this._state !== null) {
        const models = this._state.models.map(model =>
          model.name === said.model ? { ...model, blocks: said.blocks } : model
        );
        this._state = { ...this._state, models };
      }
    }
    this._changed.emit();
  }

  private _settle(message: Exclude<Message, IProgress>): void {
    const request = message.request ?? -1;
    const pending = this._pending.get(request);
    if (pending === undefined) {
      return;
    }
    this._pending.delete(request);
    if (message.type === 'error') {
      pending.reject(new Error(message.message));
    } else {
      pending.resolve(message);
    }
  }

  private _onStatus(_: unknown, status: Kernel.Status): void {
    if (status === 'restarting' || status === 'autorestarting') {
      this._forget({ kind: 'restarting' });
    } else if (status === 'dead' || status === 'terminating') {
      this._forget({ kind: 'dead' });
    } else if (status === 'idle' && ['restarting', 'dead'].includes(this._link.kind)) {
      void this.connect();
    }
  }

  private _onConnection(_: unknown, status: Kernel.ConnectionStatus): void {
    if (status === 'connected' && this._link.kind === 'offline') {
      void this.connect();
    } else if (status !== 'connected' && this._link.kind === 'ready') {
      this._setLink({ kind: 'offline' });
    }
  }

  private _forget(link: Link): void {
    this._turn++;
    this._state = null;
    this._progress = null;
    this._opened = false;
    this._rejectPending();
    this._setLink(link);
  }

  private _rejectPending(): void {
    for (const pending of this._pending.values()) {
      pending.reject(new Error('The kernel went away before it answered.'));
    }
    this._pending.clear();
  }

  private _setLink(link: Link): void {
    if (!this._disposed) {
      this._link = link;
      this._changed.emit();
    }
  }

  private readonly _kernel: KernelLike;
  private readonly _changed = new Signal<this, void>(this);
  private readonly _pending = new Map<number, IPending>();
  private _link: Link = { kind: 'connecting' };
  private _state: IState | null = null;
  private _progress: IProgress | null = null;
  private _requests = 0;
  private _turn = 0;
  private _opened = false;
  private _disposed = false;
}
