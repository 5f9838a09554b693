import { IResult, ITable } from '../../kernel/messages';
import { curvesOf, linesOf } from '../../model/curves';
import { NET, STATE } from '../fakes';

const [SWEEP] = STATE.results;
const [TABLE] = SWEEP.report.tables;
const sweepOf = (table: ITable): IResult => ({ ...SWEEP, report: { ...SWEEP.report, tables: [table] } });

it('predicted errors come from the chart of the newest sweep whose blocks are the model’s', () => {
  const known = {
    '0': [
      [16, 0.2],
      [64, 0.01],
      [256, 0.001]
    ]
  };
  expect(curvesOf(STATE.results, NET)).toEqual(known);
  const newer = sweepOf({ ...TABLE, rows: [['0', 8, 0.5, null]] });
  expect(curvesOf([SWEEP, newer], NET)).toEqual({ '0': [[8, 0.5]] });
  const foreign = sweepOf({ ...TABLE, rows: [['other', 8, 0.5, null]] });
  expect(curvesOf([SWEEP, foreign], NET)).toEqual(known);
  expect(curvesOf([], NET)).toEqual({});
});

it('the names of columns say nothing: a table without a chart has no curve', () => {
  expect(curvesOf([sweepOf({ ...TABLE, chart: undefined })], NET)).toEqual({});
  const renamed: ITable = {
    ...TABLE,
    columns: ['layer', 'neurons kept', 'what is lost', 'error'],
    chart: { x: 'neurons kept', y: ['what is lost'], by: 'layer', log: true }
  };
  expect(curvesOf([sweepOf(renamed)], NET)).toEqual(curvesOf([SWEEP], NET));
});

it('without a column that names lines each column is one, by rising x, without what is not a number', () => {
  const table: ITable = {
    title: 't',
    columns: ['step', 'original', 'random_subset'],
    rows: [
      [10, 0.2, 'inf'],
      [1, 0.4, 0.5]
    ],
    chart: { x: 'step', y: ['original', 'random_subset'], by: null, log: false }
  };
  expect(linesOf(table)).toEqual([
    {
      name: 'original',
      points: [
        [1, 0.4],
        [10, 0.2]
      ]
    },
    { name: 'random subset', points: [[1, 0.5]] }
  ]);
});
