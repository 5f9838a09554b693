/**
 * Pieces of Python source. Every text from a kernel or a form goes into a cell as a checked identifier or
 * as a literal; nothing else of it can reach one.
 */

const IDENTIFIER = /^[\p{ID_Start}_][\p{ID_Continue}]*$/u;
const KEYWORDS = new Set(
  (
    'False None True and as assert async await break class continue def del elif else except finally for ' +
    'from global if import in is lambda nonlocal not or pass raise return try while with yield'
  ).split(' ')
);

export function isIdentifier(text: string): boolean {
  return text.length <= 200 && IDENTIFIER.test(text) && !KEYWORDS.has(text);
}

/** A name that may stand in a cell, or an error: never anything else. */
export function identifier(text: string): string {
  if (!isIdentifier(text)) {
    throw new Error(`${literal(text.slice(0, 80))} is not a Python name`);
  }
  return text;
}

/** A Python string literal of one line in which nothing is hidden: only printable ASCII and letters. */
export function literal(text: string): string {
  let out = '"';
  for (const character of text) {
    const code = character.codePointAt(0) as number;
    if (character === '"' || character === '\\') {
      out += `\\${character}`;
    } else if (character === '\n') {
      out += '\\n';
    } else if (code >= 0x20 && code < 0x7f) {
      out += character;
    } else if (/[\p{L}\p{N}]/u.test(character)) {
      out += character;
    } else {
      out += code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`;
    }
  }
  return out + '"';
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}

/** A plain number as Python reads it. */
export function numeral(value: number): string {
  if (!Number.isFinite(value)) {
    throw new Error('a number in a cell must be finite');
  }
  return String(value);
}

/**
 * Data of a form: the name of one value, or the names of inputs and targets with a comma between them.
 * A pair of whole tensors is cut into batches where a loop wants them.
 */
export function data(text: string, batch: number | null = null): string {
  const parts = text.split(',').map(part => identifier(part.trim()));
  if (parts.length === 1) {
    return parts[0];
  }
  if (parts.length > 2) {
    throw new Error('data is one name or a pair of names');
  }
  const [inputs, targets] = parts;
  return batch === null
    ? `(${inputs}, ${targets})`
    : `list(zip(${inputs}.split(${numeral(batch)}), ${targets}.split(${numeral(batch)})))`;
}

export function isData(text: string): boolean {
  const parts = text.split(',');
  return parts.length <= 2 && parts.every(part => isIdentifier(part.trim()));
}

/** A call with one argument a line. */
export function call(name: string, args: string[]): string {
  return `${name}(\n${args.map(arg => `    ${arg},`).join('\n')}\n)`;
}
