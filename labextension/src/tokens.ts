/** What other extensions may use: the names of commands, panel and settings, and the panel as a service. */

import { Token } from '@lumino/coreutils';
import { ISignal } from '@lumino/signaling';
import type { IModel, IResult } from './kernel/messages';

export const EXTENSION = 'jlab-compress';
export const PLUGIN = `${EXTENSION}:plugin`;
export const OUTPUTS = `${EXTENSION}:outputs`;
export const PANEL = 'jlab-compress-panel';

export const COMMANDS = { open: `${EXTENSION}:open` } as const;

/** The side panel. */
export interface ICompressPanel {
  /** Show the panel. */
  open(): Promise<void>;
  /** The model that the panel shows, with its blocks once they are known; `null` where it shows none. */
  readonly model: IModel | null;
  /** Reports on results that live in the kernel of the active notebook, the newest last. */
  readonly results: IResult[];
  /** Emitted when the model, its blocks or the results may have changed. */
  readonly changed: ISignal<this, void>;
}

/** Require it in a plugin to add to the panel: a command on the model that it shows, a view of its results. */
export const ICompressPanel = new Token<ICompressPanel>(
  `${EXTENSION}:ICompressPanel`,
  'The side panel that compresses torch models: which model it shows, and the reports on results.'
);
