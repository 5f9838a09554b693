/** Step 3: the slim model as a file, or as a folder that a server starts on. */

import * as React from 'react';
import { ITrans } from '../../host';
import { IModel } from '../../kernel/messages';
import { INPUT_HINTS, pick } from '../../model/values';
import { ITarget, TARGETS, choicesOf, fieldOf, targetOf, usualPath } from '../../python/actions';
import { Value, requestOf } from '../../python/cells';
import { isIdentifier } from '../../python/literals';
import { Choice, valueOptions } from '../parts/fields';
import { Results } from '../results/Results';
import { IChoices } from '../state/choices';
import { useChoices, useHostState, usePanel, useValues } from '../state/context';
import { RunBar } from './RunBar';
import { useSlim } from './SlimChoice';

type Form = IChoices['export'];
type Fields = { [parameter: string]: Value | null };

/** A precision of the panel: int8 with ranges of activations that the example inputs give. */
const CALIBRATED = 'int8 calibrated';
const USUAL_PRECISION = String(fieldOf('export', 'precision').default);

export function ExportStep({ model }: { model: IModel }): JSX.Element {
  const { change, trans } = usePanel();
  const choices = useChoices(all => all.export);
  const first = useHostState(({ defaults }) => defaults.target);
  const values = useValues();
  const [slim, slimChoice] = useSlim(model);
  const set = (fields: Partial<Form>): void => change('export', fields);
  const target = TARGETS.find(({ name }) => name === (choices.target ?? first)) ?? TARGETS[0];
  const example = pick(values, ['tensor'], choices.example, INPUT_HINTS);
  const served = target.folder ? target : targetOf(String(fieldOf('serve', 'layout').default));
  const pathIn = (place: ITarget): string => (place === target && choices.path) || usualPath(place, slim);
  const own = target.options.includes('precision') ? choices.precision : USUAL_PRECISION;
  const further: Fields = {
    original: slim === model.name ? null : model.name,
    precision: own === CALIBRATED ? 'int8' : own,
    calibration: own === CALIBRATED ? example : null,
    overwrite: choices.overwrite
  };
  const fieldsFor = ({ options }: ITarget): Fields => ({
    slim,
    example_inputs: example,
    ...Object.fromEntries(Object.entries(further).filter(([option]) => options.includes(option)))
  });
  return (
    <>
      {slimChoice}
      <Choice
        label={trans.__('Example input')}
        value={example}
        options={valueOptions(values, ['tensor'])}
        onValue={value => set({ example: value })}
      />
      <Choice
        label={trans.__('Target')}
        value={target.name}
        options={TARGETS.map(({ name, label }) => [name, trans.__(label)])}
        onValue={value => set({ target: value, path: '' })}
      />
      {target.options.includes('precision') && (
        <Choice
          label={trans.__('Precision')}
          value={choices.precision}
          options={precisions(trans)}
          onValue={value => set({ precision: value })}
        />
      )}
      <PathField target={target} usual={usualPath(target, slim || model.name)} set={set} />
      <RunBar
        hindrance={
          !isIdentifier(slim)
            ? trans.__('Compress the model first.')
            : !isIdentifier(example)
              ? trans.__('Assign an example input to a variable in the notebook.')
              : null
        }
        buttons={[
          {
            label: trans.__('Export'),
            request: () =>
              requestOf('export', model.name, {
                ...fieldsFor(target),
                target: target.name,
                path: pathIn(target)
              })
          },
          {
            label: trans.__('Serve here and compare'),
            request: () =>
              requestOf('serve', model.name, {
                ...fieldsFor(served),
                layout: served.name,
                directory: pathIn(served)
              }),
            secondary: true
          }
        ]}
      />
      <Results kinds={['export', 'served']} model={model.name} />
    </>
  );
}

interface IPathField {
  target: ITarget;
  usual: string;
  set: (fields: Partial<Form>) => void;
}

/** Where it is written; a file may be replaced, a folder gets one version more. */
function PathField({ target, usual, set }: IPathField): JSX.Element {
  const { trans } = usePanel();
  const { path, overwrite } = useChoices(all => all.export);
  return (
    <>
      <label className="jlc-Field">
        <span>{target.folder ? trans.__('Folder') : trans.__('File')}</span>
        <input
          type="text"
          className="jlc-Input"
          value={path}
          placeholder={usual}
          onChange={event => set({ path: event.target.value })}
        />
      </label>
      {target.options.includes('overwrite') ? (
        <label className="jlc-Check">
          <input
            type="checkbox"
            checked={overwrite}
            onChange={event => set({ overwrite: event.target.checked })}
          />
          {trans.__('Overwrite an existing file')}
        </label>
      ) : (
        <p className="jlc-Hint">{trans.__('Each export is the next version; earlier ones stay.')}</p>
      )}
    </>
  );
}

function precisions(trans: ITrans): [string, string][] {
  return [
    ...choicesOf('export', 'precision').map(([name, words]): [string, string] => [name, trans.__(words)]),
    [CALIBRATED, trans.__('int8, activation ranges calibrated on the example input')]
  ];
}
