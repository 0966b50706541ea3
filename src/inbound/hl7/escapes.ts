/** HL7 v2 escape sequences (HL7 v2.9 §2.7). */
import type { Charset } from './charset.js';
import type { Hl7Separators } from './message.js';

/**
 * Text with its escapes decoded: the delimiters, hexadecimal data in the message's character set, and the formatting commands as plain
 * text (HL7 v2.9 §2.7.6): `.br`, `.sp` and `.ce` as line feeds, `.sk` as blanks, the others and highlighting (`H`, `N`) as nothing.
 * Sets of characters (`C`, `M`), what senders agreed among themselves (`Z`) and what nobody knows stay as they were sent. Linear time.
 */
export function unescapeText(
  raw: string,
  context: { readonly separators: Hl7Separators; readonly encoding: Charset },
): string {
  const { separators } = context;
  const { escape } = separators;
  if (escape === '') return raw;
  let open = raw.indexOf(escape);
  if (open < 0) return raw;
  let text = '';
  let from = 0;
  let hexadecimal: Buffer[] = [];
  const flush = (): void => {
    if (hexadecimal.length === 0) return;
    text += context.encoding.decode(hexadecimal.length === 1 ? hexadecimal[0]! : Buffer.concat(hexadecimal));
    hexadecimal = [];
  };
  while (open >= 0) {
    const close = raw.indexOf(escape, open + 1);
    if (close < 0) break;
    const code = raw.slice(open + 1, close);
    const hex = hexadecimalData(code);
    const meaning = hex === undefined ? meaningOf(code, separators) : undefined;
    if (hex === undefined && meaning === undefined) {
      // Not an escape: the character itself. The second one may open the next.
      const keep = isKept(code) ? close + 1 : close;
      flush();
      text += raw.slice(from, keep);
      from = keep;
      open = raw.indexOf(escape, keep);
      continue;
    }
    if (open > from) {
      flush();
      text += raw.slice(from, open);
    }
    // A character of several bytes may be cut over neighbouring escapes: their bytes are decoded together.
    if (hex !== undefined) hexadecimal.push(hex);
    else {
      flush();
      text += meaning!;
    }
    from = close + 1;
    open = raw.indexOf(escape, from);
  }
  flush();
  return text + raw.slice(from);
}

/** A longer one is not an escape but text between two backslashes. */
const LONGEST_LOCAL_CODE = 64;

function meaningOf(code: string, separators: Hl7Separators): string | undefined {
  switch (code) {
    case 'F':
      return separators.field;
    case 'S':
      return separators.component;
    case 'T':
      return separators.subcomponent === '' ? undefined : separators.subcomponent;
    case 'R':
      return separators.repetition === '' ? undefined : separators.repetition;
    case 'E':
      return separators.escape;
    case 'P':
      return separators.truncation;
    case 'H':
    case 'N':
      return '';
    default:
      return code[0] === '.' ? layoutOf(code) : undefined;
  }
}

const LAYOUT = /^\.(br|sp|sk|ce|in|ti|fi|nf)([+-]?\d{0,9})$/i;
/** A page has no more lines, and a line no more blanks; a hostile number must not fill the memory. */
const MOST_LINES = 100;
const MOST_BLANKS = 200;

function layoutOf(code: string): string | undefined {
  const match = LAYOUT.exec(code);
  if (match === null) return undefined;
  const number = Math.abs(Number.parseInt(match[2]!, 10)) || 1;
  switch (match[1]!.toLowerCase()) {
    case 'br':
    case 'ce':
      return '\n';
    case 'sp':
      return '\n'.repeat(Math.min(number, MOST_LINES));
    case 'sk':
      return ' '.repeat(Math.min(number, MOST_BLANKS));
    default:
      return '';
  }
}

function hexadecimalData(code: string): Buffer | undefined {
  if (code.length < 3 || code.length % 2 === 0 || (code[0] !== 'X' && code[0] !== 'x')) return undefined;
  const digits = code.slice(1);
  return /^[0-9A-Fa-f]+$/.test(digits) ? Buffer.from(digits, 'hex') : undefined;
}

function isKept(code: string): boolean {
  return code.length <= LONGEST_LOCAL_CODE && /^(?:C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4,6}|Z.*)$/.test(code);
}

/** The inverse for what the hub itself writes into an answer: delimiters and line ends become escapes. */
export function escapeText(text: string, separators: Hl7Separators): string {
  const { escape } = separators;
  let escaped = '';
  for (const character of text) {
    if (character === '\r' || character === '\n')
      escaped += escape === '' ? ' ' : `${escape}X${character === '\r' ? '0D' : '0A'}${escape}`;
    else if (character === separators.field) escaped += code('F');
    else if (character === separators.component) escaped += code('S');
    else if (character === separators.repetition) escaped += code('R');
    else if (character === separators.subcomponent) escaped += code('T');
    else if (character === escape) escaped += code('E');
    else escaped += character;
  }
  return escaped;

  function code(letter: string): string {
    return escape === '' ? ' ' : escape + letter + escape;
  }
}
