/** Predicted errors of a model's blocks, read from the sweep that was made of it. */

import { IModel, IResult, ITable } from '../kernel/messages';
import { Curves } from './plan';

/** Curves from the newest sweep whose blocks are this model's; without one there is no prediction. */
export function curvesOf(results: IResult[], model: IModel): Curves {
  const known = new Set((model.blocks ?? []).map(block => block.name));
  const sweeps = results.filter(result => result.kind === 'sweep').reverse();
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

/** A predicted error against the width for each block of a sweep's chart. */
function curvesIn(table: ITable): Curves {
  return Object.fromEntries(linesOf(table).map(({ name, points }) => [name, points]));
}

export interface ILine {
  name: string;
  points: [number, number][];
}

/** The lines of a table's chart: one for each name in the column `by`, else one for each column of `y`. */
export function linesOf({ chart, columns, rows }: ITable): ILine[] {
  if (!chart) {
    return [];
  }
  const [x, by] = [chart.x, chart.by].map(column => columns.findIndex(name => name === column));
  const lines = new Map<string, [number, number][]>();
  for (const y of chart.y) {
    const at = columns.indexOf(y);
    for (const row of rows) {
      const [here, value] = [row[x], row[at]];
      if (typeof here === 'number' && typeof value === 'number') {
        const name = by === -1 ? y.replace(/_/g, ' ') : String(row[by]);
        lines.set(name, [...(lines.get(name) ?? []), [here, value]]);
      }
    }
  }
  return [...lines].map(([name, points]) => ({ name, points: points.sort((a, b) => a[0] - b[0]) }));
}
