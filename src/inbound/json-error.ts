/** Where a JSON text is wrong. JSON.parse tells no place for short texts, and its message quotes what it read. */

/** What may come next (RFC 8259 §2 to §7). */
type Expected = 'value' | 'value-or-end' | 'name' | 'name-or-end' | 'colon' | 'comma-or-end' | 'nothing';

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const HEX4 = /^[0-9a-fA-F]{4}$/;
const ESCAPED = '"\\/bfnrt';
const LITERAL = /true|false|null/y;
const WHITE_SPACE = /[ \t\n\r]*/y;

/**
 * Place of the first character that cannot stand where it does, or the length of a text that ends early. Linear time, no recursion.
 * @returns index in UTF-16 units; undefined where the text is valid
 */
export function jsonErrorIndex(text: string): number | undefined {
  const open: ('object' | 'array')[] = [];
  let expected: Expected = 'value';
  let at = 0;
  const skip = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    if (!pattern.test(text)) return false;
    at = pattern.lastIndex;
    return true;
  };
  const afterValue = (): Expected => (open.length === 0 ? 'nothing' : 'comma-or-end');
  for (;;) {
    skip(WHITE_SPACE);
    const character = text[at];
    if (character === undefined) return expected === 'nothing' ? undefined : at;
    switch (expected) {
      case 'nothing':
        return at;
      case 'colon':
        if (character !== ':') return at;
        at += 1;
        expected = 'value';
        break;
      case 'comma-or-end': {
        const inside = open.at(-1);
        if (character === ',') expected = inside === 'object' ? 'name' : 'value';
        else if (character === (inside === 'object' ? '}' : ']')) {
          open.pop();
          expected = afterValue();
        } else return at;
        at += 1;
        break;
      }
      case 'name':
      case 'name-or-end':
        if (character === '}' && expected === 'name-or-end') {
          at += 1;
          open.pop();
          expected = afterValue();
        } else if (character !== '"') return at;
        else {
          const wrong = skipString();
          if (wrong !== undefined) return wrong;
          expected = 'colon';
        }
        break;
      case 'value':
      case 'value-or-end':
        if (character === ']' && expected === 'value-or-end') {
          at += 1;
          open.pop();
          expected = afterValue();
        } else if (character === '{' || character === '[') {
          at += 1;
          open.push(character === '{' ? 'object' : 'array');
          expected = character === '{' ? 'name-or-end' : 'value-or-end';
        } else if (character === '"') {
          const wrong = skipString();
          if (wrong !== undefined) return wrong;
          expected = afterValue();
        } else if (skip(NUMBER) || skip(LITERAL)) expected = afterValue();
        else return at;
        break;
    }
  }
  /** A loop rather than a pattern: a pattern would need memory for every character of a long text. */
  function skipString(): number | undefined {
    for (at += 1; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (code === 0x22) {
        at += 1;
        return undefined;
      }
      if (code < 0x20) return at;
      if (code !== 0x5c) continue;
      const escaped = text[at + 1];
      if (escaped === 'u' && HEX4.test(text.slice(at + 2, at + 6))) at += 5;
      else if (escaped !== undefined && ESCAPED.includes(escaped)) at += 1;
      else return at;
    }
    return text.length;
  }
}
