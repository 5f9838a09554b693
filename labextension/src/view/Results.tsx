/** What came back from the kernel for a step: newest first, the older ones folded. */

import * as React from 'react';
import { IReport, IResult, ITable, Scalar } from '../messages';
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
  const card = useArrival(newest);
  if (newest === undefined) {
    return null;
  }
  return (
    <div className="jlc-Results" ref={card}>
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

/** A result that comes while the panel is open is read out and scrolled to. */
function useArrival(result: IResult | undefined): React.RefObject<HTMLDivElement> {
  const { announce } = usePanel();
  const card = React.useRef<HTMLDivElement>(null);
  const last = React.useRef(result?.id);
  React.useEffect(() => {
    if (result !== undefined && result.id !== last.current) {
      announce(`${result.report.title}. ${result.report.summary}`);
      card.current?.scrollIntoView?.({ block: 'start', behavior: 'smooth' });
    }
    last.current = result?.id;
  }, [result, announce]);
  return card;
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
  const { pairs, rest } = beforeAndAfter(report.facts);
  return (
    <>
      {report.summary !== '' && <p className="jlc-Summary">{shown(report.summary, 600)}</p>}
      {report.warnings.map(warning => (
        <p key={warning} className="jlc-Notice jlc-mod-warning">
          {shown(warning, 600)}
        </p>
      ))}
      {pairs.length > 0 && <BeforeAfter pairs={pairs} />}
      {rest.length > 0 && (
        <dl className="jlc-FactList">
          {rest.map(([key, value]) => (
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

type Pair = [string, Scalar, Scalar];

/** Facts that come as `x_before` and `x_after` read best side by side. */
export function beforeAndAfter(facts: IReport['facts']): { pairs: Pair[]; rest: [string, Scalar][] } {
  const pairs: Pair[] = [];
  const rest: [string, Scalar][] = [];
  for (const [key, value] of Object.entries(facts)) {
    const name = key.replace(/_(before|after)$/, '');
    const paired = `${name}_before` in facts && `${name}_after` in facts;
    if (!paired) {
      rest.push([key, value]);
    } else if (key.endsWith('_before')) {
      pairs.push([name, value, facts[`${name}_after`]]);
    }
  }
  return { pairs, rest };
}

function BeforeAfter({ pairs }: { pairs: Pair[] }): JSX.Element {
  const { trans } = usePanel();
  return (
    <table className="jlc-Totals">
      <thead>
        <tr>
          <td />
          <th scope="col">{trans.__('before')}</th>
          <th scope="col">{trans.__('after')}</th>
          <th scope="col">{trans.__('ratio')}</th>
        </tr>
      </thead>
      <tbody>
        {pairs.map(([name, before, after]) => (
          <tr key={name}>
            <th scope="row">{shown(name.replace(/_/g, ' '))}</th>
            <td>{scalar(before)}</td>
            <td>
              <strong>{scalar(after)}</strong>
            </td>
            <td>{ratio(before, after)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function ratio(before: Scalar, after: Scalar): string {
  return typeof before === 'number' && typeof after === 'number' && before > 0 && after > 0
    ? `${Number((before / after).toPrecision(3))}×`
    : '';
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
