/** Finding blocks in a cell: for a model that is large, or that has to see a real input. */

import * as React from 'react';
import { IModel } from '../../kernel/messages';
import { INPUT_HINTS, pick } from '../../model/values';
import { requestOf } from '../../python/cells';
import { useChoices, usePanel, useValues } from '../state/context';
import { RunBar } from '../steps/RunBar';

export function FindBlocks({ model }: { model: IModel }): JSX.Element | null {
  const { trans } = usePanel();
  const values = useValues();
  const chosen = useChoices(choices => choices.export.example);
  const blind = (model.blocks ?? []).some(block => block.needs_input);
  if (!blind && (model.blocks !== null || !model.heavy)) {
    return null;
  }
  const example = pick(values, ['tensor'], chosen, INPUT_HINTS);
  return (
    <div className="jlc-Notice">
      <p>
        {blind
          ? trans.__('The model did not run on synthetic inputs; its blocks are confirmed on a real batch.')
          : trans.__('This model is large: its blocks are found by running copies of it, in a cell.')}
      </p>
      <RunBar
        hindrance={
          blind && example === '' ? trans.__('Assign an example input to a variable in the notebook.') : null
        }
        buttons={[
          {
            label: trans.__('Find blocks'),
            request: () =>
              requestOf('inspect', model.name, { model: model.name, example_inputs: example || null }),
            secondary: true
          }
        ]}
      />
    </div>
  );
}
