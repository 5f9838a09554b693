/** What came back from the kernel for a step: newest first, the older ones folded. */

import * as React from 'react';
import { IReport, IResult, Scalar } from '../../kernel/messages';
import { CopyButton } from '../parts/fields';
import { labelOf, scalar, shown } from '../parts/format';
import { usePanel, useResults } from '../state/context';
import { BeforeAfter } from './BeforeAfter';
import { ReportTable } from './ReportTable';

interface IResults {
  kinds: string[];
  model: string;
  /** What to say under a compression of this model. */
  undo?: string;
}

export function Results({ kinds, model, undo }: IResults): JSX.Element | null {
  const { trans } = usePanel();
  const found = useResults()
    .filter(({ kind }) => kinds.includes(kind))
    .reverse();
  const own = found.filter(({ name }) => name.startsWith(`${model}_`));
  const [newest, ...older] = [...own, ...found.filter(result => !own.includes(result))];
  const card = useArrival(newest);
  if (newest === undefined) {
    return null;
  }
  return (
    <div className="jlc-Results" ref={card}>
      <ResultCard result={newest} undo={own.includes(newest) ? undo : undefined} />
      {older.length > 0 && (
        <details>
          <summary>{trans._n('%1 more result', '%1 more results', older.length)}</summary>
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
        <code>{shown(result.name, 60)}</code>
      </header>
      <ReportView report={report} />
      {undo !== undefined && result.kind === 'compression' && <p className="jlc-quiet">{undo}</p>}
    </article>
  );
}

export function ReportView({ report }: { report: IReport }): JSX.Element {
  const { trans } = usePanel();
  const { pairs, rest } = beforeAndAfter(report.facts);
  const path = rest.find(([key]) => key === 'path');
  const facts = rest.filter(([key]) => key !== 'path');
  const aside = new Set(report.details);
  const main = facts.filter(([key]) => !aside.has(key));
  const details = facts.filter(([key]) => aside.has(key));
  const tables = report.tables.filter(({ repeats }) => !repeats);
  return (
    <>
      {report.summary !== '' && <p className="jlc-Summary">{shown(report.summary, 600)}</p>}
      {report.warnings.map(warning => (
        <p key={warning} className="jlc-Notice jlc-mod-warning">
          <strong>{trans.__('Warning:')}</strong> {shown(warning, 600)}
        </p>
      ))}
      {path !== undefined && (
        <div className="jlc-Copyable">
          <code>{scalar(path[1])}</code>
          <CopyButton text={String(path[1])} name={trans.__('Copy the path')} />
        </div>
      )}
      {pairs.length > 0 && (
        <BeforeAfter
          rows={pairs.map(([key, before, after]) => ({
            label: labelOf(key),
            before: scalar(before, key, trans),
            after: scalar(after, key, trans),
            ratio: ratio(before, after)
          }))}
        />
      )}
      <Facts facts={main} />
      {tables.map((table, index) => (
        <ReportTable key={index} table={table} folded={index > 0} />
      ))}
      {details.length > 0 && (
        <details>
          <summary>{trans.__('Details')}</summary>
          <Facts facts={details} />
        </details>
      )}
      {report.notes.map(note => (
        <p key={note} className="jlc-quiet">
          {shown(note, 600)}
        </p>
      ))}
    </>
  );
}

function Facts({ facts }: { facts: [string, Scalar][] }): JSX.Element | null {
  const { trans } = usePanel();
  return facts.length === 0 ? null : (
    <dl className="jlc-FactList">
      {facts.map(([key, value]) => (
        <React.Fragment key={key}>
          <dt>{labelOf(key)}</dt>
          <dd>{scalar(value, key, trans)}</dd>
        </React.Fragment>
      ))}
    </dl>
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

function ratio(before: Scalar, after: Scalar): number | null {
  return typeof before === 'number' && typeof after === 'number' && before > 0 && after > 0
    ? before / after
    : null;
}
