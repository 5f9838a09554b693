/**
 * What every part of the view may use. The context itself never changes: a part subscribes to just the
 * pieces of state that it shows, so one that shows no width is not rendered while a width is dragged.
 */

import * as React from 'react';
import { IHost, IHostState, ITrans } from '../../host';
import { IResult, IValue } from '../../kernel/messages';
import { FIRST, IChoices } from './choices';
import { Store } from './store';

/** Change one form: some of its fields, or the whole by a function of what it was. */
export type Change = <Form extends keyof IChoices>(
  form: Form,
  to: Partial<IChoices[Form]> | ((before: IChoices[Form]) => IChoices[Form])
) => void;

export interface IPanel {
  host: IHost;
  trans: ITrans;
  choices: Store<IChoices>;
  change: Change;
  /** Say something to those who do not see it. */
  announce: (sentence: string) => void;
  announced: Store<string>;
}

const NO_VALUES: IValue[] = [];
const NO_RESULTS: IResult[] = [];

const Context = React.createContext<IPanel | null>(null);

export const PanelContext = Context.Provider;

export function panelOf(host: IHost): IPanel {
  const choices = new Store(FIRST);
  const announced = new Store('');
  return {
    host,
    trans: host.trans,
    choices,
    change: (form, to) => {
      const all = choices.getState();
      const next = typeof to === 'function' ? to(all[form]) : { ...all[form], ...to };
      choices.set({ ...all, [form]: next });
    },
    announce: sentence => announced.set(sentence),
    announced
  };
}

export function usePanel(): IPanel {
  const panel = React.useContext(Context);
  if (panel === null) {
    throw new Error('a part of the panel was rendered outside of it');
  }
  return panel;
}

/** A piece of what the host says; `select` gives a part of it as it is, not a new value. */
export function useHostState<T>(select: (state: IHostState) => T): T {
  const { host } = usePanel();
  const subscribe = React.useCallback((listener: () => void) => host.subscribe(listener), [host]);
  return React.useSyncExternalStore(subscribe, () => select(host.getState()));
}

/** A piece of what was chosen; `select` gives a part of it as it is, not a new value. */
export function useChoices<T>(select: (choices: IChoices) => T): T {
  const { choices } = usePanel();
  return React.useSyncExternalStore(choices.subscribe, () => select(choices.getState()));
}

/** Values of the notebook that a cell can be given. */
export function useValues(): IValue[] {
  return useHostState(({ state }) => state?.values ?? NO_VALUES);
}

export function useResults(): IResult[] {
  return useHostState(({ state }) => state?.results ?? NO_RESULTS);
}
