/** One row: a block, or a group of blocks with a common path. */

import * as React from 'react';
import { Curve, Width, errorAt, neurons } from '../../model/plan';
import { IRow } from '../../model/tree';
import { count, percent, short, shown } from '../parts/format';
import { toggled, withBlocks, withoutBlocks } from '../state/choices';
import { useHostState, usePanel } from '../state/context';

/** What a width counts that is given without a word. */
const USUAL_UNIT = 'neurons';

interface IBlockRow {
  id: string;
  row: IRow;
  index: number;
  top: number;
  active: boolean;
  width: Width | undefined;
  /** How many of the row's blocks are chosen. */
  chosen: number;
  total: number;
  curve: Curve | undefined;
  model: string;
}

/** Rendered again only where something of this row changed: a table can have thousands. */
export const BlockRow = React.memo(function BlockRow(props: IBlockRow): JSX.Element {
  const { id, row, index, top, active, chosen, model } = props;
  const { change, trans } = usePanel();
  const first = useHostState(({ defaults }) => defaults.width);
  const { block, open } = row;
  const all = open.length > 0 && chosen === open.length;
  const choose = (): void =>
    change('plan', plan => (all ? withoutBlocks(plan, model, open) : withBlocks(plan, model, open, first)));
  const locked = block?.locked ?? null;
  const path = row.key.replace('\0', '');
  return (
    <div
      id={id}
      role="row"
      aria-rowindex={index + 2}
      aria-level={row.level}
      aria-posinset={row.position}
      aria-setsize={row.siblings}
      aria-expanded={row.expanded ?? undefined}
      aria-selected={all}
      className={classes(
        'jlc-Row',
        active && 'jlc-mod-active',
        all && 'jlc-mod-chosen',
        locked !== null && 'jlc-mod-locked'
      )}
      style={{ transform: `translateY(${top}px)` }}
      onClick={() => change('look', { active: row.key })}
    >
      <div
        role="gridcell"
        className="jlc-Cell jlc-mod-name"
        style={{ paddingLeft: 4 + 14 * (row.level - 1) }}
      >
        {row.expanded !== null && (
          <span
            className="jlc-Fold"
            aria-hidden="true"
            onClick={() => change('look', look => toggled(look, row.key))}
          >
            {row.expanded ? '▾' : '▸'}
          </span>
        )}
        {open.length > 0 ? (
          <input
            type="checkbox"
            tabIndex={-1}
            checked={all}
            ref={element => {
              if (element !== null) {
                element.indeterminate = chosen > 0 && !all;
              }
            }}
            aria-label={trans.__('Choose %1', shown(path, 400))}
            onChange={choose}
          />
        ) : (
          <Lock />
        )}
        <bdi title={shown(path, 400)}>{shown(row.label, 60)}</bdi>
        {block === null && <span className="jlc-quiet">{open.length}</span>}
      </div>
      {block !== null && locked === null && <Figures {...props} />}
      {locked !== null && (
        <div role="gridcell" aria-colspan={5} className="jlc-Cell jlc-mod-reason" title={shown(locked, 400)}>
          {shown(locked, 120)}
        </div>
      )}
    </div>
  );
});

function Figures({ row, width, total, curve }: IBlockRow): JSX.Element | null {
  const { trans } = usePanel();
  const { block } = row;
  if (block === null) {
    return null;
  }
  const share = (block.macs ?? block.parameters) / total;
  const error = width === undefined ? null : errorAt(block, width, curve);
  return (
    <>
      <div role="gridcell" className="jlc-Cell jlc-mod-kind">
        {shown(block.kind, 20)}
      </div>
      <div role="gridcell" className="jlc-Cell jlc-mod-width">
        {count(block.width)}
        {width !== undefined && <strong> → {count(neurons(block, width))}</strong>}
        {block.unit !== USUAL_UNIT && <span className="jlc-Unit"> {trans.__(shown(block.unit, 20))}</span>}
      </div>
      <div role="gridcell" className="jlc-Cell jlc-mod-parameters" title={count(block.parameters)}>
        {short(block.parameters)}
      </div>
      <div role="gridcell" className="jlc-Cell jlc-mod-share">
        <span className="jlc-Bar" style={{ width: `${Math.max(2, 100 * share)}%` }} aria-hidden="true" />
        <span>{percent(share)}</span>
      </div>
      <div role="gridcell" className="jlc-Cell jlc-mod-error">
        {error === null ? '–' : percent(error)}
      </div>
    </>
  );
}

function Lock(): JSX.Element {
  const { trans } = usePanel();
  return (
    <svg
      className="jlc-Lock"
      viewBox="0 0 24 24"
      width="14"
      height="14"
      role="img"
      aria-label={trans.__('Locked')}
    >
      <path d="M18 8h-1V6A5 5 0 0 0 7 6v2H6a2 2 0 0 0-2 2v10a2 2 0 0 0 2 2h12a2 2 0 0 0 2-2V10a2 2 0 0 0-2-2M9 6a3 3 0 0 1 6 0v2H9z" />
    </svg>
  );
}

export function classes(...names: (string | false | null | undefined)[]): string {
  return names.filter(Boolean).join(' ');
}
