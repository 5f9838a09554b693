/** Numbers and foreign names as a person reads them. */

import { ITrans, plainTrans } from '../../host';
import { Scalar } from '../../kernel/messages';

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

export function count(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 0 });
}

/** Three digits and a letter, for narrow columns: 76,810 reads 76.8k. */
export function short(value: number): string {
  const steps: [number, string][] = [
    [1e12, 'T'],
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k']
  ];
  const step = steps.find(([size]) => Math.abs(value) >= size);
  return step === undefined ? String(value) : `${Number((value / step[0]).toPrecision(3))}${step[1]}`;
}

export function bytes(value: number): string {
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 ? size : Number(size.toPrecision(3))} ${UNITS[unit]}`;
}

export function percent(value: number): string {
  const scaled = 100 * value;
  if (scaled !== 0 && Math.abs(scaled) < 0.01) {
    return '<0.01 %';
  }
  return `${Number(scaled.toPrecision(scaled >= 10 ? 3 : 2))} %`;
}

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** A name of another's making: controls made visible, long ones cut in the middle. */
export function shown(text: string, cap = 80): string {
  const visible = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, character =>
    character === '\n'
      ? '␊'
      : `⟨${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}⟩`
  );
  const letters = [...visible];
  if (letters.length <= cap) {
    return visible;
  }
  const half = Math.floor((cap - 1) / 2);
  return `${letters.slice(0, half).join('')}…${letters.slice(-half).join('')}`;
}

/** A value of a report under its key, from which its unit is read; numbers have three significant digits. */
export function scalar(value: Scalar, key = '', trans: ITrans = plainTrans): string {
  if (value === null) {
    return '–';
  }
  if (typeof value === 'boolean') {
    return value ? trans.__('yes') : trans.__('no');
  }
  if (typeof value === 'string') {
    return shown(value, 300);
  }
  if (/(^|[_ ])bytes($|[_ ])/.test(key)) {
    return bytes(value);
  }
  const size = Math.abs(value);
  const words = Number.isInteger(value)
    ? count(value)
    : size >= 1e5 || size < 1e-3
      ? value.toExponential(1)
      : String(Number(value.toPrecision(3)));
  return /_ms$/.test(key) ? milliseconds(value) : words;
}

function milliseconds(value: number): string {
  const [size, unit] =
    value < 0.1 ? [1000 * value, 'µs'] : value < 1000 ? [value, 'ms'] : [value / 1000, 's'];
  return `${Number(size.toPrecision(3))} ${unit}`;
}

const NAMES: { [word: string]: string } = {
  bytes: 'size',
  ir: 'IR',
  macs: 'MACs',
  onnx: 'ONNX',
  sha256: 'SHA-256'
};

/** A key of a report as a label, without the unit that its values carry: `latency_ms` reads Latency. */
export function labelOf(key: string): string {
  const words = key
    .replace(/_ms$|(?<=memory)_bytes$/, '')
    .split('_')
    .map(word => NAMES[word] ?? word)
    .join(' ');
  return shown(/^ms\b/.test(words) ? words : words.charAt(0).toUpperCase() + words.slice(1));
}
