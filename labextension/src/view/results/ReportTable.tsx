/** A table of a report: curves as a chart with the numbers beside it, one wide row as a list. */

import * as React from 'react';
import { ITable, Scalar } from '../../kernel/messages';
import { labelOf, scalar, shown } from '../parts/format';
import { usePanel } from '../state/context';
import { Chart, drawn } from './Chart';

const MOST_ROWS = 200;
const MOST_OPEN = 12;
const WIDE = 4;

export function ReportTable({ table, folded }: { table: ITable; folded: boolean }): JSX.Element {
  const { trans } = usePanel();
  const chart = React.useMemo(() => drawn(table), [table]);
  const merged = React.useMemo(() => beside(table), [table]);
  const rows =
    merged.rows.length === 1 && merged.columns.length > WIDE ? (
      <OneRow table={merged} />
    ) : (
      <Rows table={merged} />
    );
  const title = shown(table.title);
  if (chart === null && table.rows.length <= MOST_OPEN && !folded) {
    return (
      <figure className="jlc-Figure">
        <figcaption>{title}</figcaption>
        {rows}
      </figure>
    );
  }
  const summary =
    chart === null ? title : trans._n('%1 row as a table', '%1 rows as a table', table.rows.length);
  return (
    <figure className="jlc-Figure">
      {chart !== null && <figcaption>{title}</figcaption>}
      {chart !== null && <Chart chart={chart} title={title} />}
      <details>
        <summary>{summary}</summary>
        {rows}
      </details>
    </figure>
  );
}

/** Columns `x_before` and `x_after` become one, `before → after`. */
export function beside(table: ITable): ITable {
  const { title, columns } = table;
  const after = (column: string): number =>
    /[_ ]before$/.test(column) ? columns.indexOf(column.replace(/before$/, 'after')) : -1;
  const dropped = new Set(columns.map(after).filter(index => index !== -1));
  const kept = columns.map((_, index) => index).filter(index => !dropped.has(index));
  return {
    title,
    columns: kept.map(index => columns[index].replace(after(columns[index]) === -1 ? '' : /[_ ]before$/, '')),
    rows: table.rows.map(row =>
      kept.map((index): Scalar => {
        const second = after(columns[index]);
        const nothing = row[index] === null && (second === -1 || row[second] === null);
        return second === -1 || nothing ? row[index] : `${scalar(row[index])} → ${scalar(row[second])}`;
      })
    )
  };
}

function Rows({ table }: { table: ITable }): JSX.Element {
  const { trans } = usePanel();
  return (
    <div className="jlc-Scroll" tabIndex={0} role="group" aria-label={shown(table.title)}>
      <table className="jlc-Table">
        <thead>
          <tr>
            {table.columns.map((column, index) => (
              <th key={index} scope="col" className={isNumeric(table, index) ? 'jlc-mod-number' : undefined}>
                {labelOf(column)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.slice(0, MOST_ROWS).map((row, at) => (
            <tr key={at}>
              {row.map((value, index) => (
                <td key={index} className={isNumeric(table, index) ? 'jlc-mod-number' : undefined}>
                  {scalar(value, table.columns[index], trans)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {table.rows.length > MOST_ROWS && (
        <p className="jlc-Hint">{trans.__('The first %1 of %2 rows.', MOST_ROWS, table.rows.length)}</p>
      )}
    </div>
  );
}

function OneRow({ table }: { table: ITable }): JSX.Element {
  const { trans } = usePanel();
  return (
    <dl className="jlc-FactList">
      {table.columns.map((column, index) => (
        <React.Fragment key={index}>
          <dt>{labelOf(column)}</dt>
          <dd>{scalar(table.rows[0][index], column, trans)}</dd>
        </React.Fragment>
      ))}
    </dl>
  );
}

function isNumeric(table: ITable, column: number): boolean {
  return table.rows.some(row => typeof row[column] === 'number' || /^[\d.,e-]+ → /.test(String(row[column])));
}
