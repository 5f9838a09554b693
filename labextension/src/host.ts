/** What a host (side panel or widget) gives the view, and what the view may ask of it. */

import { IProgress, IState } from './messages';
import { IPlan } from './plan';

export interface ITrans {
  __(text: string, ...args: (string | number)[]): string;
}

/** Every situation in which there is nothing to list, and the one in which there is. */
export type Situation =
  | { kind: 'no-notebook' }
  | { kind: 'no-kernel' }
  | { kind: 'other-language'; language: string }
  | { kind: 'starting' }
  | { kind: 'busy' }
  | { kind: 'restarting' }
  | { kind: 'dead' }
  | { kind: 'offline' }
  | { kind: 'missing' }
  | { kind: 'outdated'; version: string }
  | { kind: 'fault'; message: string }
  | { kind: 'scan-off' }
  | { kind: 'ready' };

export type Step = 'find' | 'compress' | 'forecast' | 'validate' | 'export';

/** A cell (or widget command) of this panel that is queued or running. */
export interface IRun {
  step: Step;
  model: string;
  since: number;
}

export interface IDefaults {
  width: 'polylog' | 'quarter' | 'sixteenth';
  tolerance: number;
  steps: number;
  target: 'onnx' | 'triton';
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

export interface ICommand {
  step: Step;
  model: string;
  code: string;
  fields: { [key: string]: unknown };
}

export type Action = 'open-notebook' | 'choose-kernel' | 'restart-kernel' | 'connect' | 'switch-scan-on';

export interface IHost {
  readonly trans: ITrans;
  /** Whether commands become cells (side panel) or go to the widget's own Python object. */
  readonly cells: boolean;
  getState(): IHostState;
  subscribe(listener: () => void): () => void;
  run(command: ICommand): void;
  /** `null` where only the notebook itself can stop a cell. */
  readonly stop: (() => void) | null;
  refresh(): void;
  loadBlocks(model: string): void;
  copy(text: string): void;
  savePlans(plans: IPlan[]): void;
  act(action: Action): void;
  recall(key: string): unknown;
  remember(key: string, value: unknown): void;
}

/** Strings as they are, for hosts without a language pack. */
export const plainTrans: ITrans = {
  __: (text, ...args) =>
    text.replace(/%(\d)/g, (whole, digit: string) => String(args[Number(digit) - 1] ?? whole))
};

export const DEFAULTS: IDefaults = { width: 'sixteenth', tolerance: 1, steps: 200, target: 'onnx' };
