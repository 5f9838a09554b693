/** Step 1: the plan becomes a slim model. */

import * as React from 'react';
import { Preserve, compressCode, names, sweepCode } from '../code';
import { IModel } from '../messages';
import { usePanel } from './context';
import { Choice, Code, pick, valueOptions } from './fields';
import { Results } from './Results';
import { RunBar } from './RunBar';
import { fitting } from './store';

const DATA = ['tensor', 'batches', 'tuple', 'mapping'];

export function CompressStep({ model }: { model: IModel }): JSX.Element {
  const { hostState, choices, change, trans } = usePanel();
  const values = hostState.state?.values ?? [];
  const widths = fitting(model, choices.widths[model.name]);
  const blocks = Object.keys(widths);
  const calibration = pick(values, DATA, choices.calibration, ['calib', 'x_train', 'train', 'inputs']);
  const form = { model: model.name, widths, calibration, preserve: choices.preserve };
  const hindrance =
    blocks.length === 0
      ? trans.__('Tick a block first.')
      : calibration === ''
        ? trans.__('Give inputs for calibration a name in the notebook.')
        : null;
  const code = hindrance === null ? compressCode(form) : '';
  const sweep = hindrance === null ? sweepCode({ model: model.name, blocks, calibration }) : '';
  return (
    <>
      <Choice
        label={trans.__('Calibration batch')}
        value={calibration}
        options={valueOptions(values, DATA)}
        onValue={value => change({ type: 'set', fields: { calibration: value } })}
      />
      <Choice
        label={trans.__('Keep')}
        value={choices.preserve}
        options={[
          ['dynamics', trans.__('outputs and training')],
          ['function', trans.__('outputs, for deployment only')],
          ['moments', trans.__('moments of the parameters')]
        ]}
        onValue={value => change({ type: 'set', fields: { preserve: value as Preserve } })}
      />
      <div className="jlc-Buttons">
        <RunBar
          step="compress"
          model={model.name}
          label={trans.__('Compress')}
          hindrance={hindrance}
          code={code}
          fields={form}
        />
        {hindrance === null && (
          <RunBar
            step="forecast"
            model={model.name}
            label={trans.__('Predict errors')}
            hindrance={null}
            code={sweep}
            fields={form}
            secondary
          />
        )}
      </div>
      {code !== '' && <Code code={code} />}
      <Results
        kinds={['compression', 'sweep']}
        model={model.name}
        undo={trans.__(
          'The original is untouched: %1. The slim model is %2.',
          model.name,
          names(model.name).slim
        )}
      />
    </>
  );
}
