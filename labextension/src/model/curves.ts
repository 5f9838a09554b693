/** Predicted errors of a model's blocks, read from the sweep that was made of it. */

import { IModel, IState, ITable } from '../kernel/messages';
import { Curves } from './plan';

/** Curves from the newest sweep whose blocks are this model's; without one there is no prediction. */
export function curvesOf(state: IState | null, model: IModel): Curves {
  const known = new Set((model.blocks ?? []).map(block => block.name));
  const sweeps = (state?.results ?? []).filter(result => result.kind === 'sweep').reverse();
  for (const sweep of sweeps) {
    for (const table of sweep.report.tables) {
      const curves = curvesIn(table);
      if (Object.keys(curves).some(block => known.has(block))) {
        return curves;
      }
    }
  }
  return {};
}

export function curvesIn(table: ITable): Curves {
  const [block, width, error] = ['block', 'width', 'error'].map(word =>
    table.columns.findIndex(column => column.toLowerCase().includes(word))
  );
  if (block === -1 || width === -1 || error === -1) {
    return {};
  }
  const found = new Map<string, [number, number][]>();
  for (const row of table.rows) {
    const [at, value] = [Number(row[width]), Number(row[error])];
    if (typeof row[block] === 'string' && Number.isFinite(at) && Number.isFinite(value)) {
      found.set(row[block] as string, [...(found.get(row[block] as string) ?? []), [at, value]]);
    }
  }
  return Object.fromEntries([...found].map(([name, points]) => [name, points.sort((a, b) => a[0] - b[0])]));
}
