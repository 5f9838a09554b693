/** What every part of the view may use: the host, what the kernel said, what was chosen. */

import * as React from 'react';
import { IHost, IHostState, ITrans } from '../host';
import { Change, IChoices } from './choices';

export interface IPanelContext {
  host: IHost;
  hostState: IHostState;
  choices: IChoices;
  change: (by: Change) => void;
  /** Say something to those who do not see it. */
  announce: (sentence: string) => void;
}

const Context = React.createContext<IPanelContext | null>(null);

export const PanelContext = Context.Provider;

export function usePanel(): IPanelContext & { trans: ITrans } {
  const context = React.useContext(Context);
  if (context === null) {
    throw new Error('a part of the panel was rendered outside of it');
  }
  return { ...context, trans: context.host.trans };
}
