/** Step 2: original and slim train side by side on the same batches. */

import * as React from 'react';
import { IModel } from '../../kernel/messages';
import { pairs, pick } from '../../model/values';
import { LOSSES, choicesOf } from '../../python/actions';
import { requestOf } from '../../python/cells';
import { isData, isIdentifier } from '../../python/literals';
import { Choice, valueOptions } from '../parts/fields';
import { NumberField } from '../parts/NumberField';
import { Results } from '../results/Results';
import { useChoices, useHostState, usePanel, useValues } from '../state/context';
import { RunBar } from './RunBar';
import { useSlim } from './SlimChoice';

const BATCHES = ['batches', 'pair'];
const HELD_OUT = ['tuple', 'pair', 'batches'];

export function ValidateStep({ model }: { model: IModel }): JSX.Element {
  const { change, trans } = usePanel();
  const choices = useChoices(all => all.validate);
  const usual = useHostState(({ defaults }) => defaults.steps);
  const live = useValues();
  const values = React.useMemo(() => [...live, ...pairs(live)], [live]);
  const set = (fields: Partial<typeof choices>): void => change('validate', fields);
  const [slim, slimChoice] = useSlim(model);
  const batches = pick(values, BATCHES, choices.batches, ['batches', 'train', 'loader']);
  const heldOut = pick(values, HELD_OUT, choices.heldOut, ['held', 'test', 'val']);
  const own = valueOptions(values, ['loss', 'function']);
  const loss = [...LOSSES, ...own.map(([name]) => name)].includes(choices.loss) ? choices.loss : LOSSES[0];
  const steps = choices.steps ?? usual;
  const apart = heldOut === batches ? '' : heldOut;
  const hindrance = !isIdentifier(slim)
    ? trans.__('Compress the model first.')
    : !isData(batches)
      ? trans.__(
          'Assign the training batches to a variable in the notebook: a list of (inputs, targets) or a DataLoader.'
        )
      : null;
  return (
    <>
      {slimChoice}
      <Choice
        label={trans.__('Train on')}
        value={batches}
        options={valueOptions(values, BATCHES)}
        onValue={value => set({ batches: value })}
      />
      <Choice
        label={trans.__('Held out')}
        value={apart}
        options={valueOptions(values, HELD_OUT)}
        none={trans.__('none')}
        onValue={value => set({ heldOut: value })}
      />
      <Choice
        label={trans.__('Loss')}
        value={loss}
        options={[...choicesOf('validate', 'loss_fn'), ...own]}
        onValue={value => set({ loss: value })}
      />
      <Choice
        label={trans.__('Optimizer')}
        value={choices.optimizer}
        options={choicesOf('validate', 'optimizer')}
        onValue={value => set({ optimizer: value })}
      />
      <div className="jlc-Numbers">
        <NumberField
          label={trans.__('learning rate')}
          value={choices.rate}
          least={1e-8}
          most={100}
          fraction
          onValue={rate => set({ rate })}
        />
        <NumberField
          label={trans.__('steps')}
          value={steps}
          least={1}
          most={1e6}
          onValue={value => set({ steps: value })}
        />
      </div>
      <RunBar
        hindrance={hindrance}
        buttons={[
          {
            label: trans.__('Validate'),
            request: () =>
              requestOf('validate', model.name, {
                original: model.name,
                slim,
                batches,
                loss_fn: loss,
                optimizer: choices.optimizer,
                rate: choices.rate,
                steps,
                held_out: apart || null
              })
          }
        ]}
      />
      <Results kinds={['validation']} model={model.name} />
    </>
  );
}
