/** Blocks as rows: grouped along their dotted paths, filtered, sorted. */

import { IBlock } from '../kernel/messages';
import { own } from './lookup';
import { Curves, Widths, errorAt } from './plan';

export type Column = 'order' | 'name' | 'kind' | 'width' | 'parameters' | 'share' | 'error';

export interface ISort {
  column: Column;
  descending: boolean;
}

export interface IRow {
  /** Unique and stable: the dotted path, for a group after a character that no path begins with. */
  key: string;
  label: string;
  level: number;
  position: number;
  siblings: number;
  block: IBlock | null;
  /** Blocks at or below this row that may be chosen. */
  open: IBlock[];
  expanded: boolean | null;
  parent: string | null;
}

interface INode {
  key: string;
  label: string;
  block: IBlock | null;
  children: Map<string, INode>;
}

export interface IView {
  filter: string;
  sort: ISort;
  collapsed: ReadonlySet<string>;
}

/** Rows from top to bottom. Sorting by anything but the model's own order, or a filter, gives a flat list. */
export function rowsOf(blocks: IBlock[], view: IView, widths: Widths, curves: Curves): IRow[] {
  const words = view.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const found = blocks.filter(block => {
    const text = `${block.name} ${block.kind} ${block.locked === null ? '' : 'locked'}`.toLowerCase();
    return words.every(word => text.includes(word));
  });
  if (words.length > 0 || view.sort.column !== 'order') {
    return sorted(found, view.sort, widths, curves).map((block, index) => ({
      key: block.name,
      label: block.name,
      level: 1,
      position: index + 1,
      siblings: found.length,
      block,
      open: block.locked === null ? [block] : [],
      expanded: null,
      parent: null
    }));
  }
  const rows: IRow[] = [];
  flatten(grown(found), 1, null, view.collapsed, rows);
  return rows;
}

function sorted(blocks: IBlock[], sort: ISort, widths: Widths, curves: Curves): IBlock[] {
  const value = (block: IBlock): string | number => {
    switch (sort.column) {
      case 'name':
        return block.name;
      case 'kind':
        return block.kind;
      case 'width':
        return block.width;
      case 'parameters':
        return block.parameters;
      case 'share':
        return block.macs ?? block.parameters;
      case 'error':
        return errorAt(block, own(widths, block.name) ?? block.width, own(curves, block.name)) ?? -1;
      case 'order':
        return 0;
    }
  };
  const sign = sort.descending ? -1 : 1;
  const keyed = blocks.map((block, index) => ({ block, index, key: value(block) }));
  keyed.sort((a, b) => {
    const order =
      typeof a.key === 'string' && typeof b.key === 'string'
        ? a.key.localeCompare(b.key, undefined, { numeric: true })
        : Number(a.key) - Number(b.key);
    return order === 0 ? a.index - b.index : sign * order;
  });
  return keyed.map(entry => entry.block);
}

function grown(blocks: IBlock[]): INode {
  const root: INode = { key: '', label: '', block: null, children: new Map() };
  for (const block of blocks) {
    const parts = block.name.split('.');
    let node = root;
    parts.forEach((part, depth) => {
      const last = depth === parts.length - 1;
      const id = last ? part : `${part}.`;
      let next = node.children.get(id);
      if (next === undefined) {
        next = {
          key: (last ? '' : '\0') + parts.slice(0, depth + 1).join('.'),
          label: part,
          block: null,
          children: new Map()
        };
        node.children.set(id, next);
      }
      node = next;
    });
    node.block = block;
  }
  return root;
}

/** A chain of groups with one child each reads as one row. */
function shortened(node: INode): INode {
  let label = node.label;
  let current = node;
  while (current.block === null && current.children.size === 1) {
    current = [...current.children.values()][0];
    label += `.${current.label}`;
  }
  return { ...current, label };
}

function flatten(
  node: INode,
  level: number,
  parent: string | null,
  collapsed: ReadonlySet<string>,
  rows: IRow[]
): IBlock[] {
  const open: IBlock[] = [];
  const children = [...node.children.values()].map(shortened);
  children.forEach((child, index) => {
    const group = child.block === null;
    const row: IRow = {
      key: child.key,
      label: child.label,
      level,
      position: index + 1,
      siblings: children.length,
      block: child.block,
      open: [],
      expanded: group ? !collapsed.has(child.key) : null,
      parent
    };
    rows.push(row);
    if (group) {
      const below: IRow[] = [];
      row.open = flatten(child, level + 1, child.key, collapsed, below);
      if (row.expanded) {
        below.forEach(entry => rows.push(entry));
      }
    } else if (child.block?.locked === null) {
      row.open = [child.block];
    }
    row.open.forEach(block => open.push(block));
  });
  return open;
}
