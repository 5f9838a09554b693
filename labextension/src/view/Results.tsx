/** What came back from the kernel for a step: newest first, the older ones folded. */

import * as React from 'react';
import { IReport, IResult, ITable } from '../messages';
import { Chart, chartOf } from './Chart';
import { usePanel } from './context';
import { scalar, shown } from './words';

interface IResults {
  kinds: string[];
  model: string;
  undo?: string;
}

export function Results({ kinds, model, undo }: IResults): JSX.Element | null {
  const { hostState, trans } = usePanel();
  const found = (hostState.state?.results ?? []).filter(({ kind }) => kinds.includes(kind)).reverse();
  const own = found.filter(({ name }) => name.startsWith(`${model}_`));
  const [newest, ...older] = [...own, ...found.filter(result => !own.includes(result))];
  if (newest === undefined) {
    return null;
  }
  return (
    <div className="jlc-Results">
      <ResultCard result={newest} undo={undo} />
      {older.length > 0 && (
        <details>
          <summary>{trans.__('%1 more', older.length)}</summary>
          {older.map(result => (
            <ResultCard key={result.id} result={result} />
          ))}
        </details>
      )}
    </div>
  );
}

function ResultCard({ result, undo }: { result: IResult; undo?: string }): JSX.Element {
  const { report } = result;
  return (
    <article className="jlc-Card" aria-label={`${report.title} ${result.name}`}>
      <header>
        <h4>{shown(report.title)}</h4>
        <code>{result.name}</code>
      </header>
      <ReportView report={report} />
      {undo !== undefined && result.kind === 'compression' && <p className="jlc-quiet">{undo}</p>}
    </article>
  );
}

export function ReportView({ report }: { report: IReport }): JSX.Element {
  const facts = Object.entries(report.facts);
  return (
    <>
      {report.summary !== '' && <p className="jlc-Summary">{shown(report.summary, 600)}</p>}
      {report.warnings.map(warning => (
        <p key={warning} className="jlc-Notice jlc-mod-warning">
          {shown(warning, 600)}
        </p>
      ))}
      {facts.length > 0 && (
        <dl className="jlc-FactList">
          {facts.map(([key, value]) => (
            <React.Fragment key={key}>
              <dt>{shown(key.replace(/_/g, ' '))}</dt>
              <dd>{scalar(value)}</dd>
            </React.Fragment>
          ))}
        </dl>
      )}
      {report.tables.map((table, index) => (
        <TableView key={index} table={table} />
      ))}
      {report.notes.map(note => (
        <p key={note} className="jlc-quiet">
          {shown(note, 600)}
        </p>
      ))}
    </>
  );
}

const MOST_ROWS = 200;

/** Curves as a chart with the numbers beside it, everything else as a table. */
function TableView({ table }: { table: ITable }): JSX.Element {
  const { trans } = usePanel();
  const chart = chartOf(table);
  const rows = (
    <div className="jlc-Scroll" tabIndex={0} role="group" aria-label={shown(table.title)}>
      <table className="jlc-Table">
        <thead>
          <tr>
            {table.columns.map((column, index) => (
              <th key={index} scope="col">
                {shown(column.replace(/_/g, ' '))}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.slice(0, MOST_ROWS).map((row, at) => (
            <tr key={at}>
              {row.map((value, index) => (
                <td key={index} className={typeof value === 'number' ? 'jlc-mod-number' : undefined}>
                  {scalar(value)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
  if (chart === null && table.rows.length <= 12) {
    return (
      <figure className="jlc-Figure">
        <figcaption>{shown(table.title)}</figcaption>
        {rows}
      </figure>
    );
  }
  return (
    <figure className="jlc-Figure">
      <figcaption>{shown(table.title)}</figcaption>
      {chart !== null && <Chart chart={chart} title={shown(table.title)} />}
      <details>
        <summary>{trans.__('%1 rows as a table', table.rows.length)}</summary>
        {rows}
      </details>
    </figure>
  );
}
