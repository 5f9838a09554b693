/** Step 1: the plan becomes a slim model. */

import * as React from 'react';
import { IModel } from '../../kernel/messages';
import { DATA, INPUT_HINTS, pick } from '../../model/values';
import { choicesOf } from '../../python/actions';
import { nameOf, requestOf } from '../../python/cells';
import { Choice, valueOptions } from '../parts/fields';
import { Results } from '../results/Results';
import { useChoices, usePanel, useValues } from '../state/context';
import { useWidths } from '../state/planned';
import { RunBar } from './RunBar';

export function CompressStep({ model }: { model: IModel }): JSX.Element {
  const { change, trans } = usePanel();
  const { calibration: chosen, preserve } = useChoices(({ compress }) => compress);
  const values = useValues();
  const widths = useWidths(model);
  const blocks = Object.keys(widths);
  const calibration = pick(values, DATA, chosen, INPUT_HINTS);
  const common = { model: model.name, calibration, preserve };
  const hindrance =
    blocks.length === 0
      ? trans.__('Select a block first.')
      : calibration === ''
        ? trans.__('Assign the calibration inputs to a variable in the notebook.')
        : null;
  return (
    <>
      <Choice
        label={trans.__('Calibration')}
        value={calibration}
        options={valueOptions(values, DATA)}
        onValue={value => change('compress', { calibration: value })}
      />
      <Choice
        label={trans.__('Keep')}
        value={preserve}
        options={choicesOf('run', 'preserve').map(([aim, words]) => [aim, trans.__(words)])}
        onValue={value => change('compress', { preserve: value })}
      />
      <RunBar
        hindrance={hindrance}
        buttons={[
          {
            label: trans.__('Compress'),
            request: () => requestOf('run', model.name, { ...common, widths })
          },
          {
            label: trans.__('Predict errors'),
            request: () => requestOf('sweep', model.name, { ...common, widths: blocks }),
            secondary: true
          }
        ]}
      />
      <Results
        kinds={['compression', 'sweep']}
        model={model.name}
        undo={trans.__(
          'The original, %1, is unchanged. The slim model is %2.',
          model.name,
          nameOf(model.name, 'slim')
        )}
      />
    </>
  );
}
