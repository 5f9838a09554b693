/** Lines over steps or widths: told apart by dash and name, not by colour alone. */

import * as React from 'react';
import { ITable } from '../../kernel/messages';
import { ILine, linesOf } from '../../model/curves';
import { own } from '../../model/lookup';
import { shown } from '../parts/format';

/** Lines as they are drawn. */
export interface IDrawn {
  x: string;
  logX: boolean;
  logY: boolean;
  lines: ILine[];
}

const USUAL_WIDTH = 320;
const MOST_WIDTH = 560;
const HEIGHT = 170;
const LEFT = 44;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 30;
const MOST_LINES = 6;
const STYLES: { [name: string]: string } = { original: 'original', slim: 'slim', 'random subset': '2' };

/** The two models look the same in every chart; what they are held against takes the next style. */
function lineClass(name: string, index: number, models: boolean): string {
  const style = models ? (own(STYLES, name) ?? 3 + (index % 3)) : ['slim', 2, 3, 4, 5, 'original'][index];
  return `jlc-Chart-line jlc-mod-${style}`;
}

/** The chart of a table that has one, and enough rows for it. */
export function drawn(table: ITable): IDrawn | null {
  const lines = linesOf(table).slice(0, MOST_LINES);
  if (!table.chart || table.rows.length < 3 || lines.every(({ points }) => points.length < 2)) {
    return null;
  }
  const ys = lines.flatMap(({ points }) => points.map(([, y]) => y));
  const logY = ys.every(y => y > 0) && Math.max(...ys) > 20 * Math.min(...ys);
  return { x: table.chart.x, logX: table.chart.log, logY, lines };
}

export function Chart({ chart, title }: { chart: IDrawn; title: string }): JSX.Element {
  const points = chart.lines.flatMap(({ points }) => points);
  const [box, width] = useWidth();
  const xs = scale(
    points.map(([x]) => x),
    chart.logX,
    LEFT,
    width - RIGHT
  );
  const ys = scale(
    points.map(([, y]) => y),
    chart.logY,
    HEIGHT - BOTTOM,
    TOP
  );
  const models = chart.lines.some(line => line.name in STYLES);
  const name = `${title}: ${chart.lines.map(line => line.name).join(', ')}`;
  return (
    <div ref={box}>
      <svg className="jlc-Chart" viewBox={`0 0 ${width} ${HEIGHT}`} role="img" aria-label={shown(name, 200)}>
        {ys.ticks.map(tick => (
          <g key={tick}>
            <line className="jlc-Chart-grid" x1={LEFT} x2={width - RIGHT} y1={ys.at(tick)} y2={ys.at(tick)} />
            <text x={LEFT - 5} y={ys.at(tick) + 3} textAnchor="end">
              {tickWords(tick)}
            </text>
          </g>
        ))}
        {xs.ticks.map(tick => (
          <text key={tick} x={xs.at(tick)} y={HEIGHT - BOTTOM + 13} textAnchor="middle">
            {tickWords(tick)}
          </text>
        ))}
        <text x={(LEFT + width - RIGHT) / 2} y={HEIGHT - 4} textAnchor="middle">
          {shown(chart.x)}
        </text>
        {chart.lines.map(({ name, points }, index) => (
          <polyline
            key={index}
            className={lineClass(name, index, models)}
            points={points.map(([x, y]) => `${xs.at(x).toFixed(1)},${ys.at(y).toFixed(1)}`).join(' ')}
          />
        ))}
      </svg>
      <ul className="jlc-Legend">
        {chart.lines.map(({ name }, index) => (
          <li key={name}>
            <svg viewBox="0 0 24 6" width="24" height="6" aria-hidden="true">
              <line className={lineClass(name, index, models)} x1="0" x2="24" y1="3" y2="3" />
            </svg>
            {shown(name, 40)}
          </li>
        ))}
      </ul>
    </div>
  );
}

/** The width in pixels that there is, so that letters and lines keep their size in it. */
function useWidth(): [React.RefObject<HTMLDivElement>, number] {
  const box = React.useRef<HTMLDivElement>(null);
  const [width, setWidth] = React.useState(USUAL_WIDTH);
  React.useEffect(() => {
    if (box.current === null || typeof ResizeObserver === 'undefined') {
      return;
    }
    const observer = new ResizeObserver(([entry]) => {
      setWidth(Math.max(160, Math.min(MOST_WIDTH, Math.round(entry.contentRect.width))));
    });
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  return [box, width];
}

interface IScale {
  at: (value: number) => number;
  ticks: number[];
}

function scale(values: number[], log: boolean, from: number, to: number): IScale {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const put = log ? Math.log : (value: number) => value;
  const span = put(high) - put(low) || 1;
  const at = (value: number): number => from + ((put(value) - put(low)) / span) * (to - from);
  return { at, ticks: log ? logTicks(low, high) : ticks(low, high) };
}

function ticks(low: number, high: number): number[] {
  const rough = (high - low) / 4 || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(candidate => candidate >= rough) ?? rough;
  const found: number[] = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) {
    found.push(Number(tick.toPrecision(12)));
  }
  return found;
}

function logTicks(low: number, high: number): number[] {
  const inside = (factors: number[]): number[] => {
    const found: number[] = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      found.push(...factors.map(factor => Number((factor * 10 ** power).toPrecision(6))));
    }
    return found.filter(tick => tick >= low * 0.999 && tick <= high * 1.001);
  };
  const rough = inside([1]);
  return rough.length > 2 ? rough : inside([1, 2, 5]).length > 1 ? inside([1, 2, 5]) : [low, high];
}

function tickWords(tick: number): string {
  const size = Math.abs(tick);
  if (size !== 0 && (size >= 1e4 || size < 1e-2)) {
    return tick.toExponential(0).replace('e+', 'e');
  }
  return String(Number(tick.toPrecision(2)));
}
