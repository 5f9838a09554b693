import { cleanup, render, screen, within } from '@testing-library/react';
import * as React from 'react';
import { IReport, ITable, readMessage } from '../../kernel/messages';
import { drawn } from '../../view/results/Chart';
import { ReportTable, beside } from '../../view/results/ReportTable';
import { ReportView, beforeAndAfter } from '../../view/results/Results';
import { PanelContext, panelOf } from '../../view/state/context';
import { FakeHost, STATE } from '../fakes';

afterEach(cleanup);

const SWEEP = STATE.results[0].report.tables[0];
const LOSSES: ITable = {
  title: 'Loss',
  columns: ['step', 'original', 'slim'],
  rows: [
    [1, 2.5, 2.4],
    [2, 0.5, 0.4],
    [3, 0.05, 0.04]
  ],
  chart: { x: 'step', y: ['original', 'slim'], by: null, log: false }
};
const REPORT: IReport = {
  title: 'Export',
  summary: 'It is written.',
  facts: { path: 'a.onnx', gap: 1e-7, bytes_before: 4000, bytes_after: 1000, sha256: 'ab12' },
  details: ['sha256'],
  tables: [],
  warnings: [],
  notes: []
};

const show = (part: JSX.Element): void =>
  void render(<PanelContext value={panelOf(new FakeHost())}>{part}</PanelContext>);
const details = (): HTMLElement => screen.getByText('Details').closest('details') as HTMLElement;

it('a marked table is a chart with its numbers beside it; an unmarked one is a table whatever its columns', () => {
  show(<ReportTable table={LOSSES} folded={false} />);
  expect(screen.getByRole('img', { name: 'Loss: original, slim' })).toBeTruthy();
  expect(screen.getByText('3 rows as a table')).toBeTruthy();
  cleanup();
  show(<ReportTable table={{ ...LOSSES, chart: null }} folded={false} />);
  expect(screen.queryByRole('img')).toBeNull();
  expect(screen.getByRole('columnheader', { name: 'Step' })).toBeTruthy();
});

it('the mark says the axis of x, the values that of y', () => {
  expect(drawn(SWEEP)).toMatchObject({ x: 'width', logX: true, logY: true });
  expect(drawn(LOSSES)).toMatchObject({ x: 'step', logX: false, logY: true });
  expect(drawn({ ...LOSSES, rows: LOSSES.rows.map(row => [row[0], 1, 0]) })).toMatchObject({ logY: false });
});

it('two rows, or lines of one point, are no chart', () => {
  expect(drawn({ ...LOSSES, rows: LOSSES.rows.slice(0, 2) })).toBeNull();
  const apart = [1, 2, 3].map(width => [`block ${width}`, width, 0.1, null]);
  expect(drawn({ ...SWEEP, rows: apart })).toBeNull();
});

it('details are folded away, by their mark and not by their names', () => {
  show(<ReportView report={REPORT} />);
  expect(within(details()).getByText('ab12')).toBeTruthy();
  expect(within(details()).queryByText('Gap')).toBeNull();
  cleanup();
  show(<ReportView report={{ ...REPORT, details: ['gap'] }} />);
  expect(within(details()).getByText('Gap')).toBeTruthy();
  expect(within(details()).queryByText('ab12')).toBeNull();
});

it('a warning is a word, after the sentence that says what came out', () => {
  show(<ReportView report={{ ...REPORT, summary: 'Not usable as it is.', warnings: ['Keep more.'] }} />);
  const [summary, warning] = Array.from(document.querySelectorAll('p'));
  expect(summary.textContent).toBe('Not usable as it is.');
  expect(warning.textContent).toBe('Warning: Keep more.');
});

it('a table that repeats the facts is left out, any other one is shown', () => {
  const tables = [
    { title: 'Again', columns: ['what', 'now', 'then'], rows: [['bytes', 4000, 1000]], repeats: true },
    { title: 'More', columns: ['what', 'before', 'after'], rows: [['noise', 1, 2]] }
  ];
  show(<ReportView report={{ ...REPORT, tables }} />);
  expect(screen.queryByText('Again')).toBeNull();
  expect(screen.getByText('More')).toBeTruthy();
});

it('a report of an earlier version, without marks, is read and shown whole', () => {
  const report = {
    title: 'Sweep',
    summary: 'Expected errors.',
    facts: { sha256: 'ab12' },
    tables: [{ title: SWEEP.title, columns: SWEEP.columns, rows: SWEEP.rows }],
    warnings: [],
    notes: []
  };
  const message = readMessage({ ...STATE, results: [{ ...STATE.results[0], report }] });
  expect(message).not.toBeNull();
  show(<ReportView report={report} />);
  expect(screen.getByText('ab12')).toBeTruthy();
  expect(screen.getAllByRole('row')).toHaveLength(1 + SWEEP.rows.length);
});

it.each([
  ['a chart without its columns', { ...LOSSES, chart: { x: 'step' } }],
  ['a chart that is a word', { ...LOSSES, chart: 'curve' }],
  ['a mark that is no flag', { ...LOSSES, repeats: 'yes' }]
])('a message with %s is refused', (_, table) => {
  const report = { ...REPORT, tables: [table] };
  expect(readMessage({ ...STATE, results: [{ ...STATE.results[0], report }] })).toBeNull();
});

it('values before and after become one column or one row', () => {
  const table = { title: 't', columns: ['block', 'width_before', 'width_after'], rows: [['0', 1024, 64]] };
  expect(beside(table)).toEqual({ title: 't', columns: ['block', 'width'], rows: [['0', '1,024 → 64']] });
  expect(beforeAndAfter(REPORT.facts)).toEqual({
    pairs: [['bytes', 4000, 1000]],
    rest: [
      ['path', 'a.onnx'],
      ['gap', 1e-7],
      ['sha256', 'ab12']
    ]
  });
});
