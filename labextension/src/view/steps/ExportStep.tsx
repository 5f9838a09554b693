/** Step 3: the slim model as a file, or as a folder that a server starts on. */

import * as React from 'react';
import {
  FILES,
  IExportForm,
  LAYOUTS,
  PRECISIONS,
  Precision,
  Target,
  exportCode,
  isLayout,
  serveCode
} from '../../python/cells';
import { ITrans } from '../../host';
import { IModel } from '../../kernel/messages';
import { INPUT_HINTS, pick } from '../../model/values';
import { isIdentifier } from '../../python/literals';
import { useChoices, useHostState, usePanel, useValues } from '../state/context';
import { Choice, valueOptions } from '../parts/fields';
import { Results } from '../results/Results';
import { RunBar } from './RunBar';
import { useSlim } from './SlimChoice';
import { IChoices } from '../state/choices';

export function ExportStep({ model }: { model: IModel }): JSX.Element {
  const { change, trans } = usePanel();
  const choices = useChoices(all => all.export);
  const first = useHostState(({ defaults }) => defaults.target);
  const values = useValues();
  const [slim, slimChoice] = useSlim(model);
  const set = (fields: Partial<IChoices['export']>): void => change('export', fields);
  const target = choices.target ?? first;
  const usual = usualPath(target, slim || model.name);
  const form: IExportForm = {
    model: model.name,
    slim,
    example: pick(values, ['tensor'], choices.example, INPUT_HINTS),
    target,
    precision: target === 'pt2' ? 'float32' : choices.precision,
    path: choices.path || usual,
    replace: !isLayout(target) && choices.replace
  };
  const served: IExportForm = isLayout(target)
    ? form
    : { ...form, target: 'triton', path: usualPath('triton', slim), replace: false };
  return (
    <>
      {slimChoice}
      <Choice
        label={trans.__('Example input')}
        value={form.example}
        options={valueOptions(values, ['tensor'])}
        onValue={example => set({ example })}
      />
      <Choice
        label={trans.__('Write')}
        value={target}
        options={targetOptions(trans)}
        onValue={value => set({ target: value as Target, path: '' })}
      />
      {target !== 'pt2' && (
        <Choice
          label={trans.__('Precision')}
          value={form.precision}
          options={precisionOptions(trans)}
          onValue={value => set({ precision: value as Precision })}
        />
      )}
      <PathField form={form} usual={usual} set={set} />
      <RunBar
        model={model.name}
        hindrance={
          !isIdentifier(slim)
            ? trans.__('Compress the model first.')
            : !isIdentifier(form.example)
              ? trans.__('Assign an example input to a variable in the notebook.')
              : null
        }
        commands={[
          { step: 'export', label: trans.__('Export'), code: () => exportCode(form), fields: { ...form } },
          {
            step: 'serve',
            label: trans.__('Serve here and compare'),
            code: () => serveCode(served),
            fields: { ...served },
            secondary: true
          }
        ]}
      />
      <Results kinds={['export', 'served']} model={model.name} />
    </>
  );
}

interface IPathField {
  form: IExportForm;
  usual: string;
  set: (fields: Partial<IChoices['export']>) => void;
}

/** Where it is written; a file may be replaced, a folder gets one version more. */
function PathField({ form, usual, set }: IPathField): JSX.Element {
  const { trans } = usePanel();
  const choices = useChoices(all => all.export);
  const folder = isLayout(form.target);
  return (
    <>
      <label className="jlc-Field">
        <span>{folder ? trans.__('Folder') : trans.__('File')}</span>
        <input
          type="text"
          className="jlc-Input"
          value={choices.path}
          placeholder={usual}
          onChange={event => set({ path: event.target.value })}
        />
      </label>
      {folder ? (
        <p className="jlc-Hint">{trans.__('Each export is the next version; earlier ones stay.')}</p>
      ) : (
        <label className="jlc-Check">
          <input
            type="checkbox"
            checked={choices.replace}
            onChange={event => set({ replace: event.target.checked })}
          />
          {trans.__('Overwrite an existing file')}
        </label>
      )}
    </>
  );
}

function usualPath(target: Target, model: string): string {
  return isLayout(target)
    ? target === 'mlflow'
      ? 'mlflow_models'
      : 'model_repository'
    : `${model}.${target}`;
}

function targetOptions(trans: ITrans): [Target, string][] {
  const words: { [target in Target]: string } = {
    onnx: trans.__('ONNX file'),
    pt2: trans.__('torch program (.pt2)'),
    triton: trans.__('repository for Triton'),
    kserve: trans.__('repository for KServe'),
    openvino: trans.__('repository for OpenVINO'),
    mlflow: trans.__('MLflow model')
  };
  return [...FILES, ...LAYOUTS].map(target => [target, words[target]]);
}

function precisionOptions(trans: ITrans): [Precision, string][] {
  const words: { [precision in Precision]: string } = {
    float32: trans.__('float32, unchanged'),
    float16: trans.__('float16'),
    int8: trans.__('int8 weights'),
    'int8 calibrated': trans.__('int8, activation ranges calibrated on the example input')
  };
  return PRECISIONS.map(precision => [precision, words[precision]]);
}
