/** What a host (side panel or widget) gives the view, and what the view may ask of it. */

import type { KernelSituation } from './kernel/client';
import { IProgress, IState } from './kernel/messages';
import { IPlan, Width } from './model/plan';
import { ActionName, fieldOf } from './python/actions';
import { IRequest } from './python/cells';

export interface ITrans {
  __(text: string, ...args: (string | number)[]): string;
  /** The form of a sentence that fits a number; the number is %1. */
  _n(one: string, many: string, count: number, ...args: (string | number)[]): string;
}

/** Every situation in which there is nothing to list, and the one in which there is. */
export type Situation =
  | KernelSituation
  | { kind: 'no-notebook' }
  | { kind: 'no-kernel' }
  | { kind: 'other-language'; language: string }
  | { kind: 'starting' }
  | { kind: 'scan-off' };

/** A cell (or widget request) of this panel that is queued or running. */
export interface IRun {
  action: ActionName;
  model: string;
  since: number;
}

export interface IDefaults {
  /** Of a block when it is chosen; below 1 a share of its present width. */
  width: Width;
  /** In percent. */
  tolerance: number;
  steps: number;
  target: string;
}

export interface IHostState {
  situation: Situation;
  notebook: string;
  /** Other notebooks that share this kernel. */
  shared: string[];
  state: IState | null;
  progress: IProgress | null;
  run: IRun | null;
  /** What went wrong with the last run, if anything. */
  failure: string | null;
  plans: IPlan[];
  defaults: IDefaults;
}

export type HostAction = 'open-notebook' | 'choose-kernel' | 'restart-kernel' | 'connect' | 'switch-scan-on';

export interface IHost {
  readonly trans: ITrans;
  /** Whether requests become cells (side panel) or go to the widget's own Python object. */
  readonly cells: boolean;
  getState(): IHostState;
  subscribe(listener: () => void): () => void;
  run(request: IRequest): void;
  /** `null` where only the notebook itself can stop a cell. */
  readonly stop: (() => void) | null;
  refresh(): void;
  loadBlocks(model: string): void;
  /** The view shows this model now. */
  shows(model: string | null): void;
  copy(text: string): void;
  savePlans(plans: IPlan[]): void;
  act(action: HostAction): void;
  recall(key: string): unknown;
  remember(key: string, value: unknown): void;
}

/** Strings as they are, for hosts without a language pack. */
export const plainTrans: ITrans = {
  __: (text, ...args) =>
    text.replace(/%(\d)/g, (whole, digit: string) => String(args[Number(digit) - 1] ?? whole)),
  _n: (one, many, count, ...args) => plainTrans.__(count === 1 ? one : many, count, ...args)
};

export const DEFAULTS: IDefaults = {
  width: 1 / 4,
  tolerance: 1,
  steps: 200,
  target: String(fieldOf('export', 'target').default)
};
