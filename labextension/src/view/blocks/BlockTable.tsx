/** Blocks as a tree table: only the rows in sight are in the page, the keyboard does everything. */

import * as React from 'react';
import { IBlock, IModel } from '../../kernel/messages';
import { own } from '../../model/lookup';
import { Curves, Widths } from '../../model/plan';
import { Column, IRow, rowsOf } from '../../model/tree';
import { ILook, sortedBy, toggled, withBlocks, withoutBlocks } from '../state/choices';
import { useChoices, useHostState, usePanel } from '../state/context';
import { useCurves, useWidths } from '../state/planned';
import { BlockRow } from './BlockRow';

const ROW = 30;
const HEADER = 28;
const MOST = 12;
const MARGIN = 6;
const NO_WIDTHS: Widths = {};

export function BlockTable({ model }: { model: IModel }): JSX.Element {
  const { change, trans } = usePanel();
  const look = useChoices(choices => choices.look);
  const blocks = React.useMemo(() => model.blocks ?? [], [model.blocks]);
  const widths = useWidths(model);
  const curves = useCurves(model);
  const rows = useRows(blocks, look, widths, curves);
  const total = React.useMemo(
    () =>
      Math.max(
        1,
        blocks.reduce((sum, block) => sum + (block.macs ?? block.parameters), 0)
      ),
    [blocks]
  );
  const [top, setTop] = React.useState(0);
  const box = React.useRef<HTMLDivElement>(null);
  const at = Math.max(
    0,
    rows.findIndex(row => row.key === look.active)
  );
  const keys = useKeys(model, rows, at, box);

  const first = Math.max(0, Math.floor(top / ROW) - MARGIN);
  const last = Math.min(rows.length, Math.ceil(top / ROW) + MOST + MARGIN);
  const macs = blocks.some(block => block.macs !== null);
  return (
    <div className="jlc-Blocks">
      <div className="jlc-Blocks-bar">
        <h3 className="jlc-Heading">{trans.__('Blocks')}</h3>
        <input
          type="search"
          className="jlc-Input jlc-Blocks-filter"
          placeholder={trans.__('Filter by name or kind')}
          aria-label={trans.__('Filter blocks')}
          value={look.filter}
          onChange={event => change('look', { filter: event.target.value })}
        />
      </div>
      <div
        ref={box}
        role="treegrid"
        className="jlc-Grid"
        tabIndex={0}
        aria-label={trans.__('Blocks of %1', model.name)}
        aria-rowcount={rows.length + 1}
        aria-multiselectable="true"
        aria-activedescendant={at >= first && at < last ? rowId(model.name, at) : undefined}
        style={{ maxHeight: HEADER + MOST * ROW }}
        onScroll={event => setTop(event.currentTarget.scrollTop)}
        onKeyDown={keys}
      >
        <Header macs={macs} />
        <div role="rowgroup" className="jlc-Grid-body" style={{ height: rows.length * ROW }}>
          {rows.slice(first, last).map((row, index) => (
            <BlockRow
              key={row.key}
              id={rowId(model.name, first + index)}
              row={row}
              index={first + index}
              top={(first + index) * ROW}
              active={first + index === at}
              width={row.block === null ? undefined : own(widths, row.block.name)}
              chosen={row.open.filter(block => own(widths, block.name) !== undefined).length}
              total={total}
              curve={row.block === null ? undefined : curves[row.block.name]}
              model={model.name}
            />
          ))}
        </div>
        {rows.length === 0 && (
          <div role="row" className="jlc-Grid-empty">
            <div role="gridcell">
              {model.blocks === null
                ? model.heavy
                  ? trans.__('Its blocks are not known yet.')
                  : trans.__('Looking for blocks …')
                : blocks.length === 0
                  ? trans.__('This model has no layer that feeds another through an activation.')
                  : trans.__('No block fits this filter.')}
            </div>
          </div>
        )}
      </div>
    </div>
  );
}

/** Rows of the table; where they are not sorted by the error, a width that changes leaves them as they are. */
function useRows(blocks: IBlock[], look: ILook, widths: Widths, curves: Curves): IRow[] {
  const { filter, sort, collapsed } = look;
  const sorting = sort.column === 'error' ? widths : NO_WIDTHS;
  return React.useMemo(
    () => rowsOf(blocks, { filter, sort, collapsed: new Set(collapsed) }, sorting, curves),
    [blocks, filter, sort, collapsed, sorting, curves]
  );
}

function rowId(model: string, index: number): string {
  return `jlc-row-${model}-${index}`;
}

function Header({ macs }: { macs: boolean }): JSX.Element {
  const { change, trans } = usePanel();
  const sort = useChoices(({ look }) => look.sort);
  const columns: [Column, string, string][] = [
    ['name', trans.__('Block'), trans.__('The layer that computes the hidden neurons')],
    ['kind', trans.__('Kind'), trans.__('The type of block')],
    [
      'width',
      trans.__('Width'),
      trans.__('Number of hidden neurons or attention heads, now and in the plan')
    ],
    ['parameters', trans.__('Params'), trans.__('Parameters of the block')],
    [
      'share',
      macs ? trans.__('MACs') : trans.__('Share'),
      macs ? trans.__('Share of the multiply-accumulates') : trans.__('Share of the parameters of all blocks')
    ],
    ['error', trans.__('Error'), trans.__('Predicted relative error at the planned width')]
  ];
  return (
    <div role="rowgroup" className="jlc-Grid-head">
      <div role="row" className="jlc-Row" aria-rowindex={1}>
        {columns.map(([column, label, title]) => {
          const sorted = sort.column === column;
          const order = sorted ? (sort.descending ? 'descending' : 'ascending') : 'none';
          return (
            <div key={column} role="columnheader" aria-sort={order} className={`jlc-Cell jlc-mod-${column}`}>
              <button
                type="button"
                title={title}
                onClick={() => change('look', look => sortedBy(look, column))}
              >
                {label}
                <span aria-hidden="true">{sorted ? (sort.descending ? ' ▾' : ' ▴') : ''}</span>
              </button>
            </div>
          );
        })}
      </div>
    </div>
  );
}

/** Keys of a tree grid: arrows move, fold and unfold; space chooses; enter goes to the width. */
function useKeys(
  model: IModel,
  rows: IRow[],
  at: number,
  box: React.RefObject<HTMLDivElement>
): (event: React.KeyboardEvent) => void {
  const { choices, change } = usePanel();
  const first = useHostState(({ defaults }) => defaults.width);
  return event => {
    const row = rows[at];
    if (row === undefined || (event.target as Element).closest('[role="columnheader"]') !== null) {
      return;
    }
    const go = (to: number): void => {
      const index = Math.max(0, Math.min(rows.length - 1, to));
      change('look', { active: rows[index].key });
      const element = box.current;
      if (element !== null) {
        const low = index * ROW;
        const height = element.clientHeight - HEADER;
        if (low < element.scrollTop) {
          element.scrollTop = low;
        } else if (low + ROW > element.scrollTop + height) {
          element.scrollTop = low + ROW - height;
        }
      }
    };
    const fold = (): void => change('look', look => toggled(look, row.key));
    const keys: { [key: string]: () => void } = {
      ArrowDown: () => go(at + 1),
      ArrowUp: () => go(at - 1),
      PageDown: () => go(at + MOST),
      PageUp: () => go(at - MOST),
      Home: () => go(0),
      End: () => go(rows.length - 1),
      ArrowRight: () => (row.expanded === false ? fold() : row.expanded === true ? go(at + 1) : undefined),
      ArrowLeft: () =>
        row.expanded === true ? fold() : go(rows.findIndex(candidate => candidate.key === row.parent)),
      ' ': () => {
        const chosen = own(choices.getState().plan.widths, model.name);
        const all = row.open.length > 0 && row.open.every(block => own(chosen, block.name) !== undefined);
        change('plan', plan =>
          all ? withoutBlocks(plan, model.name, row.open) : withBlocks(plan, model.name, row.open, first)
        );
      },
      Enter: () =>
        box.current
          ?.closest('.jlc-App')
          ?.querySelector<HTMLElement>('.jlc-Width input[type="range"], .jlc-Width button')
          ?.focus()
    };
    const action = keys[event.key];
    if (action !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      event.stopPropagation();
      action();
    }
  };
}
