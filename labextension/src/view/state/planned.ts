/** The plan as it fits one model, with the errors that are predicted for it. */

import * as React from 'react';
import { IModel } from '../../kernel/messages';
import { curvesOf } from '../../model/curves';
import { own } from '../../model/lookup';
import { Curves, Widths } from '../../model/plan';
import { fitting } from './choices';
import { useChoices, useResults } from './context';

/** The chosen widths of a model; the same object until one of them changes. */
export function useWidths(model: IModel): Widths {
  const widths = useChoices(({ plan }) => own(plan.widths, model.name));
  return React.useMemo(() => fitting(model, widths), [model, widths]);
}

export function useCurves(model: IModel): Curves {
  const results = useResults();
  return React.useMemo(() => curvesOf(results, model), [results, model]);
}
