/** Step 3: the slim model as a file that a server reads. */

import * as React from 'react';
import { IExportForm, exportCode, isIdentifier } from '../code';
import { IModel } from '../messages';
import { usePanel } from './context';
import { Choice, Code, pick, valueOptions } from './fields';
import { Results } from './Results';
import { RunBar } from './RunBar';
import { slimOf } from './slim';

export function ExportStep({ model }: { model: IModel }): JSX.Element {
  const { hostState, choices, change, trans } = usePanel();
  const state = hostState.state;
  const values = state?.values ?? [];
  const slims = (state?.models ?? []).filter(candidate => candidate.slim !== null);
  const target = choices.target ?? hostState.defaults.target;
  const slim = slimOf(slims, model, choices.slim);
  const example = pick(values, ['tensor'], choices.example, ['calib', 'x_train', 'train', 'inputs']);
  const usual = target === 'onnx' ? `${slim || model.name}.onnx` : 'model_repository';
  const form: IExportForm = {
    model: model.name,
    slim,
    example,
    target,
    path: choices.path || usual,
    replace: choices.replace
  };
  const hindrance = !isIdentifier(slim)
    ? trans.__('Compress the model first.')
    : !isIdentifier(example)
      ? trans.__('Give an example input a name in the notebook.')
      : null;
  const code = hindrance === null ? exportCode(form) : '';
  return (
    <>
      <Choice
        label={trans.__('Slim model')}
        value={slim}
        options={slims.map(({ name }) => [name, name] as const)}
        onValue={value => change({ type: 'set', fields: { slim: value } })}
      />
      <Choice
        label={trans.__('Example input')}
        value={example}
        options={valueOptions(values, ['tensor'])}
        onValue={value => change({ type: 'set', fields: { example: value } })}
      />
      <Choice
        label={trans.__('Write')}
        value={target}
        options={[
          ['onnx', trans.__('an ONNX file')],
          ['triton', trans.__('a model repository for Triton')]
        ]}
        onValue={value =>
          change({ type: 'set', fields: { target: value as IExportForm['target'], path: '' } })
        }
      />
      <label className="jlc-Field">
        <span>{target === 'onnx' ? trans.__('File') : trans.__('Folder')}</span>
        <input
          type="text"
          className="jlc-Input"
          value={choices.path}
          placeholder={usual}
          onChange={event => change({ type: 'set', fields: { path: event.target.value } })}
        />
      </label>
      <label className="jlc-Check">
        <input
          type="checkbox"
          checked={choices.replace}
          onChange={event => change({ type: 'set', fields: { replace: event.target.checked } })}
        />
        {trans.__('Replace what is there')}
      </label>
      <RunBar
        step="export"
        model={model.name}
        label={trans.__('Export')}
        hindrance={hindrance}
        code={code}
        fields={{ ...form }}
      />
      {code !== '' && <Code code={code} />}
      <Results kinds={['export']} model={model.name} />
    </>
  );
}
