/** Which live slim model belongs to the one that is looked at, and the choice of another. */

import * as React from 'react';
import { IModel } from '../../kernel/messages';
import { nameOf } from '../../python/cells';
import { Choice } from '../parts/fields';
import { useChoices, useHostState, usePanel } from '../state/context';

/** The slim model that a step works on: its name, and the field that chooses it. */
export function useSlim(model: IModel): [string, JSX.Element] {
  const { change, trans } = usePanel();
  const models = useHostState(({ state }) => state?.models);
  const chosen = useChoices(({ flow }) => flow.slim);
  const slims = (models ?? []).filter(candidate => candidate.slim !== null);
  const slim = slimOf(slims, model, chosen);
  const field = (
    <Choice
      label={trans.__('Slim model')}
      value={slim}
      options={slims.map(({ name }) => [name, name] as const)}
      none={slims.length === 0 ? trans.__('none yet') : undefined}
      onValue={value => change('flow', { slim: value })}
    />
  );
  return [slim, field];
}

function slimOf(slims: IModel[], model: IModel, chosen: string): string {
  const own = nameOf(model.name, 'slim');
  const known = slims.map(({ name }) => name);
  if (known.includes(chosen)) {
    return chosen;
  }
  if (model.slim !== null) {
    return model.name;
  }
  return known.includes(own) ? own : (known[known.length - 1] ?? '');
}
